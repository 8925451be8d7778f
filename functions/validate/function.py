"""C1: check a decision and its plan, and say everything that is wrong with them at once.

Consumes decision.consolidated. Emits plan.validated, or flow.consolidated with the outcome REJECTED; nothing where a
person has to approve the plan first. Admission policies may lower, hold, refuse a flow while an error budget is spent;
guards refuse one that must not be done.
Gives up when the step has failed three times (the flow ends FAILED) or at the flow's deadline (TIMED_OUT).
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from functions._core.decision.checks import IMPOSSIBLE, check_plan
from functions._core.decision.concurrency import concurrency_of
from functions._core.decision.control_checks import has_branches
from functions._core.decision.model import Decision
from functions._core.decision.reading import (
    InvalidDecision,
    approval_reasons,
    decision_in,
    document_in,
    refusal_reasons,
)
from functions._core.decision.unknown_fields import unknown_fields
from functions._core.events.data import DecisionStored
from functions._core.guards.asking import PATIENCE, of_plan
from functions._core.guards.gate import Finding, GuardVerdict
from functions._core.learning.guard import Guarded
from functions._core.learning.guard import guarded as predictions_of
from functions._core.machine.context import Context
from functions._core.machine.flow import Refused, Validated
from functions._core.machine.guarding import Unjudged
from functions._core.machine.outcomes import AnyOutcome, Duplicate, reached
from functions._core.planning.graph import named_edges, schedule
from functions._core.planning.prospects import Times, prospects
from functions._core.ports import Clock, Ports
from functions._core.records.models import Flow, Reason
from functions._core.records.policies import AdmissionAction, BudgetVerdict, lowered
from functions._core.records.values import FlowStatus
from functions._core.rules import LARGE_DECISION
from functions._core.slo.admission import AdmissionState, FlowFacts, reason_of, verdict_of


async def validate(event: DecisionStored, context: Context, ports: Ports) -> AnyOutcome:
    """Return `Validated`, or `Refused` with every reason."""
    if context.flow.status is not FlowStatus.VALIDATING:
        return Duplicate()
    text = await ports.store.decision(event.flow_id)
    guarded = await of_plan(text, ports)
    if guarded.finding is Finding.UNAVAILABLE and guarded.stops and not _waited_enough(context):
        return Unjudged(guarded.one_reason)
    admission = await ports.budget_gate.admission()
    # The first condition of a process takes long: it brings the library that reads it.
    heavy = len(text) > LARGE_DECISION or b'"when"' in text or b'"filter"' in text
    asked = _Asked(admission, guarded, await predictions_of(ports))
    return reached(partial(_timed, text, context, asked, ports.clock), heavy=heavy)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What others say of the flow, before its plan is looked at."""

    admission: AdmissionState | None
    guarded: GuardVerdict
    predicted: Guarded | None


def _waited_enough(context: Context) -> bool:
    """Whether the flow has waited for the policy server as long as it may."""
    return context.now - context.flow.phase.entered_at >= PATIENCE


def _timed(text: bytes, context: Context, asked: _Asked, clock: Clock) -> AnyOutcome:
    """Return the finding with the time that it took."""
    begun = clock.now()
    return replace(_checked(text, context, asked), duration_ms=(clock.now() - begun) / timedelta(milliseconds=1))


def _checked(text: bytes, context: Context, asked: _Asked) -> Refused | Validated:
    guarded = asked.guarded
    try:
        document = document_in(text)
        decision = decision_in(document)
    except InvalidDecision as invalid:
        return Refused(reasons=invalid.reasons, plan_id=context.flow.plan_id, intent_id=context.flow.intent_id)
    if context.flow.redrives:
        decision = _as_redriven(decision, context.flow)
    errors, warnings = check_plan(decision, context.now, context.rules.default_sla)
    warnings += unknown_fields(document)
    impossible = next((warning for warning in warnings if warning.code == IMPOSSIBLE), None)
    unwanted = (impossible,) if impossible is not None and context.rules.refuse_impossible else ()
    facts = FlowFacts(decision.flow_labels, decision.flow_risk_band, decision.flow_priority)
    verdict = verdict_of(asked.admission, facts, context.now)
    spent = (reason_of(verdict),) if verdict is not None and verdict.action is AdmissionAction.REFUSE else ()
    denied = guarded.reasons if guarded.stops else ()
    reasons = (*errors, *refusal_reasons(decision), *unwanted, *spent, *denied)
    warnings = warnings if guarded.stops else (*guarded.reasons, *warnings)
    if reasons:
        return Refused(
            reasons=reasons,
            warnings=warnings,
            plan_id=decision.plan_id,
            intent_id=decision.intent_id,
            schema_version=decision.schema_version,
        )
    return _validated(decision, warnings, impossible, verdict, context, asked.predicted)


def _as_redriven(decision: Decision, flow: Flow) -> Decision:
    """Return the decision with the time that the redrive has given to its flow."""
    seconds = (flow.sla_deadline - flow.phase.entered_at).total_seconds()
    return decision.but(sla_deadline=None, sla_deadline_seconds=seconds)


def _validated(
    decision: Decision,
    warnings: tuple[Reason, ...],
    impossible: Reason | None,
    verdict: BudgetVerdict | None,
    context: Context,
    predicted: Guarded | None,
) -> Validated:
    flow = context.flow
    begun = flow.phase.entered_at if flow.redrives else flow.received_at
    deadline = decision.deadline(begun, context.rules.default_sla)
    tasks = decision.cognitive_plan.tasks
    plan = schedule(tasks, context.now, deadline)
    prediction = None
    if predicted is not None:
        prediction, unlikely = prospects(tasks, plan, decision, predicted, Times(begun, context.now, deadline))
        warnings = (*unlikely, *warnings)
    approval = approval_reasons(decision)
    if verdict is not None and verdict.action is AdmissionAction.APPROVE:
        approval = (*approval, reason_of(verdict))
    elif verdict is not None and verdict.action is AdmissionAction.LOWER:
        warnings = (reason_of(verdict), *warnings)
    return Validated(
        plan_id=decision.plan_id,
        intent_id=decision.intent_id,
        correlation_id=decision.correlation_id,
        priority=lowered(decision.flow_priority, verdict),
        risk_band=decision.flow_risk_band,
        sla_deadline=deadline,
        sla_limit=decision.sla_deadline,
        tenant_id=decision.tenant_id,
        labels=decision.flow_labels,
        concurrency=concurrency_of(decision),
        approval=approval,
        verdict=verdict,
        impossible=impossible,
        tasks=len(plan.timings),
        levels=plan.levels,
        critical_path_ms=plan.critical_path_ms,
        prediction=prediction,
        schema_version=decision.schema_version,
        warnings=warnings,
        redundant_edges=() if has_branches(tasks) else named_edges(plan.redundant(tasks)),
    )
