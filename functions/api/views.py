"""What people and tools see of the records: the records themselves, and what follows from them and the time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.json_schema import SkipJsonSchema

from functions._core.engine import CommandResult
from functions._core.events.envelope import CloudEvent
from functions._core.events.telemetry import summary_of
from functions._core.explain.flow import Explanation
from functions._core.placement.pheromones import Trails
from functions._core.placement.ranking import UNKNOWN, Breaker, breaker_of, health_of
from functions._core.planning.graph import EDGES_NAMED
from functions._core.planning.slack import closed_at, deadline_at, sla_state, slack_ms, slack_state, time_given
from functions._core.planning.tickets import score_at
from functions._core.records.audits import AnyAudit, IncidentRecord
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, TaskLog, Ticket
from functions._core.records.record import Record, fields_of, from_json
from functions._core.records.set_aside import UnreadableRecord
from functions._core.records.values import (
    Health,
    Model,
    SecurityLevel,
    SlackState,
    TicketStatus,
    Timestamp,
    milliseconds,
)
from functions._core.records.worker import Candidate, Refusal, Worker
from functions._core.rules import Rules


class StepView(Record):
    """One of the six steps of a flow; `skipped` when the flow did not come to it, or has not yet."""

    step: Literal["C1", "C2", "C3", "C4", "C5", "C6"]
    name: str
    status: Literal["skipped", "in_progress", "completed", "failed"]
    started_at: Timestamp | None
    completed_at: Timestamp | None
    duration_ms: int | None
    attempts: int


class FlowView(Flow):
    """A flow, and how it stands against its deadline: `sla_remaining_ms` is negative when it is late.

    `sla_total_ms` is how much time it has, or had, in all. `sla_state` is `at_risk` only while there is no outcome.
    """

    sla_remaining_ms: int
    sla_violated: bool
    sla_total_ms: int
    sla_state: SlackState


class FlowDetail(FlowView):
    """A flow with its tickets counted and its six steps, as far as it has come."""

    success: bool
    total_duration_ms: int
    tickets_by_status: Mapping[str, int]
    tickets_completed: int
    tickets_failed: int
    tickets_compensated: int
    steps: tuple[StepView, ...]
    error: str | None
    retries: int
    reassignments: int
    sla_violations: int
    levels: int
    """How many levels the plan has; 0 while there are no tickets."""
    redundant_edges: tuple[str, ...]
    """Dependencies that nothing waits for, as others imply them, as `a → c`; the first 100."""


class FlowResult(Record):
    """The result of a flow; until it has ended, what is known so far."""

    flow_id: str
    status: str
    success: bool
    total_duration_ms: int
    tickets_generated: int
    tickets_completed: int
    tickets_failed: int
    tickets_compensated: int
    telemetry_published: bool
    sla_violated: bool
    steps: tuple[StepView, ...]
    error: str | None
    retries: int
    reassignments: int
    sla_violations: int


class FlowPage(Record):
    """Flows, the newest first; `cursor` asks for the next page, null means that there is none."""

    items: tuple[FlowView, ...]
    cursor: str | None


class TicketView(Ticket):
    """A ticket, its priority score now, and its slack: how long it can still wait or be worked on; null at its end.

    `log_bytes` is how much there is to read of what its task wrote.
    """

    log: SkipJsonSchema[TaskLog | None] = None
    log_bytes: int = 0
    slack_ms: int | None
    slack_state: SlackState | None


class TicketHistory(Record):
    """Transitions of one ticket, in order; `after` continues behind what was looked at, unless it is `complete`."""

    items: tuple[HistoryEntry, ...]
    after: int
    complete: bool


class LogView(Record):
    """The end of what a task wrote to standard output and standard error in one attempt, 64 KiB at most."""

    ticket_id: str
    flow_id: str
    task_id: str
    attempt: int
    text: str


class TicketPage(Record):
    """Tickets, the oldest first; `cursor` asks for the next page, null means that there is none.

    `total`, on the first page, is how many there are on all pages, null for more than 1000.
    """

    items: tuple[TicketView, ...]
    cursor: str | None
    total: int | None = None


class WorkerView(Worker):
    """A worker, its health and the state of its circuit breaker now, and how many tickets it holds."""

    health: Health
    breaker: Breaker
    silence_seconds: float
    active_tickets: int
    pheromone: float | None = None
    """How well it does of late in the domain that was asked for, 0 to 1, 0.5 without signals; None: none was."""


class RegisteredWorker(WorkerView):
    """The answer to a registration: how often the worker has to be heard of, and how it knows the platform.

    Messages to it are signed by `signing_secret` (Standard Webhooks), which it gets here and nowhere else; every
    registration has another one. Reports go to addresses below `callback_base_url`.
    """

    heartbeat_interval_seconds: float
    signing_secret: str
    callback_base_url: str


class WorkerList(Model):
    """All workers, by id; `unreadable` are those whose stored records cannot be read."""

    items: tuple[WorkerView, ...]
    unreadable: tuple[UnreadableRecord, ...] = ()


class HeartbeatAnswer(Record):
    """The answer to a heartbeat: the worker's health, and the tickets that it should stop."""

    status: Health
    cancel: tuple[str, ...]


