"""C2: one execution ticket for each task of a checked plan. Pure: the same input gives the same tickets."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter, is_
from typing import Any

from functions._core.decision.control_checks import has_branches
from functions._core.decision.model import NOT_UNDONE, Compensation, Decision, Retry, Task
from functions._core.errors import Undeliverable
from functions._core.executors.deploy import just_rolls_back
from functions._core.executors.table import capabilities_for, compensation_for
from functions._core.learning.guard import Guarded
from functions._core.planning.graph import Schedule, dependants, schedule
from functions._core.planning.planned_work import (
    TIMEOUT_FACTOR,
    capabilities,
    capabilities_of,
    expected_of,
    usual_timeout_ms,
)
from functions._core.planning.predicted_schedule import PredictedSchedule, predicted_schedule
from functions._core.planning.slack import hopeful_ms, wakeup_of
from functions._core.records.json_text import content_hash
from functions._core.records.models import Flow, Ticket
from functions._core.records.ordering import boost_of
from functions._core.records.policies import (
    Consistency,
    DeliveryMode,
    Durability,
    Qos,
    RetryPolicy,
    Sla,
    Undo,
    lowered,
)
from functions._core.records.record import as_json
from functions._core.records.values import (
    RiskBand,
    TaskType,
    Waiting,
    milliseconds,
    own_ticket_id,
    ticket_id_of,
    time_span,
)
from functions._core.rules import Rules

MAX_RETRIES: Mapping[RiskBand, int] = {
    RiskBand.CRITICAL: 5,
    RiskBand.HIGH: 3,
    RiskBand.MEDIUM: 2,
    RiskBand.LOW: 1,
}
"""Retries by risk band, where the task names none: the more depends on a task, the more often it is tried."""

CAREFUL = Qos(
    delivery_mode=DeliveryMode.EXACTLY_ONCE,
    consistency=Consistency.STRONG,
    durability=Durability.PERSISTENT,
)
"""The care for tasks of high and critical risk."""

RELAXED = Qos(
    delivery_mode=DeliveryMode.AT_LEAST_ONCE,
    consistency=Consistency.EVENTUAL,
    durability=Durability.PERSISTENT,
)
"""The care for all other tasks."""

QOS: Mapping[RiskBand, Qos] = {
    RiskBand.CRITICAL: CAREFUL,
    RiskBand.HIGH: CAREFUL,
    RiskBand.MEDIUM: RELAXED,
    RiskBand.LOW: RELAXED,
}
"""The care by risk band."""

UNDO_MS = 120_000
"""Milliseconds that a worker may take to undo one ticket, unless the task says otherwise."""

RISK_WEIGHT: Mapping[RiskBand, float] = {
    RiskBand.CRITICAL: 1.0,
    RiskBand.HIGH: 0.7,
    RiskBand.MEDIUM: 0.5,
    RiskBand.LOW: 0.3,
}
"""The part of the risk in the priority score, 0 to 1; the weights are those of the contract."""

DELIVERY_WEIGHT: Mapping[DeliveryMode, float] = {
    DeliveryMode.EXACTLY_ONCE: 1.0,
    DeliveryMode.AT_LEAST_ONCE: 0.7,
    DeliveryMode.AT_MOST_ONCE: 0.5,
}
"""The factor of the delivery mode in the part of the care."""

CONSISTENCY_WEIGHT: Mapping[Consistency, float] = {Consistency.STRONG: 1.0, Consistency.EVENTUAL: 0.85}
"""The factor of the consistency in the part of the care."""

DURABILITY_WEIGHT: Mapping[Durability, float] = {Durability.PERSISTENT: 1.0, Durability.TRANSIENT: 0.9}
"""The factor of the durability in the part of the care."""

URGENCY_STEPS = ((0.5, 0.3), (0.8, 0.7))
"""Urgency below each consumed share of the time to the deadline; from the last share on it is 1."""

CORRUPTED = "ticket_corrupted"
"""Code of the reason of a ticket that was changed where it is stored; it is never given to a worker."""

HASHED = frozenset(
    {
        "ticket_id",
        "plan_id",
        "intent_id",
        "decision_id",
        "task_id",
        "task_type",
        "description",
        "dependencies",
        "priority",
        "risk_band",
        "sla",
        "qos",
        "parameters",
        "required_capabilities",
        "security_level",
        "created_at",
        "schema_version",
        "undo",
    }
)
"""The fields that never change once the ticket is made; the hash is taken over them."""

HASHED_STEERED = HASHED | {"control", "parent", "scope", "index", "item"}
"""The fields under the hash of a ticket that something steers, or that is the child of another one."""

HASHED_AT_FIRST = HASHED - {"undo"}
"""The fields under the hash of older tickets, which did not cover `undo`; such tickets may still be stored."""

HASHES_KEPT = 1_000
"""Tickets whose hash is kept with the values that it was computed from: as many as a store keeps in memory."""

_hashed = attrgetter(*sorted(HASHED_STEERED))
_hashes: OrderedDict[str, tuple[tuple[object, ...], str]] = OrderedDict()


def generate_tickets(
    flow: Flow, decision: Decision, now: datetime, rules: Rules, guarded: Guarded | None = None
) -> tuple[Ticket, ...]:
    """Return the tickets of the decision's plan in stable topological order, ready to be stored.

    The time from `now` to the flow's deadline is shared out by `plan.schedule`, which raises `ValueError` for
    a graph that C1 would have refused. With a model each ticket keeps what that predicts for it.
    """
    within = Within(flow, decision, flow.sla_deadline, guarded=guarded)
    return tickets_of(decision.cognitive_plan.tasks, within, now, rules)


@dataclass(frozen=True, slots=True)
class Within:
    """What tasks are in: a flow, and perhaps a ticket of it that they are the sub-flow of."""

    flow: Flow
    decision: Decision
    deadline: datetime
    """When all of the tasks have to be done."""
    parent: Ticket | None = None
    guarded: Guarded | None = None
    """The model that says how long they take; None where their estimates count."""

    @property
    def scope(self) -> str:
        """How the ids of the tasks begin on their tickets."""
        return f"{self.parent.task_id}/" if self.parent else ""

    @property
    def path(self) -> tuple[str, ...]:
        """The ids of the tasks that lead here."""
        return self.parent.control.subflow if self.parent and self.parent.control else ()


def tickets_of(tasks: Sequence[Task], within: Within, now: datetime, rules: Rules) -> tuple[Ticket, ...]:
    """Return the tickets of the tasks of a plan, or of a plan within it."""
    flow, decision, parent = within.flow, within.decision, within.parent
    by_id = {task.task_id: task for task in tasks}
    own = None if parent else own_ticket_id(decision.decision_id, len(tasks))
    ids = {task_id: own or ticket_id_of(flow.flow_id, within.scope + task_id) for task_id in by_id}
    plan = schedule(tasks, now, within.deadline)
    found = _timed(tasks, plan, within, now, rules)
    # In a plan with branches each edge says something: what was skipped, or failed, behind it.
    redundant = {} if has_branches(tasks) else plan.redundant(tasks)
    followers = dependants(tasks, redundant)
    of_flow = _of_flow(flow, decision, now)
    if parent is not None:
        of_flow |= {"parent": parent.ticket_id, "scope": within.scope}
    after_ms = parent.tail_ms if parent else 0
    tickets = []
    for task_id, timing in found.timings.items():
        task, predicted = by_id[task_id], found.predictions.get(task_id)
        tail_ms = found.tails.get(task_id, timing.tail_ms) + after_ms
        # The event that starts the discovery of ready tickets may be lost.
        until = flow.sla_deadline if task.dependencies else now + rules.reemit_after(0)
        ticket = Ticket(
            **of_flow,
            **_of_task(task, within, timing.latest_finish, rules.least_timeout_ms),
            ticket_id=ids[task_id],
            latest_start=timing.latest_start,
            tail_ms=tail_ms,
            late=time_span(hopeful_ms(task.estimate_ms, predicted) + tail_ms) > flow.sla_deadline - now,
            level=timing.level,
            critical=timing.critical,
            dependencies=tuple(ids[dependency] for dependency in task.dependencies),
            open_dependencies=len(task.dependencies) - len(redundant.get(task_id, ())),
            dependants=tuple(ids[follower] for follower in followers[task_id]),
            waiting=Waiting.DEPENDENCIES if task.dependencies else Waiting.DISCOVERY,
            ready_at=None if task.dependencies else now,
            until=until,
            prediction=predicted,
            next_wakeup_at=until,
            hash="",
        )
        tickets.append(ticket.but(hash=ticket_hash(ticket), next_wakeup_at=wakeup_of(ticket, flow)))
    return tuple(tickets)


def priority_score(risk_band: RiskBand, qos: Qos, consumed: float = 0.0) -> float:
    """Return how urgent a ticket is, 0..1; `consumed` is the part of the time to its deadline that passed."""
    care = DELIVERY_WEIGHT[qos.delivery_mode] * CONSISTENCY_WEIGHT[qos.consistency]
    care *= DURABILITY_WEIGHT[qos.durability]
    urgency = next((urgency for share, urgency in URGENCY_STEPS if consumed < share), 1.0)
    return round(0.4 * RISK_WEIGHT[risk_band] + 0.3 * care + 0.3 * urgency, 6)


def score_at(ticket: Ticket, now: datetime) -> float:
    """Return the ticket's priority score at `now`, or when it ended: it grows as the time to its deadline passes.

    A predicted overrun raises it, by `MOST_BOOST` at most.
    """
    moment = now if ticket.live else ticket.completed_at or now
    given = ticket.sla.deadline - ticket.created_at
    consumed = (moment - ticket.created_at) / given if given > timedelta() else 1.0
    boost = boost_of(ticket.prediction, ticket.sla.deadline - now) if ticket.live else 0.0
    return min(1.0, round(priority_score(ticket.risk_band, ticket.qos, consumed) + boost, 6))


def ticket_hash(ticket: Ticket) -> str:
    """Return the SHA-256 of the ticket's immutable fields (`HASHED`) as canonical JSON.

    It is computed once for the same values: versions of a ticket that were made one from the other share them, and
    one that is read from a store has others.
    """
    values = _hashed(ticket)
    known = _hashes.get(ticket.ticket_id)
    if known is not None and all(map(is_, known[0], values)):
        return known[1]
    steered = ticket.control is not None or ticket.parent is not None
    computed = _hash_over(ticket, HASHED_STEERED if steered else HASHED)
    _hashes[ticket.ticket_id] = values, computed
    if len(_hashes) > HASHES_KEPT:
        _hashes.popitem(last=False)
    return computed


def intact(ticket: Ticket) -> bool:
    """Whether the ticket's immutable fields are those it was made with."""
    return ticket.hash == ticket_hash(ticket) or ticket.hash == _hash_over(ticket, HASHED_AT_FIRST)


