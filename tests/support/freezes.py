"""Budgets, freezes and policies for tests that are about what they stop."""

from datetime import datetime
from typing import Any

from functions._core.ports import KeyValues
from functions._core.slo import stored
from functions._core.slo.budget import ErrorBudget, Indicator, budget_of
from functions._core.slo.definition import Slo
from functions._core.slo.freezing import FreezeEvent, FreezePolicy, begun, ended

SLO_ID = "slo-of-checkout"


def an_slo(at: datetime, **changes: Any) -> Slo:
    """Return an SLO of the checkout service with a target of 99.9 %."""
    defaults = {
        "slo_id": SLO_ID,
        "name": "checkout availability",
        "service_name": "checkout",
        "target": 0.999,
        "sli_query": {"query": "good / all"},
        "created_at": at,
        "updated_at": at,
    }
    return Slo.model_validate({**defaults, **changes})


def a_budget(at: datetime, remaining: float = 0, slo: Slo | None = None) -> ErrorBudget:
    """Return a budget of which so much is left, in percent."""
    errors = (1 - remaining / 100) * 0.001
    return budget_of(slo or an_slo(at), at, f"budget at {at}", Indicator(1 - errors), {})


def a_policy(at: datetime, **changes: Any) -> FreezePolicy:
    """Return a policy that freezes the checkout service."""
    defaults = {
        "policy_id": "policy-of-checkout",
        "name": "spent budgets",
        "scope": "SERVICE",
        "target": "checkout",
        "created_at": at,
        "updated_at": at,
    }
    return FreezePolicy.model_validate({**defaults, **changes})


async def freeze_checkout(entries: KeyValues, at: datetime) -> FreezeEvent:
    """Let a freeze of the checkout service begin, as an enforcer would store it."""
    event = begun(a_policy(at), [a_budget(at)], at, f"freeze at {at}").but(applied=True)
    _, version = await stored.freeze(entries, event.policy_id, event.target)
    await stored.put_freeze(entries, event, version)
    return event


async def unfreeze(entries: KeyValues, event: FreezeEvent, at: datetime) -> None:
    """Let a freeze end."""
    _, version = await stored.freeze(entries, event.policy_id, event.target)
    await stored.put_freeze(entries, ended(event, at, "budget", "it has recovered").but(applied=True), version)


async def spend(entries: KeyValues, at: datetime, remaining: float = 0) -> None:
    """Let so much of the budget of the checkout service be left, in percent."""
    slo = an_slo(at)
    if await stored.slo(entries, slo.slo_id) is None:
        await stored.put_new(entries, slo)
    _, version = await stored.budget_state(entries, slo.slo_id)
    await stored.put_budget(entries, stored.BudgetState(budget=a_budget(at, remaining, slo), told=True), version)