class RankedWorker(Candidate):
    """A worker that could take a ticket, with the parts of its score."""

    endpoint: str
    capabilities: tuple[str, ...]
    clearance: SecurityLevel
    health: Health


class Discovery(Record):
    """Workers with the wanted capabilities, the best first, and those that were left out, each with the reason."""

    items: tuple[RankedWorker, ...]
    refusals: tuple[Refusal, ...]


class HistoryPage(Record):
    """Transitions in order; `after` asks for those that follow, now or when they have happened."""

    items: tuple[HistoryEntry, ...]
    after: int


class EventView(Model):
    """A transition as a CloudEvent; extension attributes stand beside the others."""

    model_config = ConfigDict(extra="allow")

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: Timestamp
    subject: str | None
    datacontenttype: str = "application/json"
    data: Any


class LeaseAnswer(Model):
    """The answer to a worker that asks: assignments, each an event with its token, and tickets that it should stop."""

    assignments: tuple[EventView, ...]
    cancel: tuple[str, ...]


class EventPage(Model):
    """Events in order; `after` asks for those that follow, now or when they have happened."""

    items: tuple[EventView, ...]
    after: int


class AuditList(Record):
    """What validations found, what people did and what went wrong, the newest first."""

    items: tuple[AnyAudit, ...]


class IncidentList(Record):
    """Incidents, the newest first."""

    items: tuple[IncidentRecord, ...]


class Change(Record):
    """A transition that an order has led to, or would lead to."""

    type: str
    ticket_id: str | None
    task_id: str | None
    from_status: str | None
    to_status: str | None
    attempt: int | None
    worker_id: str | None
    cause: str
    detail: Mapping[str, Any]


class OrderView(FlowView):
    """A flow after an order, and what that has changed; with `dry_run` as it would be, and what would change."""

    dry_run: bool
    changes: tuple[Change, ...]


class LetterPage(Record):
    """Dead letters, the newest first; `cursor` asks for the next page, null means that there is none."""

    items: tuple[DeadLetter, ...]
    cursor: str | None


