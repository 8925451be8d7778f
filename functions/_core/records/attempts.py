"""The attempts at a ticket that run now: one, or two where a second one hedges the first (`Ticket.hedge`).

Whoever has to do with one attempt alone, a worker or the message to it, sees the ticket as `of_attempt` shows it.
"""

from datetime import datetime

from functions._core.records.hedge import Hedge
from functions._core.records.models import HELD_TICKETS, Ticket
from functions._core.records.values import TicketStatus, add_time, time_span
from functions._core.records.worker import OWN_WORKER


def other_of(ticket: Ticket) -> Hedge | None:
    """Return the attempt that runs beside that which the row of the ticket names; None when there is none."""
    other = ticket.hedge
    return other if other is not None and other.ended_at is None and ticket.status in HELD_TICKETS else None


def turned(ticket: Ticket) -> Ticket:
    """Return the ticket with the places of its two attempts exchanged; the status stays as it is."""
    other = ticket.hedge
    if other is None:
        return ticket
    first = Hedge(
        attempt=ticket.attempt,
        worker_id=ticket.worker_id or "",
        assigned_at=ticket.assigned_at or ticket.created_at,
        acknowledged_at=ticket.acknowledged_at,
        started_at=ticket.started_at,
        progress=ticket.progress,
        until=ticket.until,
    )
    return ticket.but(
        attempt=other.attempt,
        worker_id=other.worker_id,
        assigned_at=other.assigned_at,
        acknowledged_at=other.acknowledged_at,
        started_at=other.started_at,
        progress=other.progress,
        until=other.until,
        hedge=first,
    )


def of_attempt(ticket: Ticket, attempt: int | None) -> Ticket:
    """Return the ticket as it looks to the worker that has this attempt; of no second attempt it is as it is."""
    other = other_of(ticket)
    if other is None or other.attempt != attempt:
        return ticket
    status = TicketStatus.ASSIGNED if other.started_at is None else TicketStatus.RUNNING
    return turned(ticket).but(status=status)


def held_as(ticket: Ticket, worker_id: str) -> Ticket:
    """Return the ticket as it looks to a worker that has one of its attempts."""
    other = other_of(ticket)
    return of_attempt(ticket, other.attempt) if other is not None and other.worker_id == worker_id else ticket


def own_attempt(ticket: Ticket) -> int | None:
    """Return the attempt that the platform's own worker has accepted; None where it has none."""
    other = other_of(ticket)
    if ticket.status in HELD_TICKETS and ticket.worker_id == OWN_WORKER and ticket.acknowledged_at is not None:
        return ticket.attempt
    mine = other is not None and other.worker_id == OWN_WORKER and other.acknowledged_at is not None
    return other.attempt if other is not None and mine else None


def runs(ticket: Ticket, attempt: int) -> bool:
    """Whether this attempt at the ticket runs: a worker has it, and its report counts."""
    return ticket.status in HELD_TICKETS and of_attempt(ticket, attempt).attempt == attempt


def attempt_limit(ticket: Ticket, acknowledged: datetime, heard: datetime) -> datetime:
    """Return when an attempt has taken too long: its timeout, or its heartbeat lease since it was `heard` last."""
    lease = ticket.heartbeat_timeout_ms
    beaten = add_time(heard, time_span(lease)) if lease else None
    return min(filter(None, (add_time(acknowledged, ticket.timeout), beaten)))


def work_key(ticket: Ticket, attempt: int) -> str:
    """Return the key by which outside work is begun once: attempts whose worker was lost share it, and no others.

    An attempt that hedges another one has its own: each of the two has a job, and whoever loses ends that alone.
    """
    key = f"{ticket.ticket_id}-{ticket.retry_count}" + (f"-{ticket.runs}" if ticket.runs else "")
    hedges = ticket.hedge is not None and attempt == max(ticket.attempt, ticket.hedge.attempt)
    return f"{key}-h{attempt}" if hedges else key


def work_keys(ticket: Ticket) -> frozenset[str]:
    """Return the keys of the attempts that run, or of the next one."""
    other = other_of(ticket)
    attempts = (ticket.attempt,) if other is None else (ticket.attempt, other.attempt)
    return frozenset(work_key(ticket, attempt) for attempt in attempts)
