"""What one committed step counts for. Pure: from the values of the step to measurements by name."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from functions._core.events.envelope import CloudEvent
from functions._core.machine.context import CLOCK
from functions._core.machine.step_builder import LOST_RACE
from functions._core.machine.tables import ENDED_FLOWS, ENDED_TICKETS, FlowTrigger
from functions._core.placement.limits import CONCURRENCY_LIMIT, OVER_LIMIT
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.prediction import Prediction
from functions._core.records.simulated import is_simulated, was_simulated
from functions._core.records.values import FlowStatus, Outcome, TicketStatus
from functions._core.slo.admission import BUDGET_SPENT
from functions._observability.catalogue import USER_FAILURES

Count = tuple[str, str, float, tuple[str, ...]]
"""How (`count`, `time`), the metric's name, the value, and its labels."""

REASONS = {
    "approval_required": "policy_denied",
    "concurrency_limit": "policy_denied",
    "decision_expired": "plan_expired",
    "deadline_passed": "plan_expired",
    "decision_rejected": "policy_denied",
    "empty_plan": "no_tickets",
    "invalid_field": "invalid_decision",
    "missing_field": "invalid_decision",
    "policy_unavailable": "policy_denied",
    "self_dependency": "cyclic_dependencies",
    "too_many_labels": "invalid_decision",
    "unknown_placeholder": "invalid_decision",
    "unknown_word": "invalid_decision",
}
"""What C1 may object to, in the words of the metric; those absent are its own words, or faults of the plan."""

PLAIN = {
    "decision.consolidated": "flowc_decisions_total",
    "ticket.retried": "ticket_retries_total",
    "ticket.reassigned": "ticket_reassignments_total",
}


HEDGES = {"ticket.hedged": "begun", "ticket.not_hedged": "not_begun", "ticket.hedge_ended": "one_given_up"}
"""What becomes of second attempts, by the transition that says so, unless one of the two has won."""

LIMITS = {
    FlowTrigger.UNDECIDED: "approval",
    FlowTrigger.EXPIRED: "deadline",
    FlowTrigger.LAPSED: "pause",
    FlowTrigger.GIVEN_UP: "compensation",
    FlowTrigger.BUFFERED: "sink",
    "no_worker": "no_worker",
    "quarantine_expired": "approval",
    "no_capacity": "no_capacity",
    "worker_unreachable": "acknowledgement",
    "not_asked_for": "acknowledgement",
    "timed_out": "start_to_close",
    "heartbeat_lost": "heartbeat",
    "schedule_to_start": "schedule_to_start",
}
"""The time limit that ran out, by the cause of the transition that it led to."""


def counts_of(step: ChangeSet) -> Iterator[Count]:
    """Yield the measurements of a step."""
    tickets = {ticket.ticket_id: ticket for ticket in step.tickets}
    for entry in step.history:
        yield "count", "flowc_transitions_total", 1, (entry.type,)
        limit = limit_run_out(entry)
        if limit is not None:
            yield "count", "flowc_timeouts_total", 1, (limit,)
        if entry.type in PLAIN:
            yield "count", PLAIN[entry.type], 1, ()
        if entry.type == "guard.verdict":
            yield "count", "flowc_guard_verdicts_total", 1, (entry.detail["stage"], entry.detail["finding"])
        if entry.type == "incident.raised":
            labels = entry.detail["incident_type"], entry.detail["severity"]
            yield "count", "orchestration_incidents_total", 1, labels
        elif entry.ticket_id is not None:
            yield from _ticket_moved(entry, tickets.get(entry.ticket_id))
        elif step.flow is not None:
            yield from _flow_moved(entry, step.flow, step)
    for event_type, number in Counter(delivery.cancelled for delivery in step.deliveries).items():
        yield "count", "webhooks_enqueued_total", number, ("ticket.cancelled" if event_type else "ticket.assigned",)
    yield from step_durations(step.telemetry)


def limit_run_out(entry: HistoryEntry) -> str | None:
    """Return which time limit, in the words of the metric, has led to a transition.

    Only what the clock has caused is one: a sink may also refuse, and a worker call its error what it likes.
    """
    if entry.event_id != CLOCK:
        return None
    if entry.type == "flow.reemitted":  # to wait for a place is no limit that ran out
        return None if entry.cause in {OVER_LIMIT, CONCURRENCY_LIMIT} else "function"
    return LIMITS.get(entry.cause) if entry.to_status is not None else None


def step_durations(events: Iterable[CloudEvent]) -> Iterator[Count]:
    """Yield how long the steps took that telemetry events tell of, the first time they are sent or kept."""
    for event in events:
        if event.event_type == "flow.step.completed" and event.data["duration_ms"] is not None:
            value = event.data["duration_ms"] / 1000
            yield "time", "neural_hive_flow_c_steps_duration_seconds", value, (event.data["step"],)


def failure_reason(flow: Flow) -> str:
    """Return why a flow did not complete, in one of the few words of the metric."""
    if flow.outcome is Outcome.TIMED_OUT:
        return "sla_timeout"
    if flow.outcome is Outcome.CANCELLED:
        return "cancelled"
    code = flow.reasons[0].code if flow.reasons else "unknown"
    if flow.outcome is Outcome.REJECTED:
        return refusal(code)
    return "ticket_failed" if code == "ticket_failed" else "internal"


