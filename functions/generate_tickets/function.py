"""C2: make one ticket for each task, each with its share of the deadline.

Consumes plan.validated. Emits tickets.ready for the tickets that depend on nothing.
Gives up when the step has failed three times (the flow ends FAILED) or at the flow's deadline (TIMED_OUT).
"""

from functools import partial

from functions._core.decision.reading import read_decision
from functions._core.events.data import PlanValidated
from functions._core.learning.guard import Guarded, guarded
from functions._core.machine.context import Context
from functions._core.machine.flow import Generated, HeldBack
from functions._core.machine.outcomes import AnyOutcome, Duplicate, reached
from functions._core.placement.limits import may_begin
from functions._core.planning.tickets import generate_tickets as tickets_of_plan
from functions._core.ports import Ports
from functions._core.records.policies import AdmissionAction
from functions._core.records.values import FlowStatus
from functions._core.rules import LARGE_DECISION
from functions._core.slo.admission import reason_of, still_held


async def generate_tickets(event: PlanValidated, context: Context, ports: Ports) -> AnyOutcome:
    """Return `Generated`: a pure function of flow, decision and the model that serves.

    A repetition makes the same tickets, but for what another model predicts; those that are committed first count.
    Their times count from when the flow came to C2, not from now.
    """
    if context.flow.status is not FlowStatus.GENERATING:
        return Duplicate()
    verdict = context.flow.budget_verdict
    held = verdict is not None and verdict.action is AdmissionAction.HOLD
    if verdict and held and still_held(await ports.budget_gate.admission(), context.flow, context.now):
        return HeldBack(reason_of(verdict))
    held_back = await may_begin(context.flow, context.rules.in_flight, ports, context.now)
    if held_back is not None:
        return HeldBack(held_back)
    text = await ports.store.decision(event.flow_id)
    predicted = await guarded(ports)
    return reached(partial(_generated, text, context, predicted), heavy=len(text) > LARGE_DECISION)


def _generated(text: bytes, context: Context, predicted: Guarded | None) -> AnyOutcome:
    since = context.flow.phase.entered_at
    return Generated(tickets_of_plan(context.flow, read_decision(text), since, context.rules, predicted))
