"""C1: check a decision and its plan, and say everything that is wrong with them at once.

Consumes decision.consolidated. Emits plan.validated, or flow.consolidated with the outcome REJECTED.
Gives up when the step has failed three times (the flow ends FAILED) or at the flow's deadline (TIMED_OUT).
"""

from functions._core.checks import check_plan
from functions._core.decision import InvalidDecision, approval_reasons, read_decision, refusal_reasons
from functions._core.decision_model import Decision
from functions._core.events import DecisionStored
from functions._core.models import Reason
from functions._core.outcomes import AnyOutcome, Duplicate, Refused, Validated
from functions._core.plan import schedule
from functions._core.ports import Ports
from functions._core.situation import Situation
from functions._core.values import FlowStatus


async def validate(event: DecisionStored, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `Validated`, or `Refused` with every reason."""
    if situation.flow.status is not FlowStatus.VALIDATING:
        return Duplicate()
    try:
        decision = read_decision(await ports.store.decision(event.flow_id))
    except InvalidDecision as invalid:
        return Refused(reasons=invalid.reasons, plan_id=situation.flow.plan_id, intent_id=situation.flow.intent_id)
    errors, warnings = check_plan(decision, situation.now, situation.rules.default_sla)
    reasons = (*errors, *refusal_reasons(decision), *approval_reasons(decision))
    if reasons:
        return Refused(
            reasons=reasons,
            warnings=warnings,
            plan_id=decision.plan_id,
            intent_id=decision.intent_id,
            schema_version=decision.schema_version,
        )
    return _validated(decision, warnings, situation)


def _validated(decision: Decision, warnings: tuple[Reason, ...], situation: Situation) -> Validated:
    deadline = decision.deadline(situation.flow.received_at, situation.rules.default_sla)
    plan = schedule(decision.cognitive_plan.tasks, situation.now, deadline)
    return Validated(
        plan_id=decision.plan_id,
        intent_id=decision.intent_id,
        correlation_id=decision.correlation_id,
        priority=decision.flow_priority,
        risk_band=decision.flow_risk_band,
        sla_deadline=deadline,
        tasks=len(plan.timings),
        levels=plan.levels,
        critical_path_ms=plan.critical_path_ms,
        schema_version=decision.schema_version,
        warnings=warnings,
    )
