"""What becomes of flows while an error budget is spent: which policy decides, and what C1 and C2 make of it."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from functions._core.explain.flow import explain_flow, flow_waits_for
from functions._core.machine.advance import advance
from functions._core.machine.context import Context
from functions._core.machine.flow import HeldBack, NothingHappened
from functions._core.records.models import Flow, Phase
from functions._core.records.policies import AdmissionAction, lowered
from functions._core.records.values import FlowStatus, Priority, RiskBand
from functions._core.rules import Rules
from functions._core.slo.admission import (
    AdmissionPolicy,
    AdmissionPolicyForm,
    AdmissionState,
    FlowFacts,
    reason_of,
    still_held,
    verdict_of,
)
from functions._core.slo.budget import ErrorBudget
from functions._core.slo.freezing import FreezeEvent, begun
from tests.support.builders import T0, make_flow, seconds
from tests.support.freezes import SLO_ID, a_budget, a_policy, an_slo

CHECKOUT = FlowFacts({"service": "checkout", "team": "shop"}, RiskBand.HIGH, Priority.HIGH)


def policy(name: str = "spent", action: str = "HOLD", **changes: Any) -> AdmissionPolicy:
    """Return an admission policy."""
    made = {"name": name, "created_at": T0, "updated_at": T0, "action": action}
    return AdmissionPolicy.model_validate({**made, **changes})


def state(*policies: AdmissionPolicy, remaining: float = 0, freezes: tuple[FreezeEvent, ...] = ()) -> AdmissionState:
    """Return what is known: these policies, and the budget of the checkout service."""
    return AdmissionState(
        policies=policies, slos=[an_slo(T0)], budgets={SLO_ID: a_budget(T0, remaining)}, freezes=freezes
    )


@pytest.mark.parametrize(
    ("changes", "remaining", "holds"),
    [
        ({}, 0, True),
        ({}, 10, False),
        ({"statuses": ["CRITICAL", "EXHAUSTED"]}, 10, True),
        ({"flows": {"service": "checkout"}}, 0, True),
        ({"flows": {"service": "search"}}, 0, False),
        ({"flows": {"labels": {"team": "shop"}}}, 0, True),
        ({"flows": {"labels": {"team": "other"}}}, 0, False),
        ({"flows": {"risk_bands": ["high", "critical"]}}, 0, True),
        ({"flows": {"risk_bands": ["low"]}}, 0, False),
        ({"flows": {"priorities": ["HIGH"]}}, 0, True),
        ({"flows": {"priorities": ["LOW"]}}, 0, False),
        ({"slo_selector": {"slo_ids": [SLO_ID]}}, 0, True),
        ({"slo_selector": {"slo_ids": ["another"]}}, 0, False),
        ({"enabled": False}, 0, False),
    ],
)
def test_a_policy_holds_for_flows_that_fit_while_a_budget_has_a_status(
    changes: dict[str, Any], remaining: float, *, holds: bool
) -> None:
    assert (verdict_of(state(policy(**changes), remaining=remaining), CHECKOUT, T0) is not None) is holds


def test_a_policy_holds_while_a_freeze_of_a_policy_lasts() -> None:
    freeze = begun(a_policy(T0), [a_budget(T0)], T0, "freeze-1")
    by_freeze = policy(freeze_policies=["policy-of-checkout"])
    verdict = verdict_of(state(by_freeze, freezes=(freeze,)), CHECKOUT, T0)
    assert verdict is not None
    assert verdict.why == "freeze freeze-1 of policy spent budgets lasts"
    assert verdict_of(state(by_freeze, freezes=(freeze.but(resolved_at=T0),)), CHECKOUT, T0) is None


def test_the_first_policy_by_order_and_name_decides_and_one_that_admits_exempts() -> None:
    refuse, lower = policy("b", "REFUSE"), policy("a", "LOWER", priority="NORMAL")
    verdict = verdict_of(state(refuse, lower), CHECKOUT, T0)
    assert verdict is not None
    assert (verdict.policy, verdict.action, verdict.priority) == ("a", AdmissionAction.LOWER, Priority.NORMAL)
    exempt = policy("z", "ADMIT", order=1, flows={"labels": {"team": "shop"}})
    assert verdict_of(state(refuse, lower, exempt), CHECKOUT, T0) is None
    assert verdict_of(None, CHECKOUT, T0) is None
    assert lowered(Priority.HIGH, verdict) is Priority.NORMAL
    assert lowered(Priority.LOW, verdict) is Priority.LOW
    assert lowered(Priority.HIGH, None) is Priority.HIGH


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "EXPLODE"},
        {"action": "HOLD", "hold_at_most_seconds": 10**9},
        {"action": "HOLD", "statuses": []},
        {"action": "HOLD", "freeze_policies": ["a"], "slo_selector": {"slo_ids": ["b"]}},
        {"action": "HOLD", "unknown": 1},
        {},
    ],
)
def test_a_policy_that_could_not_be_kept_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AdmissionPolicyForm.model_validate(wrong)


def held_flow(**changes: Any) -> Flow:
    """Return a flow that C1 has had held."""
    verdict = verdict_of(state(policy(hold_at_most_seconds=150)), CHECKOUT, T0)
    flow = make_flow(
        status=FlowStatus.GENERATING,
        phases=(Phase(status=FlowStatus.GENERATING, entered_at=T0),),
        labels={"service": "checkout"},
    )
    return flow.but(budget_verdict=verdict, **changes)


def after(flow: Flow, outcome: Any, at: float) -> Flow:
    """Return the flow after an outcome."""
    context = Context(flow=flow, now=T0 + seconds(at), rules=Rules(), function="generate_tickets", cause="c")
    changed = advance(context, outcome).flow
    assert changed is not None
    return changed


def test_a_held_flow_is_looked_at_each_minute_and_when_its_time_is_over() -> None:
    flow = held_flow()
    assert flow.budget_verdict is not None
    reason = reason_of(flow.budget_verdict)
    assert reason.code == "budget_spent"
    assert "until 2025-03-01T12:02:30.000Z at most" in reason.message
    held = after(flow, HeldBack(reason), 1)
    assert (held.reasons, held.next_wakeup_at) == ((reason,), T0 + seconds(31))
    looks: list[datetime] = []
    while held.next_wakeup_at is not None and held.next_wakeup_at < T0 + seconds(150):
        looks.append(held.next_wakeup_at)
        held = after(held, NothingHappened(), (held.next_wakeup_at - T0).total_seconds())
    assert looks == [T0 + seconds(31), T0 + seconds(91)]
    assert held.next_wakeup_at == T0 + seconds(150)
    close = after(held_flow(sla_deadline=T0 + seconds(20)), HeldBack(reason), 1)
    assert close.next_wakeup_at == T0 + seconds(20)


def test_a_flow_is_held_until_the_budget_recovers_or_the_time_is_over_or_the_policy_is_gone() -> None:
    flow, spent = held_flow(), state(policy(hold_at_most_seconds=150))
    assert still_held(spent, flow, T0 + seconds(149))
    assert not still_held(spent, flow, T0 + seconds(150))
    assert not still_held(state(policy(), remaining=60), flow, T0)
    assert not still_held(state(policy("another")), flow, T0)
    assert not still_held(state(policy(action="REFUSE")), flow, T0)
    assert not still_held(None, flow, T0)
    assert not still_held(spent, flow.but(budget_verdict=None), T0)


def test_a_held_flow_says_by_which_policy_and_until_when() -> None:
    flow = held_flow()
    assert flow.budget_verdict is not None
    held = after(flow, HeldBack(reason_of(flow.budget_verdict)), 1)
    assert flow_waits_for(held) == "an error budget to recover, by admission policy spent"
    told = " ".join(explain_flow(held, (), T0 + seconds(2), Rules()).sentences)
    assert "0 % of the error budget of checkout is left (EXHAUSTED, SLO slo-of-checkout)" in told
    assert "it is held until 12:02:30 UTC (in 2 min 28 s) at most" in told


@pytest.mark.parametrize("selector", [{}, {"labels": {"tier": "none"}}, {"labels": {"tier": "1"}}])
def test_many_policies_and_slos_cost_a_flow_little(selector: dict[str, Any]) -> None:
    slos = [an_slo(T0, slo_id=f"s{n}", service_name=f"of-{n}", labels={"tier": "1"}) for n in range(1000)]
    asked: list[str] = []

    class Budgets(dict[str, ErrorBudget]):
        def __contains__(self, key: object) -> bool:
            asked.append(str(key))
            return super().__contains__(key)

    budgets = Budgets({one.slo_id: a_budget(T0, 50, one) for one in slos})
    policies = [policy(f"p{number}", slo_selector=selector) for number in range(10)]
    known = AdmissionState(policies=policies, slos=slos, budgets=budgets)
    flow = FlowFacts({"service": "of-5"}, RiskBand.LOW, Priority.NORMAL)
    assert verdict_of(known, flow, T0) is None
    first = len(asked)
    assert verdict_of(known, flow, T0) is None
    assert len(asked) == first, "what no flow changes is worked out once"
