"""Where a ticket stands between the flow and the workers, as every store sees it."""

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, Waiting

HELD = frozenset({TicketStatus.ASSIGNED, TicketStatus.RUNNING})
FOR_A_WORKER = frozenset({Waiting.WORKER, Waiting.SLOT})

Requirement = frozenset[str]


def held_since(ticket: Ticket) -> datetime | None:
    """Return since when a worker holds the ticket, or None when none does."""
    return (ticket.assigned_at or ticket.created_at) if ticket.status in HELD else None


def waits_for_a_worker(ticket: Ticket) -> bool:
    """Whether a worker that registers, recovers or gets a free slot could take the ticket."""
    return ticket.status is TicketStatus.PENDING and ticket.waiting in FOR_A_WORKER


def in_one_line(one: Requirement, other: Requirement) -> bool:
    """Whether tickets with these requirements surely compete for the same workers."""
    return one <= other or other <= one


def readable_requirements(stored: Iterable[tuple[str, str]]) -> list[tuple[Requirement, str]]:
    """Return the sets of capabilities of JSON arrays and their keys, without those that are none."""
    found = []
    for text, key in stored:
        with suppress(ValueError, TypeError):
            found.append((frozenset[str](json.loads(text)), key))
    return found
