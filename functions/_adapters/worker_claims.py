"""Where a ticket stands between the flow and the workers, as every store sees it."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from functions._core.records.attempts import held_as
from functions._core.records.models import HELD_TICKETS, Ticket
from functions._core.records.set_aside import RecordKind, SetAside
from functions._core.records.values import TicketStatus, Waiting

FOR_A_WORKER = frozenset({Waiting.WORKER, Waiting.SLOT})

Requirement = frozenset[str]


def held_since(ticket: Ticket) -> datetime | None:
    """Return since when a worker holds the ticket, or None when none does."""
    return (ticket.assigned_at or ticket.created_at) if ticket.status in HELD_TICKETS else None


def in_order_of_assignment(
    first: Sequence[Ticket], second: Sequence[Ticket], worker_id: str, limit: int
) -> Sequence[Ticket]:
    """Return up to `limit` tickets that a worker holds, as it sees them, the oldest assignment first.

    `second` are those of which it has the other attempt; some of them may be over by now.
    """
    if not second:
        return first
    seen = [held_as(ticket, worker_id) for ticket in second]
    both = [*first, *(ticket for ticket in seen if ticket.worker_id == worker_id)]
    return sorted(both, key=lambda ticket: (held_since(ticket) or ticket.created_at, ticket.ticket_id))[:limit]


def waits_for_a_worker(ticket: Ticket) -> bool:
    """Whether a worker that registers, recovers or gets a free slot could take the ticket."""
    return ticket.status is TicketStatus.PENDING and ticket.waiting in FOR_A_WORKER


def in_one_line(one: Requirement, other: Requirement) -> bool:
    """Whether tickets with these requirements surely compete for the same workers."""
    return one <= other or other <= one


def requirement_of(text: str) -> Requirement:
    """Return the names of a JSON array; raise `ValueError` or `TypeError` for anything else."""
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(text)
    return frozenset(names)


def readable_requirements(
    aside: SetAside, stored: Iterable[tuple[str, str, str | None, Callable[[], Requirement]]]
) -> list[tuple[Requirement, str]]:
    """Return requirements and their keys, of rows of key, ticket, flow and what reads the requirement.

    What cannot be read is set aside under the id of its ticket, until that is written again.
    """
    found: dict[str, Requirement] = {}
    unreadable: set[str] = set()
    for key, ticket_id, flow_id, read in stored:
        needs = aside.read(RecordKind.REQUIREMENT, ticket_id, read, flow_id=flow_id)
        if needs is None:
            unreadable.add(ticket_id)
        else:
            found[key] = needs
    for record in aside.records(RecordKind.REQUIREMENT):
        if record.record_id not in unreadable:
            aside.gone(record.kind, record.record_id)
    return [(needs, key) for key, needs in found.items()]
