"""What one outcome changes: the unit that a store applies as a whole."""

from dataclasses import dataclass

from functions._core.events.envelope import CloudEvent
from functions._core.records.audits import AnyAudit
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message owed to a worker after a commit: an assignment, or the notice that a ticket is cancelled."""

    ticket: Ticket
    worker_id: str
    attempt: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Everything that one outcome changes, as plain values; a store applies all of it or nothing.

    `events` are internal chain events and events for subscribers, in order. `deliveries` are made after the
    commit and can be made again: the tickets they name keep a wake-up until a worker has acknowledged.
    `handled` is the id of the queued event that this step answers; a store that is the queue itself removes it
    in the same write.
    """

    flow_id: str
    flow: Flow | None = None
    tickets: tuple[Ticket, ...] = ()
    decision: bytes | None = None
    history: tuple[HistoryEntry, ...] = ()
    audit: tuple[AnyAudit, ...] = ()
    events: tuple[CloudEvent, ...] = ()
    telemetry: tuple[CloudEvent, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    handled: str | None = None

    @property
    def changes(self) -> bool:
        """Whether anything at all is to be written."""
        return bool(
            self.flow or self.tickets or self.history or self.audit or self.events or self.telemetry or self.handled
        )