def _hash_over(ticket: Ticket, fields: frozenset[str]) -> str:
    kept = {name: as_json(getattr(ticket, name)) for name in fields}
    del kept["sla"]["deadline"]  # its share of the SLA moves with a pause or a redrive of the flow
    return content_hash(kept, large=ticket.control is not None)  # it may hold a list of 10,000 items


class TicketCorrupted(Undeliverable):
    """A stored ticket is not the one that C2 made."""

    def __init__(self, ticket: Ticket) -> None:
        """Name the ticket's task."""
        message = f"ticket {ticket.task_id} was changed in what must not change: its hash is another one"
        super().__init__(message, code=CORRUPTED)


def check_hash(ticket: Ticket) -> None:
    """Raise `TicketCorrupted` unless the ticket's immutable fields are those it was made with."""
    if not intact(ticket):
        raise TicketCorrupted(ticket)


def _of_flow(flow: Flow, decision: Decision, now: datetime) -> dict[str, Any]:
    """Return the fields that are the same in all tickets of the flow."""
    return {
        "flow_id": flow.flow_id,
        "plan_id": decision.plan_id,
        "intent_id": decision.intent_id,
        "decision_id": decision.decision_id,
        "correlation_id": flow.correlation_id,
        "trace_id": flow.trace_id,
        "span_id": flow.span_id,
        "domain": decision.cognitive_plan.original_domain,
        "created_at": now,
        "waiting_since": now,
    }


