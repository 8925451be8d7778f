"""The one entry to the state machines: an outcome and the loaded records in, a step out."""

from collections.abc import Callable, Mapping
from typing import Any

from functions._core.machine import assignment, closing, commands, compensation, ending, flow, outcomes, overdue
from functions._core.machine.context import Context
from functions._core.machine.step_builder import StepBuilder
from functions._core.records.change_set import ChangeSet

STEPS: Mapping[type, Callable[[StepBuilder, Any], None]] = {
    outcomes.Validated: flow.validated,
    outcomes.Refused: flow.refused,
    outcomes.Generated: flow.generated,
    outcomes.Discovered: assignment.discovered,
    outcomes.Assigned: assignment.assigned,
    outcomes.Delivered: assignment.delivered,
    outcomes.Reported: ending.reported,
    outcomes.Settled: closing.settled,
    outcomes.Commanded: commands.ordered,
    outcomes.CompensationPlanned: compensation.compensation_planned,
    outcomes.CompensationOverdue: compensation.compensation_overdue,
    outcomes.WorkerLost: assignment.worker_lost,
    outcomes.TelemetryTaken: flow.telemetry_taken,
    outcomes.TelemetryKept: flow.telemetry_kept,
    outcomes.DeadlinePassed: closing.deadline_passed,
    outcomes.NobodyDecided: closing.nobody_decided,
    outcomes.AtRisk: closing.at_risk,
    outcomes.PauseOver: commands.pause_over,
    outcomes.NothingHappened: flow.nothing_happened,
    outcomes.WokenEarly: flow.woken_early,
    outcomes.TicketOverdue: overdue.ticket_overdue,
    outcomes.Broke: flow.broke,
}


def advance(context: Context, outcome: outcomes.AnyOutcome) -> ChangeSet:
    """Return what `outcome` changes. A duplicate, or what comes too late, changes nothing."""
    builder = StepBuilder(context)
    if not isinstance(outcome, outcomes.Duplicate):
        STEPS[type(outcome)](builder, outcome)
    return builder.step()