class WhyView(Explanation):
    """An explanation with what it rests on; `text` are all its sentences in reading order.

    `candidates` and `refusals` are the workers as ranked for a ticket at `ranked_at`: now while it waits, else when it
    was assigned. `last_events` are the last transitions, the newest last.
    """

    text: tuple[str, ...]
    slack_ms: int | None = None
    slack_state: SlackState | None = None
    candidates: tuple[Candidate, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    ranked_at: Timestamp | None = None
    last_events: tuple[HistoryEntry, ...] = ()


def flow_view(flow: Flow, now: datetime) -> FlowView:
    """Return a flow as it is listed."""
    return FlowView(**fields_of(flow), **_sla(flow, now))


def order_view(carried: CommandResult, now: datetime) -> OrderView:
    """Return what became of an order, or would become of it."""
    return OrderView(**fields_of(flow_view(carried.flow, now)), dry_run=carried.dry_run, changes=changes_of(carried))


def changes_of(carried: CommandResult) -> tuple[Change, ...]:
    """Return the transitions that an order has led to, or would lead to."""
    return tuple(
        Change(**{name: getattr(entry, name) for name in Change.__struct_fields__}) for entry in carried.changes
    )


def flow_detail(flow: Flow, tickets: Sequence[Ticket], tally: Mapping[str, int], now: datetime) -> FlowDetail:
    """Return everything about a flow; `tally` counts its tickets by status."""
    summary = summary_of(flow.but(tally=tally), tickets, now)
    known = {*FlowView.__struct_fields__}
    more = {name: value for name, value in summary.items() if name not in known}
    more |= {"levels": max((t.level + 1 for t in tickets if t.compensates is None), default=0)}
    more |= {"redundant_edges": _redundant_edges(tickets)}
    return from_json(FlowDetail, {**fields_of(flow), **_sla(flow, now), "tickets_by_status": tally, **more})


def _redundant_edges(tickets: Sequence[Ticket]) -> tuple[str, ...]:
    by_id = {ticket.ticket_id: ticket for ticket in tickets if ticket.compensates is None}
    edges = (
        f"{by_id[one].task_id} → {ticket.task_id}"
        for ticket in by_id.values()
        for one in ticket.dependencies
        if one in by_id and ticket.ticket_id not in by_id[one].dependants
    )
    return tuple(islice(edges, EDGES_NAMED))


def flow_result(flow: Flow, tickets: Sequence[Ticket], tally: Mapping[str, int], now: datetime) -> FlowResult:
    """Return the result of a flow."""
    return from_json(FlowResult, summary_of(flow.but(tally=tally), tickets, now))


def ticket_view(ticket: Ticket, now: datetime) -> TicketView:
    """Return a ticket with its slack and its priority score at `now`."""
    present = {
        "priority_score": score_at(ticket, now),
        "slack_ms": slack_ms(ticket, now),
        "slack_state": slack_state(ticket, now),
        "log_bytes": len(ticket.log.text.encode()) if ticket.log else 0,
    }
    return TicketView(**fields_of(ticket) | present)


def worker_view(
    worker: Worker, active: Mapping[str, int], now: datetime, rules: Rules, trails: Trails | None = None
) -> WorkerView:
    """Return a worker as it stands at `now`; `active` is how many tickets each has, `trails` are those of a domain."""
    trail = None if trails is None else trails.get(worker.worker_id)
    return WorkerView(
        **fields_of(worker),
        health=health_of(worker, now, rules),
        breaker=breaker_of(worker, now),
        silence_seconds=max(0.0, (now - worker.last_seen).total_seconds()),
        active_tickets=active.get(worker.worker_id, 0),
        pheromone=trail.at(now).score if trail is not None else None if trails is None else UNKNOWN,
    )


def event_view(event: CloudEvent) -> EventView:
    """Return an event in its structured form."""
    return EventView(
        id=event.id,
        source=event.source,
        type=event.type,
        time=event.time,
        subject=event.subject,
        data=event.data,
        **event.extensions,
    )


def why_view(explanation: Explanation, ticket: Ticket | None, now: datetime, last: Sequence[HistoryEntry]) -> WhyView:
    """Return an explanation of `ticket`, or of a flow for None, with the last lines of its history."""
    of_ticket: dict[str, Any] = {}
    if ticket is not None:
        of_ticket = {
            "slack_ms": slack_ms(ticket, now),
            "slack_state": slack_state(ticket, now),
            "candidates": ticket.candidates,
            "refusals": ticket.refusals,
            "ranked_at": now if ticket.status is TicketStatus.PENDING else ticket.assigned_at,
        }
    return WhyView(**fields_of(explanation), text=explanation.sentences, last_events=tuple(last), **of_ticket)


def _sla(flow: Flow, now: datetime) -> dict[str, Any]:
    moment, state = closed_at(flow) or now, sla_state(flow, now)
    return {
        "sla_remaining_ms": milliseconds(deadline_at(flow, moment) - moment),
        "sla_violated": state is SlackState.BREACHED,
        "sla_total_ms": milliseconds(time_given(flow)),
        "sla_state": state,
    }
