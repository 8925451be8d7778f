"""The changes of one outcome, or of several that follow each other: the unit that a store applies as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from functions._core.events.envelope import CloudEvent
from functions._core.records.audits import AnyAudit
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, TicketStatus


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
    parts: tuple["ChangeSet", ...] = ()
    """The change sets that were joined to this one, in order; empty for that of one outcome."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """The versions of the flow and of tickets that are not changed, but were decided on as they were remembered.

    A store that several processes write refuses the change set when one of them has another version by now.
    """
    rewritten: frozenset[str] = frozenset()
    """Ids of tickets of which fields change that otherwise never do; a store that keeps those apart writes all."""
    bases: Mapping[str, int] = field(default_factory=dict)
    """The versions that joined changes were decided on, by the id of the record, 0 for a new one."""

    @property
    def changes(self) -> bool:
        """Whether anything at all is to be written."""
        return bool(
            self.flow or self.tickets or self.history or self.audit or self.events or self.telemetry or self.handled
        )

    @property
    def labelled_flow(self) -> Flow | None:
        """The flow, where it has labels since now: it gets them once, as it leaves VALIDATING."""
        flow = self.flow
        if flow is None or not flow.labels:
            return None
        left = any(one.ticket_id is None and one.from_status == FlowStatus.VALIDATING for one in self.history)
        return flow if left or not self.base_of(flow.flow_id, flow.version) else None

    @property
    def labelled_tickets(self) -> Sequence[Ticket]:
        """The tickets that have labels since now: new ones, and those of which all is written again."""
        return [
            ticket
            for ticket in self.tickets
            if ticket.labels
            and (ticket.ticket_id in self.rewritten or not self.base_of(ticket.ticket_id, ticket.version))
        ]

    @property
    def outcomes(self) -> Sequence["ChangeSet"]:
        """The change sets of the single outcomes, in order."""
        return self.parts or (self,)

    def base_of(self, record_id: str, version: int) -> int:
        """Return the version that a record, at `version` here, must have in the store; 0 for a new one."""
        return self.bases.get(record_id, version - 1)


def singly(step: ChangeSet) -> Sequence[ChangeSet]:
    """Return one change set for each ticket of a step where none needs another; else the step itself.

    An assignment, and its acknowledgement, concern one ticket: it is true whether or not those beside it are committed.
    """
    told = [*step.history, *step.deliveries]
    others = step.flow or step.decision or step.audit or step.events or step.telemetry or step.handled
    if others or any(ticket.status is not TicketStatus.ASSIGNED for ticket in step.tickets):
        return [step]
    found = [
        replace(
            step,
            tickets=(ticket,),
            history=tuple(entry for entry in step.history if entry.ticket_id == ticket.ticket_id),
            deliveries=tuple(one for one in step.deliveries if one.ticket.ticket_id == ticket.ticket_id),
            parts=(),
        )
        for ticket in step.tickets
    ]
    return found if sum(len(one.history) + len(one.deliveries) for one in found) == len(told) else [step]


def joined(parts: Sequence[ChangeSet]) -> ChangeSet:
    """Return change sets of one flow as one; each was decided on the records as the one before leaves them."""
    if len(parts) == 1:
        return parts[0]
    bases: dict[str, int] = {}
    tickets: dict[str, Ticket] = {}
    flow: Flow | None = None
    for part in parts:
        if part.flow is not None:
            flow = part.flow
            bases.setdefault(flow.flow_id, flow.version - 1)
        for ticket in part.tickets:
            tickets[ticket.ticket_id] = ticket
            bases.setdefault(ticket.ticket_id, ticket.version - 1)
    return ChangeSet(
        flow_id=parts[0].flow_id,
        flow=flow,
        tickets=tuple(tickets.values()),
        decision=parts[0].decision,
        history=tuple(chain.from_iterable(part.history for part in parts)),
        audit=tuple(chain.from_iterable(part.audit for part in parts)),
        events=tuple(chain.from_iterable(part.events for part in parts)),
        telemetry=tuple(chain.from_iterable(part.telemetry for part in parts)),
        deliveries=tuple(chain.from_iterable(part.deliveries for part in parts)),
        handled=parts[0].handled,
        parts=tuple(parts),
        rewritten=frozenset().union(*(part.rewritten for part in parts)),
        bases=bases,
    )
