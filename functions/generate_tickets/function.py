"""C2: make one ticket for each task, each with its share of the deadline.

Consumes plan.validated. Emits tickets.ready for the tickets that depend on nothing.
Gives up when the step has failed three times (the flow ends FAILED) or at the flow's deadline (TIMED_OUT).
"""

from functions._core.decision import read_decision
from functions._core.event_data import PlanValidated
from functions._core.outcomes import AnyOutcome, Duplicate, Generated
from functions._core.ports import Ports
from functions._core.situation import Situation
from functions._core.tickets import generate_tickets as tickets_of_plan
from functions._core.values import FlowStatus


async def generate_tickets(event: PlanValidated, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `Generated`: a pure function of flow and decision, so a repetition makes the same tickets.

    Their times count from when the flow came to C2, not from now.
    """
    if situation.flow.status is not FlowStatus.GENERATING:
        return Duplicate()
    decision = read_decision(await ports.store.decision(event.flow_id))
    since = situation.flow.phase.entered_at
    return Generated(tickets_of_plan(situation.flow, decision, since, situation.rules))
