"""Collects the changes of one outcome, so that every change gets its version, history line and event.

A builder starts from the loaded records and never touches them; `step()` returns the result. Event ids are pure
functions of flow, transition, attempt and number of emissions: the same decision taken twice gives the same
ids, a deliberate re-emission gives new ones.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from functions._core.events.data import (
    ChainEvent,
    CompensationRequested,
    FlowConsolidated,
    TicketsReady,
    TransitionData,
)
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.jobs import JobDue
from functions._core.machine.context import Context
from functions._core.machine.tables import FlowTrigger, TicketTrigger, next_flow, next_ticket
from functions._core.planning.slack import earliest, wakeup_of
from functions._core.records.attempts import of_attempt, own_attempt
from functions._core.records.audits import AnyAudit
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.hedge import Hedge
from functions._core.records.history import HistoryEntry
from functions._core.records.models import HELD_TICKETS, Flow, Phase, Reason, Ticket
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, name_uuid
from functions._core.records.worker import OWN_WORKER
from functions._core.rules import TICKETS_PER_EVENT

LOST_RACE = "lost the race"
"""The cause of the end of an attempt: the other one was completed first."""


class StepBuilder:
    """The step in the making."""

    def __init__(self, context: Context) -> None:
        """Start from the loaded records."""
        self.context = context
        self.now = context.now
        self.flow: Flow = context.flow
        self._tickets: dict[str, Ticket] = {}
        self._before: dict[str, TicketStatus] = {}
        self._history: list[HistoryEntry] = []
        self._audit: list[AnyAudit] = []
        self._events: list[CloudEvent] = []
        self._telemetry: list[CloudEvent] = []
        self._deliveries: list[Delivery] = []
        self._rewritten: set[str] = set()

    def move_flow(
        self, trigger: FlowTrigger, kind: str, *, detail: Mapping[str, Any] | None = None, **changes: Any
    ) -> Flow:
        """Take the edge `trigger` or raise `IllegalTransition`; record it as `kind` and apply `changes`."""
        before = self.flow
        outcome: Outcome | None = changes.get("outcome", before.outcome)
        undo = bool(before.compensable) and outcome is not Outcome.COMPLETED
        status = next_flow(before.status, trigger, outcome=outcome, back=before.back, undo=undo)
        phases = (*before.phases, Phase(status=status, entered_at=self.now))
        self.change_flow(status=status, phases=phases, **changes)
        self.note(kind, from_status=before.status, to_status=status, cause=trigger, detail=detail)
        return self.flow

    def change_flow(self, **changes: Any) -> Flow:
        """Apply `changes` to the flow without moving it."""
        changes["version"] = self.context.flow.version + 1
        self.flow = self.flow.but(**changes)
        return self.flow

    def move_ticket(
        self,
        ticket: Ticket,
        trigger: TicketTrigger,
        kind: str | None = None,
        *,
        cause: str = "",
        **changes: Any,
    ) -> Ticket:
        """Take the edge `trigger`, record it as `kind` unless None, and apply `changes`."""
        status = next_ticket(ticket.status, trigger)
        if ticket.hedge is not None and status not in HELD_TICKETS:
            ticket = self._without_other(ticket, ticket.hedge, trigger, status)
        moved = self.change_ticket(ticket, status=status, **changes)
        if kind is not None:
            worker_id = moved.worker_id or ticket.worker_id
            self.note(
                kind,
                ticket=moved,
                worker_id=worker_id,
                from_status=ticket.status,
                to_status=status,
                cause=cause or trigger,
            )
        if moved.hedge is not None and status is TicketStatus.PENDING:
            moved = self.change_ticket(moved, attempt=max(moved.attempt, moved.hedge.attempt))
        return moved

    def _without_other(self, ticket: Ticket, other: Hedge, trigger: TicketTrigger, status: TicketStatus) -> Ticket:
        """Return a ticket that leaves its workers with its other attempt ended."""
        if ticket.status in HELD_TICKETS and other.ended_at is None:
            self.deliver(ticket, other.worker_id, other.attempt, cancelled=True)
            won = trigger is TicketTrigger.COMPLETE
            cause = LOST_RACE if won else trigger
            over = Reason(code="superseded", message=f"ticket {ticket.task_id} is {status}")
            detail = {"reason": over.told, "won_by": ticket.attempt if won else None}
            seen = of_attempt(ticket, other.attempt)
            self.note("ticket.hedge_ended", ticket=seen, worker_id=other.worker_id, cause=cause, detail=detail)
            return ticket.but(hedge=other.but(ended_at=self.now))
        return ticket

    def change_ticket(self, ticket: Ticket, **changes: Any) -> Ticket:
        """Apply `changes` to a ticket without moving it; `until`, or another attempt, sets its wake-up, too."""
        first = ticket.ticket_id not in self._tickets
        self._before.setdefault(ticket.ticket_id, ticket.status)
        changed = ticket.but(version=ticket.version + 1 if first else ticket.version, **changes)
        if "until" in changes or "hedge" in changes:
            at = wakeup_of(changed, self.flow)
            look = None if own_attempt(changed) is None else self.now + self.context.rules.job_look
            changed = changed.but(next_wakeup_at=earliest(at, look))
        self._tickets[ticket.ticket_id] = changed
        return changed

    def rewrite(self, ticket_ids: Iterable[str]) -> None:
        """Let stores write these tickets whole: a field changes that otherwise never does."""
        self._rewritten.update(ticket_ids)

    def add_tickets(self, tickets: Iterable[Ticket]) -> None:
        """Add new tickets, version 1."""
        self._tickets.update((ticket.ticket_id, ticket) for ticket in tickets)

    def moves(self) -> Iterator[tuple[TicketStatus, TicketStatus]]:
        """Return the former and the present status of every ticket of the plan that was changed."""
        changed = ((before, self._tickets[ticket_id]) for ticket_id, before in self._before.items())
        return ((before, ticket.status) for before, ticket in changed if ticket.compensates is None)

    def latest(self, ticket: Ticket) -> Ticket:
        """Return the ticket with the changes collected so far."""
        return self._tickets.get(ticket.ticket_id, ticket)

    def note(
        self,
        kind: str,
        *,
        cause: str,
        ticket: Ticket | None = None,
        worker_id: str | None = None,
        from_status: str | None = None,
        to_status: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a line to the history."""
        more: dict[str, Any] = dict(detail or {})
        if ticket is not None and ticket.reason is not None and "reason" not in more:
            more["reason"] = ticket.reason.told
        self._history.append(
            HistoryEntry(
                flow_id=self.flow.flow_id,
                at=self.now,
                type=kind,
                cause=cause,
                ticket_id=ticket.ticket_id if ticket else None,
                task_id=ticket.task_id if ticket else None,
                from_status=from_status,
                to_status=to_status,
                attempt=ticket.attempt if ticket else None,
                worker_id=worker_id,
                event_id=self.context.cause,
                detail=more,
            )
        )

    def emit(self, said: ChainEvent, *, key: str = "", **extensions: str) -> None:
        """Send a chain event about this flow; `key` tells apart events of one type."""
        run = f"redrive {self.flow.redrives}:" if self.flow.redrives else ""
        key = f"{run}{self.flow.phase.emissions}:{key}"
        event = flow_event(self.flow, said.event_type, data_of(said), key=key, context=self.context)
        self._events.append(replace(event, extensions={**event.extensions, **extensions}) if extensions else event)

    def ready(self, tickets: Iterable[Ticket]) -> None:
        """Send `tickets.ready` for tickets of any flow, the least slack first, a bounded number in each event."""
        by_flow: dict[str, list[Ticket]] = {}
        for ticket in sorted(tickets, key=attrgetter("order")):
            by_flow.setdefault(ticket.flow_id, []).append(ticket)
        for group in by_flow.values():
            for start in range(0, len(group), TICKETS_PER_EVENT):
                self._events.append(_ready_event(group[start : start + TICKETS_PER_EVENT], self.context))

    def audit(self, record: AnyAudit) -> None:
        """Keep an audit."""
        self._audit.append(record)

    def buffer(self, events: Iterable[CloudEvent]) -> None:
        """Put telemetry behind the events that wait for the sink."""
        self._telemetry.extend(events)

    def deliver(self, ticket: Ticket, worker_id: str, attempt: int, *, cancelled: bool = False) -> None:
        """Owe a message to a worker after the commit; the platform's own worker gets an event with it."""
        if worker_id != OWN_WORKER:
            self._deliveries.append(Delivery(ticket, worker_id, attempt, cancelled))
            return
        due = JobDue(flow_id=ticket.flow_id, ticket_id=ticket.ticket_id, attempt=attempt)
        key = f"{ticket.ticket_id}:{attempt}:{ticket.version}:{'over' if cancelled else 'due'}"
        event = flow_event(self.flow, due.event_type, due.model_dump(mode="json"), key=key, context=self.context)
        self._events.append(event)

    def look_at_job(self, ticket: Ticket) -> None:
        """Have the platform's own worker look at the job of a ticket, if it has one."""
        attempt = own_attempt(ticket)
        if attempt is not None:
            self.deliver(ticket, OWN_WORKER, attempt)

    def end(
        self, trigger: FlowTrigger, outcome: Outcome, *reasons: Reason, tally: Mapping[str, int] | None = None
    ) -> None:
        """Set the outcome, once, and hand the flow to its compensation, or to C6."""
        named = bounded(reasons)
        self.move_flow(
            trigger,
            "flow.consolidated",
            detail={"outcome": outcome, "reasons": [r.told for r in named]},
            outcome=outcome,
            reasons=named,
            tally=dict(tally or self.flow.tally),
            next_wakeup_at=self.now + self.context.rules.sink,
        )
        if self.flow.status is FlowStatus.COMPENSATING:
            self.change_flow(compensations=None, next_wakeup_at=self.now + self.context.rules.reemit_after(0))
            self.request_compensation()
        else:
            self.publish()

    def request_compensation(self) -> None:
        """Ask C5 to plan the compensations of the flow."""
        self.emit(CompensationRequested(flow_id=self.flow.flow_id, outcome=_decided(self.flow)))

    def publish(self) -> None:
        """Ask C6 to publish the telemetry of the flow."""
        self.emit(FlowConsolidated(flow_id=self.flow.flow_id, outcome=_decided(self.flow)))

    def step(self) -> ChangeSet:
        """Return everything that was collected."""
        return ChangeSet(
            flow_id=self.flow.flow_id,
            flow=self.flow if self.flow is not self.context.flow else None,
            tickets=tuple(self._tickets.values()),
            history=tuple(self._history),
            audit=tuple(self._audit),
            events=tuple(self._events),
            telemetry=tuple(self._telemetry),
            deliveries=tuple(self._deliveries),
            rewritten=frozenset(self._rewritten),
        )


