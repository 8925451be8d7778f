"""The changes of one outcome: the unit that a store applies as a whole."""

from dataclasses import dataclass

from functions._core.events.envelope import CloudEvent
from functions._core.records.audits import AnyAudit
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message owed to a worker after a commit: an assignment, or the notice that a ticket is cancelled."""

    ticket: Ticket
    """The ticket as it was committed."""
    worker_id: str
    """Id of the worker that is called."""
    attempt: int
    """The attempt that the message is about."""
    cancelled: bool = False
    """True: the notice that the attempt is not wanted any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Everything that one outcome changes, as plain values; a store applies all of it or nothing.

    Deliveries can be made again after a crash: the tickets that they name keep a wake-up until a worker has
    acknowledged.
    """

    flow_id: str
    """Id of the flow that is changed; all changes belong to it."""
    flow: Flow | None = None
    """The flow's new row; None when it stays as it is."""
    tickets: tuple[Ticket, ...] = ()
    """The new rows of tickets."""
    decision: bytes | None = None
    """The decision as JSON text, at the creation of its flow alone."""
    history: tuple[HistoryEntry, ...] = ()
    """The transitions, in order."""
    audit: tuple[AnyAudit, ...] = ()
    """The audits to keep."""
    events: tuple[CloudEvent, ...] = ()
    """Events of the chain and for subscribers, in order."""
    telemetry: tuple[CloudEvent, ...] = ()
    """Events for the telemetry buffer, in order."""
    deliveries: tuple[Delivery, ...] = ()
    """Messages to workers, made after the commit; they can be made again."""
    handled: str | None = None
    """Id of the queued event that this change set answers; the queue removes it in the same write."""

    @property
    def changes(self) -> bool:
        """Whether anything at all is to be written."""
        return bool(
            self.flow or self.tickets or self.history or self.audit or self.events or self.telemetry or self.handled
        )
