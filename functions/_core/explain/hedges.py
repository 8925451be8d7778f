"""What is to be said of two attempts at one ticket, in words."""

from datetime import datetime

from functions._core.explain.wording import ago, ahead
from functions._core.records.attempts import other_of, turned
from functions._core.records.hedge import Hedge
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus


def about_hedges(ticket: Ticket, now: datetime) -> list[str]:
    """Return which other attempt runs at a ticket, or ran beside that which its row names."""
    one = ticket.hedge
    if one is None:
        return []
    which = f"attempt {one.attempt} on worker {one.worker_id}"
    if other_of(ticket) is not None:
        both = f"Two attempts at it run: {ticket.attempt} on worker {ticket.worker_id}, and beside it {which}"
        return [f"{both}, which was given to it at {ago(one.assigned_at, now)}. The first result counts."]
    if one.ended_at is None:
        return []
    end = f"It was hedged: {which} ran beside {ticket.attempt} until {ago(one.ended_at, now)}"
    if ticket.status is TicketStatus.COMPLETED:
        return [f"{end}. The result is that of attempt {ticket.attempt}."]
    return [f"{end}."]


def then_hedged(ticket: Ticket, other: Hedge, now: datetime) -> str:
    """Return the rule that acts first on one of two attempts at a ticket."""
    if ticket.until is not None and (other.until is None or ticket.until <= other.until):
        ticket = turned(ticket)
        other = ticket.hedge or other
    by, worker = ahead(other.until or now, now), other.worker_id
    if other.acknowledged_at is None:
        return f"If worker {worker} has not accepted attempt {other.attempt} by {by}, it is asked again or given up."
    missing = f"If nothing is heard of attempt {other.attempt} by {by}"
    return f"{missing}, it is over, and attempt {ticket.attempt} goes on alone."
