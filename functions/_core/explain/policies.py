"""What flow SLA policies have done for a flow, in sentences."""

from collections.abc import Sequence
from datetime import datetime

from functions._core.explain.ticket import Explanation
from functions._core.explain.wording import ago, plain
from functions._core.records.values import SlackState
from functions._core.slo.flow_policies import ActionResult, PolicyApplication

NAMED = 5
"""Applications that are told: the newest."""


def with_policies(explanation: Explanation, applications: Sequence[PolicyApplication], now: datetime) -> Explanation:
    """Return an explanation that says what policies have done for its flow, the newest last."""
    sentences = [_sentence(one, now) for one in applications[-NAMED:]]
    return explanation.but(details=(*explanation.details, *sentences)) if sentences else explanation


def _sentence(one: PolicyApplication, now: datetime) -> str:
    about = one.announced
    whose = "the flow" if about.ticket_id is None else f"its ticket {about.ticket_id}"
    came = "came at risk" if about.on is SlackState.AT_RISK else "was late"
    by = f"Policy {plain(one.policy)}"
    if one.done_at is None:
        return f"{by} is being applied since {ago(one.begun_at, now)}, as {whose} {came}."
    return f"{by} acted at {ago(one.done_at, now)}, as {whose} {came}: {'; '.join(map(_result, one.results))}."


def _result(result: ActionResult) -> str:
    named = f" ({', '.join(result.flow_ids)})" if result.flow_ids else ""
    return f"{plain(result.text)}{named}" if result.done else f"no {result.action}, as {plain(result.text)}"
