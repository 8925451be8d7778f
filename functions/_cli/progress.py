"""What is known of a flow while it is watched: its row, and its tickets as their history moves them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from functions._cli.wire import (
    ASSIGNED,
    AT_RISK,
    BREACHED,
    COMPENSATED,
    COMPENSATING,
    COMPLETED,
    ENDED_FLOWS,
    ENDED_TICKETS,
    PENDING,
    RUNNING,
    TAKEN_AS_DONE,
    WAITING,
    JsonObject,
)
from functions._cli.words import clean, date_and_time, reason_of
from functions._core.explain.spans import counted

HELD = (ASSIGNED, RUNNING)
KEPT = (COMPLETED, COMPENSATING, COMPENSATED)
"""What a ticket that was done becomes; how long it took stays."""


STANDINGS: Mapping[str, str] = {"sla.at_risk": AT_RISK, "sla.violated": BREACHED}
"""What transitions say of how a ticket stands against its share of the SLA."""


WAITS: Mapping[str, str] = {
    "DISCOVERY": "waits for workers to be looked up",
    "SLOT": "waits for a free slot of a capable worker",
    "RETRY": "waits to be tried again",
    "RESUME": "waits for the flow to be resumed",
    "FREEZE": "waits for the end of a freeze",
    "QUARANTINE": "is in quarantine and waits for a person",
    "TURN": "waits for its turn",
    "APPROVAL": "waits for the decision of a person",
}
BEFORE = "before it"
SHOWN_NAMES = 3
MOST_ASKED = 500
"""Tickets of a flow beyond which those that wait are not read again while it is watched."""


def waits_for(ticket: Mapping[str, Any]) -> str:
    """Return what a ticket that is PENDING or WAITING waits for, as far as its own record says."""
    if ticket["status"] == WAITING:
        return _awaited(ticket)
    if ticket["status"] != PENDING:
        return ""
    if ticket["waiting"] == "DEPENDENCIES":
        return f"waits for {counted(ticket['open_dependencies'], 'task')} {BEFORE}"
    if ticket["waiting"] == "WORKER":
        asked = [clean(name) for name in ticket["required_capabilities"]]
        more = f" and {len(asked) - SHOWN_NAMES} more" if len(asked) > SHOWN_NAMES else ""
        return f"no worker offers {', '.join(asked[:SHOWN_NAMES]) or 'anything'}{more}"
    return WAITS.get(ticket["waiting"] or "", "")


def _awaited(ticket: Mapping[str, Any]) -> str:
    if ticket["waiting"] == "MOMENT" and ticket.get("until"):
        return f"waits until {date_and_time(ticket['until'])} UTC"
    if ticket["waiting"] == "EVENT":
        wait = (ticket.get("control") or {}).get("wait") or {}
        return f"waits for an event of type {clean((wait.get('event') or {}).get('type', ''))}"
    if ticket["waiting"] == "CHILDREN" and ticket.get("children"):
        told = ticket["children"]
        ended = told["completed"] + told["failed"] + told["skipped"]
        return f"{ended} of {counted(told['total'], 'child', 'children')} ended"
    return WAITS.get(ticket["waiting"] or "", "")


@dataclass(slots=True)
class TicketLine:
    """One ticket, as far as a watcher cares: `undoes` is the task whose work it undoes, `standing` its slack state."""

    ticket_id: str
    task_id: str
    level: int
    critical: bool
    status: str
    worker_id: str | None
    attempt: int
    started_at: str | None
    ended_at: str | None
    note: str
    undoes: str | None = None
    skipped: bool = False
    standing: str | None = None
    output: object = None
    waits: str = ""

    @property
    def held_up(self) -> bool:
        """Whether other tasks have to be done first."""
        return self.waits.endswith(BEFORE)

    @classmethod
    def of(cls, ticket: Mapping[str, Any]) -> "TicketLine":
        """Read a ticket as the API gives it."""
        return cls(
            ticket_id=ticket["ticket_id"],
            task_id=ticket["task_id"],
            level=ticket["level"],
            critical=ticket["critical"],
            status=ticket["status"],
            worker_id=ticket["worker_id"],
            attempt=ticket["attempt"],
            started_at=ticket["started_at"] or ticket["assigned_at"],
            ended_at=ticket["completed_at"],
            note=clean(ticket["error_message"] or ""),
            undoes=ticket["parameters"]["compensates"]["task_id"] if ticket["compensates"] else None,
            skipped=ticket["skipped"],
            standing=ticket["slack_state"],
            output=ticket["output"] if not ticket["compensates"] else None,
            waits=waits_for(ticket),
        )

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Take over what a transition has changed."""
        self.status = entry["to_status"]
        self.attempt = entry["attempt"]
        self.waits = ""
        self.worker_id = None if self.status == PENDING else entry["worker_id"]
        self.note = reason_of(entry["detail"])
        self.skipped = entry["cause"] == TAKEN_AS_DONE or (self.skipped and self.status in KEPT)
        if self.status in HELD or self.status == WAITING:
            self.started_at = entry["at"]
        elif self.status in KEPT:
            self.ended_at = self.ended_at or entry["at"]
        elif self.status in ENDED_TICKETS:
            self.ended_at = entry["at"]
        else:
            self.started_at = self.ended_at = None


@dataclass(slots=True)
class Progress:
    """A flow, its tickets in the order of the plan, and the position in its history reached so far."""

    flow: JsonObject
    tickets: dict[str, TicketLine] = field(default_factory=dict)
    after: int = 0
    loaded: tuple[object, ...] = ()
    told: str | None = None
    """The status of the flow by the history that was read."""

    @property
    def behind(self) -> bool:
        """Whether the history that was read tells of another status than the row: one of them is older."""
        return self.told is not None and self.told != self.flow["status"]

    @property
    def ended(self) -> bool:
        """Whether nothing can happen any more."""
        return self.flow["status"] in ENDED_FLOWS

    @property
    def tickets_wanted(self) -> bool:
        """Whether there are tickets that nobody has loaded yet: those of the plan, or those that undo them."""
        return bool(self.flow["tickets_generated"]) and self.loaded != self._known()

    @property
    def waiting(self) -> bool:
        """Whether tickets wait, few enough to be asked for what."""
        return len(self.tickets) <= MOST_ASKED and any(
            line.status in {PENDING, WAITING} for line in self.tickets.values()
        )

    def load(self, tickets: Iterable[Mapping[str, Any]]) -> None:
        """Take in the tickets of the flow."""
        self.tickets = {ticket["ticket_id"]: TicketLine.of(ticket) for ticket in tickets}
        self.loaded = self._known()

    def _known(self) -> tuple[object, ...]:
        return self.flow["redrives"], self.flow["compensations"]

    def apply(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Take over transitions, the oldest first, up to a moment at or after the one the tickets were loaded at."""
        for entry in entries:
            self.after = max(self.after, entry["seq"])
            if not entry["ticket_id"] and entry["to_status"]:
                self.told = entry["to_status"]
            line = self.tickets.get(entry["ticket_id"] or "")
            if line is not None and entry["to_status"]:
                line.apply(entry)
            elif line is not None:
                line.standing = STANDINGS.get(entry["type"], line.standing)

    def planned(self) -> Sequence[TicketLine]:
        """Return the tickets of the plan, without those that undo others."""
        return [line for line in self.tickets.values() if line.undoes is None]

    def tally(self) -> Counter[str]:
        """Return how many tickets of the plan are in each status."""
        return Counter(line.status for line in self.planned())