def _of_task(task: Task, within: Within, latest_finish: datetime, least_timeout_ms: int) -> dict[str, Any]:
    """Return the fields that the task decides: the work, its care and its time."""
    decision = within.decision
    risk_band = task.risk_band or decision.flow_risk_band
    qos = QOS[risk_band]
    retry = task.retry or Retry()
    retries = MAX_RETRIES[risk_band] if retry.max_retries is None else retry.max_retries
    return {
        "task_id": within.scope + task.task_id,
        "task_type": task.task_type,
        "description": task.description,
        "parameters": task.parameters,
        "metadata": task.metadata,
        "template_id": task.template_id,
        "idempotent": task.idempotent,
        "required_capabilities": capabilities_of(task),
        "priority": lowered(task.priority or decision.flow_priority, within.flow.budget_verdict),
        "priority_score": priority_score(risk_band, qos),
        "risk_band": risk_band,
        "security_level": task.security_level or decision.flow_security_level,
        "estimated_duration_ms": task.estimate_ms,
        "qos": qos,
        "sla": Sla(
            deadline=latest_finish,
            timeout_ms=task.timeout_ms or usual_timeout_ms(task, least_timeout_ms),
            max_retries=retries,
        ),
        "retry": DEFAULT_RETRY if task.retry is None else RetryPolicy(**retry.model_dump(exclude={"max_retries"})),
        "schedule_to_start_ms": task.schedule_to_start_ms,
        "heartbeat_timeout_ms": task.heartbeat_timeout_ms,
        "control": task.control(within.path),
        "labels": {**within.flow.labels, **task.labels} if task.labels else within.flow.labels,
        "undo": _undo(task, by_type=decision.cognitive_plan.compensate_by_type),
    }