def refusal(code: str) -> str:
    """Return what C1 objected to, in one of the few words of the metric."""
    word = REASONS.get(code, code)
    return word if word in USER_FAILURES else "invalid_plan"


def _ticket_moved(entry: HistoryEntry, ticket: Ticket | None) -> Iterator[Count]:
    band = ticket.risk_band.value if ticket is not None else ""
    if entry.type == "sla.violated":
        yield "count", "orchestration_sla_violations_total", 1, (band, "ticket")
    elif entry.type == "sla.at_risk":
        yield "count", "orchestration_deadline_approaching_total", 1, (band,)
    elif entry.type == "ticket.held_back":
        yield "count", "flowc_held_back_total", 1, ("freeze",)
    elif entry.type in HEDGES:
        yield "count", "flowc_hedges_total", 1, (_hedged(entry),)
    if entry.from_status == TicketStatus.COMPENSATING:
        undone = "compensated" if entry.to_status == TicketStatus.COMPENSATED else "not_compensated"
        yield "count", "orchestration_compensations_total", 1, (undone,)
    if entry.from_status and entry.to_status and entry.from_status != entry.to_status:
        yield "count", "ticket_status_transitions_total", 1, (entry.from_status, entry.to_status)
    ended = entry.to_status in ENDED_TICKETS and entry.from_status not in ENDED_TICKETS
    if ended and entry.to_status is not None and ticket is not None:
        yield "count", "orchestration_tickets_completed_total", 1, (ticket.task_type.value, entry.to_status)
        if ticket.prediction is not None and not is_simulated(ticket.output):
            yield from _prediction_judged(ticket.prediction, ticket.actual_duration_ms)


def _prediction_judged(prediction: Prediction, actual_ms: int | None) -> Iterator[Count]:
    if actual_ms is not None:
        within = "p50" if actual_ms <= prediction.p50_ms else "p90" if actual_ms <= prediction.p90_ms else "beyond"
        yield "time", "orchestration_ml_prediction_error", abs(actual_ms - prediction.p50_ms), ("duration",)
        yield "count", "orchestration_ml_prediction_coverage_total", 1, (within,)


def _hedged(entry: HistoryEntry) -> str:
    if entry.cause == LOST_RACE:
        return "won_by_second" if entry.detail["won_by"] > (entry.attempt or 0) else "won_by_first"
    return HEDGES[entry.type]


def _flow_moved(entry: HistoryEntry, flow: Flow, step: ChangeSet) -> Iterator[Count]:
    band = flow.risk_band.value
    if entry.type == "plan.validated":
        yield "count", "orchestration_workflows_started_total", 1, (band,)
        yield "count", "orchestration_validations_total", 1, ("accepted",)
    elif entry.type == "plan.rejected":
        yield "count", "orchestration_validations_total", 1, ("refused",)
        code = flow.reasons[0].code if flow.reasons else "unknown"
        yield "count", "neural_hive_flow_c_ticket_validation_failures_total", 1, (refusal(code),)
    elif entry.type == "tickets.generated":
        yield from _generated(step.tickets)
    elif entry.type == "sla.violated":
        yield "count", "neural_hive_flow_c_sla_violations_total", 1, ()
        yield "count", "orchestration_sla_violations_total", 1, (band, "flow")
    elif entry.type == "sla.at_risk":
        yield "count", "orchestration_deadline_approaching_total", 1, (band,)
    elif entry.type == "flow.held_back":
        of_key = flow.concurrency if entry.cause == CONCURRENCY_LIMIT else None
        limit = "budget" if entry.cause == BUDGET_SPENT else of_key.beyond.value if of_key else "flows"
        yield "count", "flowc_held_back_total", 1, (limit,)
    elif entry.cause == FlowTrigger.REFUSED and entry.from_status == FlowStatus.GENERATING:
        yield "count", "flowc_held_back_total", 1, ("refuse",)
    elif entry.to_status in ENDED_FLOWS:
        yield from _flow_ended(flow)


def _generated(tickets: Sequence[Ticket]) -> Iterator[Count]:
    made = Counter((ticket.task_type.value, ticket.risk_band.value) for ticket in tickets)
    for labels, number in made.items():
        yield "count", "orchestration_tickets_generated_total", number, labels
    if predicted := sum(ticket.prediction is not None for ticket in tickets):
        yield "count", "orchestration_ml_predictions_total", predicted, ("duration", "success")


def _flow_ended(flow: Flow) -> Iterator[Count]:
    status = flow.status.value
    ended = flow.ended_at or flow.phase.entered_at
    yield "count", "orchestration_workflows_completed_total", 1, (status,)
    yield "time", "neural_hive_flow_c_duration_seconds", (ended - flow.received_at).total_seconds(), (status,)
    if flow.outcome is Outcome.COMPLETED:
        yield "count", "neural_hive_flow_c_success_total", int(not was_simulated(flow)), ()
    else:
        yield "count", "neural_hive_flow_c_failures_total", 1, (failure_reason(flow),)
    for phase in flow.phases:
        if phase.status is FlowStatus.PUBLISHING:
            yield (
                "time",
                "orchestration_workflow_duration_seconds",
                (phase.entered_at - flow.received_at).total_seconds(),
                (status,),
            )
