"""An observer's account of tickets with children, of waits that stop the clock, and of the events that ended waits."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, Waiting

COMPLETED, FAILED, SKIPPED = "completed", "failed", "skipped"
"""The ways in which a parent counts the ends of its children, named like the fields of `Children`."""


@dataclass
class Families:
    """By the id of a parent: its children by the way they have ended, those at work, and those that there are.

    `taken` are the events, by source and id, each with the tickets whose wait it has ended.
    """

    ended: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    at_work: Counter[str] = field(default_factory=Counter)
    children: Counter[str] = field(default_factory=Counter)
    taken: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def enter(self, before: Ticket | None, after: Ticket) -> None:
        """Enter a change of a ticket."""
        if after.parent is not None and after.compensates is None:
            if before is None:
                self.children[after.parent] += 1
            else:
                self._count(before, -1)
            self._count(after, 1)
        waited = before is not None and before.status is TicketStatus.WAITING and before.waiting is Waiting.EVENT
        if waited and after.status is TicketStatus.COMPLETED and not after.skipped and isinstance(after.output, dict):
            self.taken[str(after.output.get("source")), str(after.output.get("id"))].append(after.task_id)

    def _count(self, ticket: Ticket, number: int) -> None:
        parent = ticket.parent or ""
        way = way_of(ticket)
        if way is not None:
            self.ended[parent][way] += number
        elif ticket.waiting is not Waiting.TURN:
            self.at_work[parent] += number


def way_of(ticket: Ticket) -> str | None:
    """Return how a child has ended; None while it has not. What was done counts, also where it is undone later."""
    if ticket.live:
        return None
    if ticket.status is TicketStatus.SKIPPED:
        return SKIPPED
    if ticket.status is TicketStatus.FAILED and ticket.control is not None and ticket.control.allow_failure:
        return SKIPPED
    return FAILED if ticket.status in {TicketStatus.FAILED, TicketStatus.CANCELLED} else COMPLETED


def stopped_until(now: datetime, waits: Sequence[datetime]) -> datetime:
    """Return up to when the clock of a flow stands still by waits that stop it."""
    return max((now, *waits))