def _timed(tasks: Sequence[Task], plan: Schedule, within: Within, now: datetime, rules: Rules) -> PredictedSchedule:
    """Return the shares of the time, and what is predicted: by estimates, or by a model that acts."""
    guarded, decision = within.guarded, within.decision
    if guarded is None:
        return PredictedSchedule(plan.timings, {}, {})
    sla_ms = milliseconds(within.flow.sla_deadline - within.flow.received_at)
    expected = expected_of(tasks, plan, decision, guarded, sla_ms, now, scope=within.scope)
    least_ms = rules.least_timeout_ms
    timeouts = {task.task_id: usual_timeout_ms(task, least_ms) for task in tasks if task.timeout_ms is None}
    return predicted_schedule(tasks, plan, expected, timeouts, now, within.deadline)


DEFAULT_RETRY = RetryPolicy()
"""The policy of a task that names none; one object for all tickets."""


def _undo(task: Task, *, by_type: bool) -> Undo | None:
    """Return how the task's work is undone."""
    declared = _compensation(task, by_type=by_type)
    if declared is None or declared is NOT_UNDONE:
        return None
    parameters = dict(declared.parameters)
    if declared.task_type is not TaskType.COMPENSATE:
        parameters.setdefault("task_type", declared.task_type.value)
    needed = declared.required_capabilities
    if (executor := capabilities_for(TaskType.COMPENSATE, parameters)) and needed is None:
        needed = task.required_capabilities  # those of the task itself, without the executor that did it
    needed = None if needed is None else (*needed, *executor)
    return Undo(
        parameters=parameters,
        required_capabilities=None if needed is None else capabilities(needed),
        timeout_ms=declared.timeout_ms,
    )


def _compensation(task: Task, *, by_type: bool) -> Compensation | None:
    """Return what a task declares, or else what its executor does, or its type where the plan says so.

    A declaration that says no more than to roll back is filled in with what the executor needs to know for that.
    """
    declared = task.compensation
    if declared is NOT_UNDONE or (declared is not None and not just_rolls_back(declared.parameters)):
        return declared
    own = compensation_for(task.task_type, task.task_id, task.parameters)
    if own is None:
        return declared or (Compensation() if by_type else None)
    declared = declared or Compensation()
    # To go back takes about as long as the way there.
    timeout_ms = declared.timeout_ms or max(UNDO_MS, task.timeout_ms or TIMEOUT_FACTOR * task.item_estimate_ms)
    return Compensation(
        task_type=declared.task_type,
        parameters=own,
        required_capabilities=declared.required_capabilities,
        timeout_ms=timeout_ms,
    )
