"""What is known of a flow while it is watched: its row, and its tickets as their history moves them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from functions._core.machine import ENDED_FLOWS, ENDED_TICKETS
from functions._core.values import TicketStatus
from functions._runtime.cli.words import JsonObject, clean

HELD = (TicketStatus.ASSIGNED, TicketStatus.RUNNING)


@dataclass(slots=True)
class TicketLine:
    """One ticket, as far as a watcher cares."""

    ticket_id: str
    task_id: str
    level: int
    critical: bool
    status: TicketStatus
    worker_id: str | None
    attempt: int
    started_at: str | None
    ended_at: str | None
    note: str

    @classmethod
    def of(cls, ticket: Mapping[str, Any]) -> "TicketLine":
        """Read a ticket as the API gives it."""
        return cls(
            ticket_id=ticket["ticket_id"],
            task_id=ticket["task_id"],
            level=ticket["level"],
            critical=ticket["critical"],
            status=TicketStatus(ticket["status"]),
            worker_id=ticket["worker_id"],
            attempt=ticket["attempt"],
            started_at=ticket["started_at"] or ticket["assigned_at"],
            ended_at=ticket["completed_at"],
            note=clean(ticket["error_message"] or ""),
        )

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Take over what a transition has changed."""
        self.status = TicketStatus(entry["to_status"])
        self.attempt = entry["attempt"]
        self.worker_id = None if self.status is TicketStatus.PENDING else entry["worker_id"]
        self.note = clean((entry["detail"].get("reason") or {}).get("message", ""))
        if self.status in HELD:
            self.started_at = entry["at"]
        elif self.status in ENDED_TICKETS:
            self.ended_at = entry["at"]
        else:
            self.started_at = None


@dataclass(slots=True)
class Progress:
    """A flow, its tickets in the order of the plan, and the position in its history reached so far."""

    flow: JsonObject
    tickets: dict[str, TicketLine] = field(default_factory=dict)
    after: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing can happen any more."""
        return self.flow["status"] in ENDED_FLOWS

    @property
    def tickets_wanted(self) -> bool:
        """Whether there are tickets that nobody has loaded yet."""
        return not self.tickets and bool(self.flow["tickets_generated"])

    def load(self, tickets: Iterable[Mapping[str, Any]]) -> None:
        """Take in the tickets of the flow."""
        self.tickets = {ticket["ticket_id"]: TicketLine.of(ticket) for ticket in tickets}

    def apply(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Take over transitions, the oldest first, up to a moment at or after the one the tickets were loaded at."""
        for entry in entries:
            self.after = max(self.after, entry["seq"])
            line = self.tickets.get(entry["ticket_id"] or "")
            if line is not None and entry["to_status"]:
                line.apply(entry)

    def tally(self) -> Counter[TicketStatus]:
        """Return how many tickets are in each status."""
        return Counter(line.status for line in self.tickets.values())
