"""The one entry to the state machines: an outcome and the loaded records in, a step out."""

from collections.abc import Callable, Mapping
from typing import Any

from functions._core import (
    assignment_steps,
    closing_steps,
    compensation_steps,
    ending_steps,
    flow_steps,
    order_steps,
    outcomes,
    overdue_steps,
)
from functions._core.draft import Draft
from functions._core.situation import Situation
from functions._core.step import Step

STEPS: Mapping[type, Callable[[Draft, Any], None]] = {
    outcomes.Validated: flow_steps.validated,
    outcomes.Refused: flow_steps.refused,
    outcomes.Generated: flow_steps.generated,
    outcomes.Discovered: assignment_steps.discovered,
    outcomes.Assigned: assignment_steps.assigned,
    outcomes.Delivered: assignment_steps.delivered,
    outcomes.Reported: ending_steps.reported,
    outcomes.Settled: closing_steps.settled,
    outcomes.Ordered: order_steps.ordered,
    outcomes.CompensationPlanned: compensation_steps.compensation_planned,
    outcomes.CompensationOverdue: compensation_steps.compensation_overdue,
    outcomes.WorkerLost: assignment_steps.worker_lost,
    outcomes.TelemetryTaken: flow_steps.telemetry_taken,
    outcomes.TelemetryKept: flow_steps.telemetry_kept,
    outcomes.DeadlinePassed: closing_steps.deadline_passed,
    outcomes.NobodyDecided: closing_steps.nobody_decided,
    outcomes.AtRisk: closing_steps.at_risk,
    outcomes.PauseOver: order_steps.pause_over,
    outcomes.NothingHappened: flow_steps.nothing_happened,
    outcomes.WokenEarly: flow_steps.woken_early,
    outcomes.TicketOverdue: overdue_steps.ticket_overdue,
    outcomes.Broke: flow_steps.broke,
}


def advance(situation: Situation, outcome: outcomes.AnyOutcome) -> Step:
    """Return what `outcome` changes. A duplicate, or what comes too late, changes nothing."""
    draft = Draft(situation)
    if not isinstance(outcome, outcomes.Duplicate):
        STEPS[type(outcome)](draft, outcome)
    return draft.step()
