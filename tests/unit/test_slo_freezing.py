"""When a freeze begins and ends, and what it is about."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions._core.slo.budget import ErrorBudget, Indicator, budget_of
from functions._core.slo.freezing import (
    ANNOTATION,
    FreezeAction,
    FreezeEvent,
    FreezePolicy,
    FreezePolicyForm,
    FreezeScope,
    FreezeVerdict,
    annotation_of,
    begun,
    ended,
    verdict_of,
)
from tests.unit.test_slo_budget import NOW, slo


def policy(**fields: object) -> FreezePolicy:
    form = {"name": "p", "scope": "SERVICE", "target": "orchestrator", "policy_id": "p"}
    return FreezePolicy.model_validate({**form, "created_at": NOW, "updated_at": NOW, **fields})


def budget(remaining: float, slo_id: str = "s") -> ErrorBudget:
    return budget_of(slo(slo_id=slo_id), NOW, "b", Indicator(1 - 0.001 * (100 - remaining) / 100), {})


def frozen(**fields: object) -> FreezeEvent:
    return begun(policy(**fields), [budget(15)], NOW, "e")


def test_between_the_thresholds_nothing_changes() -> None:
    assert verdict_of(policy(), [budget(15)], None, NOW) is FreezeVerdict.FREEZE
    assert verdict_of(policy(), [budget(40)], None, NOW) is FreezeVerdict.STAY
    assert verdict_of(policy(), [budget(40)], frozen(), NOW) is FreezeVerdict.STAY
    assert verdict_of(policy(), [budget(50)], frozen(), NOW) is FreezeVerdict.UNFREEZE


def test_the_lowest_of_several_budgets_decides() -> None:
    assert verdict_of(policy(), [budget(90), budget(20)], None, NOW) is FreezeVerdict.FREEZE
    assert verdict_of(policy(), [budget(90), budget(49)], frozen(), NOW) is FreezeVerdict.STAY
    assert begun(policy(), [budget(19, "a"), budget(3, "b")], NOW, "e").slo_id == "b"


def test_a_freeze_without_budgets_stays() -> None:
    assert verdict_of(policy(), [], frozen(), NOW) is FreezeVerdict.STAY
    assert verdict_of(policy(), [], None, NOW) is FreezeVerdict.STAY


def test_a_policy_that_is_gone_frees() -> None:
    assert verdict_of(policy(enabled=False), [budget(1)], frozen(), NOW) is FreezeVerdict.UNFREEZE
    assert verdict_of(policy(enabled=False), [budget(1)], None, NOW) is FreezeVerdict.STAY


def test_a_person_has_to_free_where_the_policy_says_so() -> None:
    assert verdict_of(policy(auto_unfreeze=False), [budget(100)], frozen(), NOW) is FreezeVerdict.STAY


def test_what_a_person_has_freed_is_not_frozen_again_before_the_budget_has_recovered() -> None:
    freed = ended(frozen(), NOW, "ana", "a fix has to go out", quiet=True)
    assert verdict_of(policy(), [budget(5)], freed, NOW) is FreezeVerdict.STAY
    assert verdict_of(policy(), [budget(5)], freed.but(quiet=False), NOW) is FreezeVerdict.FREEZE


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 600)), max_size=60), st.integers(0, 7200))
def test_a_freeze_never_ends_inside_its_least_duration(looks: list[tuple[float, int]], least: int) -> None:
    one, last, now = policy(min_duration_seconds=least), None, NOW
    for remaining, seconds in looks:
        now += timedelta(seconds=seconds)
        verdict = verdict_of(one, [budget(remaining)], last, now)
        if verdict is FreezeVerdict.FREEZE:
            assert last is None or not last.active
            last = begun(one, [budget(remaining)], now, "e")
        elif verdict is FreezeVerdict.UNFREEZE:
            assert last is not None
            assert last.active
            assert now - last.triggered_at >= timedelta(seconds=least)
            last = ended(last, now, "budget", "recovered")


@pytest.mark.parametrize(
    ("scope", "target", "service", "namespaces", "about"),
    [
        ("SERVICE", "a", "a", (), True),
        ("SERVICE", "a", "b", ("a",), False),
        ("NAMESPACE", "n", "a", ("m", "n"), True),
        ("NAMESPACE", "n", "n", (), False),
        ("GLOBAL", "*", "anything", (), True),
    ],
)
def test_a_scope_freezes_its_services(
    scope: str, target: str, service: str, namespaces: tuple[str, ...], *, about: bool
) -> None:
    event = frozen(scope=scope, target=target)
    assert event.blocks(FreezeAction.BLOCK_DEPLOY, service, namespaces) is about
    assert not event.blocks(FreezeAction.BLOCK_SCALE, service, namespaces)
    assert not ended(event, NOW, "ana", "over").blocks(FreezeAction.BLOCK_DEPLOY, service, namespaces)


def test_a_policy_that_only_alerts_blocks_nothing() -> None:
    event = frozen(actions=["ALERT_ONLY"])
    assert not event.blocks(FreezeAction.BLOCK_DEPLOY, "orchestrator")


def test_a_policy_looks_at_the_objectives_of_its_target_or_at_those_it_selects() -> None:
    here, elsewhere = slo(labels={"namespace": "n", "tier": "1"}), slo(slo_id="t", service_name="other")
    assert [policy().concerns(one) for one in (here, elsewhere)] == [True, False]
    namespace = policy(scope="NAMESPACE", target="n")
    assert [namespace.concerns(one) for one in (here, elsewhere)] == [True, False]
    everything = policy(scope="GLOBAL", target="*")
    assert [everything.concerns(one) for one in (here, elsewhere)] == [True, True]
    by_label = policy(scope="GLOBAL", target="*", slo_selector={"labels": {"tier": "1"}})
    assert [by_label.concerns(one) for one in (here, elsewhere)] == [True, False]
    by_id = policy(slo_selector={"slo_ids": ["t"]})
    assert [by_id.concerns(one) for one in (here, elsewhere)] == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"trigger_threshold_percent": 51, "unfreeze_threshold_percent": 50},
        {"trigger_threshold_percent": -1},
        {"scope": "GLOBAL", "target": "a"},
        {"scope": "SERVICE", "target": "*"},
        {"actions": []},
        {"actions": ["BLOCK"]},
        {"name": ""},
        {"unknown": 1},
    ],
)
def test_what_no_policy_can_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FreezePolicyForm.model_validate({"name": "p", "scope": "SERVICE", "target": "a", **wrong})


def test_delivery_tools_see_the_annotation() -> None:
    (told,) = annotation_of(frozen()).items()
    assert told[0] == ANNOTATION == "neural-hive.io/sla-freeze"
    assert json.loads(told[1]) == {
        "event_id": "e",
        "policy_id": "p",
        "slo_id": "s",
        "actions": ["BLOCK_DEPLOY"],
        "since": "2026-01-31T00:00:00.000Z",
        "reason": "15 % of the error budget of orchestrator is left; policy p freezes at 20 %",
    }
    assert frozen().scope is FreezeScope.SERVICE
