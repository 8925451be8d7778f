"""Pull mode: what a worker says when it asks for its tickets, and which of those that it holds it is given.

A worker that asks is ranked and chosen like every other one. A ticket that was assigned to it waits, unacknowledged,
until it asks; to be given the ticket is its acknowledgement. An answer that was lost is found out by the next request,
which does not name the ticket: it is given again, the same attempt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from functions._core.events.assignment import BATCH_SIZE
from functions._core.events.envelope import CloudEvent
from functions._core.machine.assignment import awaits_acknowledgement
from functions._core.placement.workers import A_NUMBER, MAX_PULL_SLOTS, Running
from functions._core.records.models import Ticket
from functions._core.records.values import FIRST_FAULT, Model, TicketStatus, WholeNumber
from functions._core.records.worker import Worker
from functions._core.rules import Rules

LONGEST_WAIT = 30
"""Seconds that a request for tickets may wait for one."""

A_MILLISECOND = timedelta(milliseconds=1)
"""The grain of the time of a registration."""


class LeaseRequest(Model):
    """A worker asks for its tickets; this is a heartbeat, too."""

    worker_id: str = Field(min_length=1, max_length=255)
    """Id of the worker, which is registered with `delivery: pull`."""
    limit: WholeNumber = Field(default=1, ge=1, le=BATCH_SIZE)
    """How many tickets it takes at most."""
    wait_seconds: Annotated[float, Field(ge=0, le=LONGEST_WAIT), A_NUMBER] = 0
    """How long it waits for the first of them, in seconds."""
    running: Annotated[tuple[Running, ...], FIRST_FAULT] | None = Field(default=None, max_length=MAX_PULL_SLOTS)
    """All tickets that it was given and whose end the platform has not heard of; null or absent says nothing."""


@dataclass(frozen=True, slots=True)
class Leased:
    """The answer: tickets to do, as events with their tokens, and ids of tickets to stop."""

    assignments: Sequence[CloudEvent] = ()
    cancel: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class HeldTickets:
    """The tickets that a worker holds, by what its request says of them.

    `first` wait to be asked for, the answer with those of `again` was lost. `kept` are attempts that are still the
    worker's, `gone` those that it names and does not hold. `lost` tells that it holds a ticket, accepted a while ago,
    of which it knows nothing and which it is not given again.
    """

    first: Sequence[Ticket]
    again: Sequence[Ticket]
    kept: Sequence[Running]
    gone: Sequence[Running]
    lost: bool


def held_tickets(
    held: Sequence[Ticket], running: Sequence[Running] | None, worker: Worker, now: datetime, rules: Rules
) -> HeldTickets:
    """Sort the tickets that a worker holds by the `running` of its request; None says nothing of them."""
    first = [ticket for ticket in held if awaits_acknowledgement(ticket)]
    if running is None:
        return HeldTickets(first, (), (), (), lost=False)
    named = {(one.ticket_id, one.attempt) for one in running}
    unnamed = [t for t in held if (t.ticket_id, t.attempt) not in named and not awaits_acknowledgement(t)]
    again = [ticket for ticket in unnamed if _given_again(ticket, worker)]
    holds = {(ticket.ticket_id, ticket.attempt) for ticket in held}
    kept = [one for one in running if (one.ticket_id, one.attempt) in holds]
    kept += [Running(ticket_id=ticket.ticket_id, attempt=ticket.attempt) for ticket in again]
    gone = [one for one in running if (one.ticket_id, one.attempt) not in holds]
    before = now - rules.redeliver
    lost = any(t not in again and t.acknowledged_at is not None and t.acknowledged_at < before for t in unnamed)
    return HeldTickets(first, again, kept, gone, lost=lost)


def _given_again(ticket: Ticket, worker: Worker) -> bool:
    """Whether a ticket that was given, and is not named, may be given once more: its answer was lost.

    A ticket that must not be done twice is only given again to the process that it was given to, which knows its
    attempts: one that was started again has registered again, and may have begun the ticket before.
    """
    if ticket.status is not TicketStatus.ASSIGNED or ticket.acknowledged_at is None:
        return False
    return ticket.idempotent or ticket.acknowledged_at >= _registered(worker)


def _registered(worker: Worker) -> datetime:
    """Return from when on the present registration holds, surely."""
    moment = worker.registration.partition("/")[0]
    return datetime.fromisoformat(moment) + A_MILLISECOND if moment else worker.last_seen
