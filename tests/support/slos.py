"""SLOs, budgets and freezes for tests: forms as clients send them, and records as they are stored."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from functions._core.ports import KeyValues
from functions._core.slo import stored
from functions._core.slo.budget import ErrorBudget, Indicator, budget_of
from functions._core.slo.definition import Slo, SloForm
from functions._core.slo.freezing import FreezeAction, FreezeEvent, FreezeScope
from functions._core.slo.stored import BudgetState

FORM: dict[str, Any] = {
    "name": "checkout works",
    "service_name": "shop",
    "target": 0.99,
    "sli_query": {"history": {"measure": "flow_success"}},
}
"""An SLO over the platform's own history."""

POLICY: dict[str, Any] = {"name": "shop stands", "scope": "SERVICE", "target": "shop"}
"""A policy for its service."""


def slo_at(now: datetime, slo_id: str = "11111111-1111-4111-8111-111111111111", **fields: Any) -> Slo:
    """Return an SLO as it is stored."""
    form = SloForm.model_validate({**FORM, **fields})
    return Slo(**dict(form), slo_id=slo_id, created_at=now, updated_at=now)


def budget_at(slo: Slo, at: datetime, good: float = 0.995, **rates: float) -> ErrorBudget:
    """Return a budget of an SLO; `rates` has the share that was good in windows, as `h1`, by their hours."""
    windows = {float(name.removeprefix("h")): Indicator(value) for name, value in rates.items()}
    return budget_of(slo, at, f"budget-{at.timestamp()}", Indicator(good, 1000), windows)


async def put_budget(entries: KeyValues, budget: ErrorBudget) -> None:
    """Store a budget as the newest of its SLO, with a point of its course."""
    _, version = await stored.budget_state(entries, budget.slo_id)
    await stored.put_budget(entries, BudgetState(budget=budget, told=True), version)
    await stored.add_point(entries, budget)


def freeze_of(
    target: str,
    at: datetime,
    *,
    scope: FreezeScope = FreezeScope.SERVICE,
    actions: Sequence[FreezeAction] = (FreezeAction.BLOCK_DEPLOY,),
    policy_id: str = "policy-1",
    lasted: timedelta | None = None,
    **fields: Any,
) -> FreezeEvent:
    """Return a freeze that began at a moment; it has ended if it `lasted`."""
    over: dict[str, Any] = (
        {} if lasted is None else {"resolved_at": at + lasted, "resolved_by": "budget", "resolve_reason": "it is over"}
    )
    return FreezeEvent(
        event_id=fields.pop("event_id", f"freeze-{target.strip('*') or 'all'}-{at:%Y%m%d%H%M%S}"),
        policy_id=policy_id,
        policy_name=f"the policy {policy_id}",
        scope=scope,
        target=target,
        actions=tuple(actions),
        slo_id="slo-1",
        service_name=fields.pop("service_name", target),
        trigger_reason="12 % of the error budget is left",
        budget_remaining=12.0,
        triggered_at=at,
        applied=True,
        **over,
        **fields,
    )


async def put_freeze(entries: KeyValues, event: FreezeEvent) -> None:
    """Store a freeze in place of the one of its policy and target."""
    _, version = await stored.freeze(entries, event.policy_id, event.target)
    await stored.put_freeze(entries, event, version)