REASONS_KEPT = 100
"""Reasons on a flow's row, which must stay small; the validation record has all of them."""


def bounded(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Return the reasons, or the first of them and how many more there are."""
    if len(reasons) <= REASONS_KEPT:
        return tuple(reasons)
    more = f"and {len(reasons) - REASONS_KEPT} more: the flow's validation record lists them all"
    return (*reasons[:REASONS_KEPT], Reason(code="more", message=more))


def data_of(said: ChainEvent) -> dict[str, Any]:
    """Return the data of an event; functions are told of a transition what they need, and no field that is empty."""
    return said.model_dump(mode="json", exclude_defaults=isinstance(said, TransitionData))


def _decided(flow: Flow) -> Outcome:
    if flow.outcome is None:
        raise ValueError(f"flow {flow.flow_id} has no outcome yet")
    return flow.outcome


def flow_event(flow: Flow, event_type: str, data: Mapping[str, Any], *, key: str, context: Context) -> CloudEvent:
    """Return an event about a flow: subject and partition key are the flow's id."""
    return CloudEvent(
        id=derived_id(flow.flow_id, event_type, key),
        source=f"/flowc/{context.function}",
        type=type_of(event_type),
        time=context.now,
        subject=flow.flow_id,
        data=dict(data),
        extensions={
            "partitionkey": flow.flow_id,
            "correlationid": flow.correlation_id,
            "causationid": context.cause,
            "traceparent": flow.traceparent,
        },
    )


def derived_id(flow_id: str, event_type: str, key: str) -> str:
    """Return the id of an event: the same for the same transition, in every process and every time."""
    return name_uuid(flow_id, f"{event_type}/{key}")


def _ready_event(tickets: list[Ticket], context: Context) -> CloudEvent:
    first = tickets[0]
    key = ",".join(f"{t.ticket_id}:{t.attempt}:{t.retry_count}:{t.emissions}" for t in tickets)
    return CloudEvent(
        id=derived_id(first.flow_id, "tickets.ready", key),
        source=f"/flowc/{context.function}",
        type=type_of("tickets.ready"),
        time=context.now,
        subject=first.flow_id,
        data=data_of(TicketsReady(flow_id=first.flow_id, ticket_ids=tuple(t.ticket_id for t in tickets))),
        extensions={
            "partitionkey": first.flow_id,
            "correlationid": first.correlation_id,
            "causationid": context.cause,
            "traceparent": f"00-{first.trace_id}-{first.span_id}-01",
        },
    )
