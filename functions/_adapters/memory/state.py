"""What the memory store keeps, and the rules that its ports share.

Methods of the ports never await between looking and changing: that is what makes them atomic.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from functions._core.errors import Conflict
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Due, Entry, Queued
from functions._core.records.audits import AnyAudit
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.worker import Worker
from functions._core.webhooks.delivery import WebhookDelivery

T = TypeVar("T")


class RecordTable(Generic[T]):
    """Rows by key, each with the position at which it was first put; no position is used twice."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, T]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[T]:
        return (row for _, row in self._rows.values())

    def get(self, key: str) -> T | None:
        """Return the row of `key`, or None."""
        entry = self._rows.get(key)
        return entry[1] if entry else None

    def put(self, key: str, row: T) -> None:
        """Store a row; one that was there keeps its position."""
        entry = self._rows.get(key)
        position = entry[0] if entry else self.next_position()
        self._rows[key] = (position, row)

    def pop(self, key: str) -> bool:
        """Remove a row; tell whether it was there."""
        return self._rows.pop(key, None) is not None

    def next_position(self) -> int:
        """Use up a position."""
        self._last += 1
        return self._last

    def after(self, position: int) -> Iterator[tuple[int, T]]:
        """Yield positions and rows above `position`, in order."""
        return (entry for entry in self._rows.values() if entry[0] > position)

    def before(self, position: int) -> Iterator[tuple[int, T]]:
        """Yield positions and rows below `position`, the newest first."""
        return (entry for entry in reversed(self._rows.values()) if entry[0] < position)


def expect(stored: Flow | Ticket | Worker | None, version: int) -> None:
    """Raise `Conflict` unless the stored record is at `version`; one that is not there is at 0."""
    if (stored.version if stored else 0) != version:
        raise Conflict


@dataclass(slots=True)
class State:
    """All records. `plans` has the ticket ids of a flow in the order of the plan, `live` its live tickets."""

    flows: RecordTable[Flow] = field(default_factory=RecordTable)
    tickets: RecordTable[Ticket] = field(default_factory=RecordTable)
    workers: RecordTable[Worker] = field(default_factory=RecordTable)
    letters: RecordTable[DeadLetter] = field(default_factory=RecordTable)
    deliveries: RecordTable[WebhookDelivery] = field(default_factory=RecordTable)
    deliveries_due: dict[str, datetime | None] = field(default_factory=dict)
    queue: RecordTable[Queued] = field(default_factory=RecordTable)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    telemetry: dict[int, CloudEvent] = field(default_factory=dict)
    telemetry_taken: int = 0
    decisions: dict[str, bytes] = field(default_factory=dict)
    history: list[HistoryEntry] = field(default_factory=list)
    transitions: int = 0
    audits: list[AnyAudit] = field(default_factory=list)
    plans: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    live: dict[str, dict[str, Ticket]] = field(default_factory=lambda: defaultdict(dict))
    wakeups: dict[tuple[str, str], Due] = field(default_factory=dict)
    offered_until: dict[str, datetime] = field(default_factory=dict)

    def live_tickets(self) -> Iterator[Ticket]:
        """Yield the live tickets of all flows."""
        return (ticket for tickets in self.live.values() for ticket in tickets.values())

    def wake(self, kind: str, record_id: str, flow_id: str | None, at: datetime | None) -> None:
        """Set the wake-up of a record, or forget it."""
        if at is None:
            self.wakeups.pop((kind, record_id), None)
        else:
            self.wakeups[kind, record_id] = Due(kind, record_id, flow_id, at)

    def enqueue(self, event: CloudEvent) -> None:
        """Queue an event unless its id is queued already."""
        if self.queue.get(event.id) is None:
            self.queue.put(event.id, Queued(0, event, attempts=0, not_before=None))

    def buffer(self, event: CloudEvent) -> None:
        """Put an event behind the telemetry that waits for the sink."""
        self.telemetry_taken += 1
        self.telemetry[self.telemetry_taken] = event
