"""What tickets took of the fleet: milliseconds of workers' slots, over all of their attempts, whatever became of them.

A slot is taken from when an attempt is given to its worker until the ticket leaves it. The record of a ticket has its
last attempt, and the one beside that; what came before is in the history of its flow. That is read of those flows alone
whose tickets had more attempts than their records have.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from functions._core.errors import Unavailable
from functions._core.learning.history import TicketRow
from functions._core.records.history import HistoryEntry
from functions._core.records.models import HELD_TICKETS, Ticket
from functions._core.records.values import milliseconds

PAGE = 500
"""Entries of a history that are read at a time."""

MOST_ENTRIES = 10_000
"""Entries of one history that are read: of a longer one the time of its last attempts is known, and no more."""


class Histories(Protocol):
    """The part of `Views` that is asked here."""

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """See `Views.history`."""


def of_record(ticket: Ticket) -> int | None:
    """Return the milliseconds that the record of an ended ticket tells; None where it had more attempts than that."""
    ended, spans = ticket.completed_at, dict[int, int]()
    if ticket.assigned_at is not None and ended is not None:
        spans[ticket.attempt] = milliseconds(ended - ticket.assigned_at)
    other = ticket.hedge
    if other is not None and (over := other.ended_at or ended) is not None:
        spans[other.attempt] = milliseconds(over - other.assigned_at)
    given = max(ticket.attempt, other.attempt if other is not None else 0)
    return sum(max(0, span) for span in spans.values()) if len(spans) == given else None


def of_history(entries: Iterable[HistoryEntry]) -> Mapping[str, int]:
    """Return the milliseconds by id of a ticket, from the whole history of a flow, in order.

    A ticket that a worker still has at its end is not there.
    """
    taken: dict[str, int] = {}
    open_since: dict[str, dict[int, datetime]] = {}
    for entry in entries:
        if entry.ticket_id is None:
            continue
        taken.setdefault(entry.ticket_id, 0)
        of_ticket, attempt = open_since.setdefault(entry.ticket_id, {}), entry.attempt or 0
        was_held, is_held = entry.from_status in HELD_TICKETS, entry.to_status in HELD_TICKETS
        if entry.type == "ticket.hedged":
            of_ticket[attempt] = entry.at
        elif entry.type == "ticket.hedge_ended":
            over = [of_ticket.pop(attempt)] if attempt in of_ticket else []
            taken[entry.ticket_id] += sum(milliseconds(entry.at - since) for since in over)
        elif was_held != is_held and entry.to_status is not None:
            taken[entry.ticket_id] += sum(milliseconds(entry.at - since) for since in of_ticket.values())
            of_ticket.clear()
            if is_held:
                of_ticket[attempt] = entry.at
    return {ticket_id: taken_ms for ticket_id, taken_ms in taken.items() if not open_since[ticket_id]}


async def with_worker_time(views: Histories, flow_id: str, rows: Sequence[TicketRow]) -> tuple[TicketRow, ...]:
    """Return the rows of a flow with the time of all attempts; one that cannot be known stays None, and nothing fails.

    The history is read only where a row had more attempts than its record has told.
    """
    if all(row.worker_ms is not None for row in rows):
        return tuple(rows)
    entries: list[HistoryEntry] = []
    try:
        while page := await views.history(flow_id, entries[-1].seq if entries else 0, PAGE):
            entries += page
            if len(entries) > MOST_ENTRIES:
                return tuple(rows)
            if len(page) < PAGE:
                break
    except Unavailable:
        return tuple(rows)
    known = of_history(entries)
    return tuple(row if row.worker_ms is not None else row.but(worker_ms=known.get(row.ticket_id)) for row in rows)
