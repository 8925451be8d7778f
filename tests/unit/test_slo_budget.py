"""The arithmetic of error budgets, by the vectors of the specification."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions._core.slo.budget import (
    BudgetStatus,
    BurnLevel,
    Indicator,
    budget_of,
    burn_level_of,
    burn_rate_of,
    exhaustion_of,
    left_of,
    status_of,
)
from functions._core.slo.definition import Slo, SloForm, SloType, type_of_name

NOW = datetime(2026, 1, 31, tzinfo=UTC)
FORM = {
    "name": "orchestrator availability",
    "service_name": "orchestrator",
    "target": 0.999,
    "sli_query": {"query": "sum(rate(good[{{window}}])) / sum(rate(all[{{window}}]))", "aggregation": "ratio"},
}


def slo(**fields: object) -> Slo:
    return Slo.model_validate({**FORM, "slo_id": "s", "created_at": NOW, "updated_at": NOW, **fields})


@pytest.mark.parametrize(
    ("sli", "consumed", "remaining", "status"),
    [
        (0.9995, 50, 50, BudgetStatus.WARNING),
        (0.9999, 10, 90, BudgetStatus.HEALTHY),
        (0.999, 100, 0, BudgetStatus.EXHAUSTED),
        (0.99915, 85, 15, BudgetStatus.CRITICAL),
        (0.9998, 20, 80, BudgetStatus.HEALTHY),
        (0.9992, 80, 20, BudgetStatus.CRITICAL),
        (0.99, 1000, 0, BudgetStatus.EXHAUSTED),
        (1, 0, 100, BudgetStatus.HEALTHY),
    ],
)
def test_a_budget_of_the_specification(sli: float, consumed: float, remaining: float, status: BudgetStatus) -> None:
    left = left_of(1 - sli, 0.999)
    assert (left.total, left.consumed, left.remaining) == (0.1, consumed, remaining)
    assert status_of(left.remaining) is status


def test_error_of_six_in_a_thousand_burns_six_times_as_fast_as_allowed() -> None:
    assert burn_rate_of(0.006, 0.999) == 6
    assert burn_level_of(6) is BurnLevel.FAST


@pytest.mark.parametrize(
    ("rate", "level"),
    [
        (14.4, BurnLevel.CRITICAL),
        (14.399999, BurnLevel.FAST),
        (5.999999, BurnLevel.ELEVATED),
        (1.000001, BurnLevel.ELEVATED),
        (1, BurnLevel.NORMAL),
        (0, BurnLevel.NORMAL),
    ],
)
def test_the_level_of_a_burn_rate(rate: float, level: BurnLevel) -> None:
    assert burn_level_of(rate) is level


def test_half_a_budget_at_rate_six_is_spent_in_sixty_hours() -> None:
    assert exhaustion_of(NOW, 50, 30, 6) == NOW + timedelta(hours=60)
    assert exhaustion_of(NOW, 50, 30, 0) is None


def test_an_hour_at_rate_14_4_uses_two_percent_of_thirty_days() -> None:
    last = exhaustion_of(NOW, 100, 30, 14.4)
    assert last is not None
    assert round(100 * timedelta(hours=1) / (last - NOW), 6) == 2


def test_a_budget_counts_the_violations_of_its_window_alone() -> None:
    long_ago, lately = NOW - timedelta(days=31), NOW - timedelta(days=1)
    found = budget_of(slo(), NOW, "b", Indicator(0.9995, 2000), {1: Indicator(0.994)}, [long_ago, lately, NOW])
    assert (found.violations_count, found.last_violation_at) == (2, NOW)
    assert [(one.window_hours, one.rate, one.level) for one in found.burn_rates] == [(1, 6, BurnLevel.FAST)]
    assert found.burn_rates[0].estimated_exhaustion == NOW + timedelta(hours=60)


@given(st.floats(0.001, 0.999999), st.integers(1, 10**6), st.data())
def test_what_remains_falls_with_errors_and_never_rises(target: float, total: int, data: st.DataObject) -> None:
    fewer, more = sorted(data.draw(st.tuples(st.integers(0, total), st.integers(0, total))))
    assert left_of(more / total, target).remaining <= left_of(fewer / total, target).remaining
    assert list(BudgetStatus).index(status_of(left_of(more / total, target).remaining)) >= list(BudgetStatus).index(
        status_of(left_of(fewer / total, target).remaining)
    )


class TestDefinition:
    @pytest.mark.parametrize(("given_", "kept"), [(99.9, 0.999), (0.5, 0.5), (50, 0.5)])
    def test_a_target_above_one_is_in_percent(self, given_: float, kept: float) -> None:
        assert SloForm.model_validate({**FORM, "target": given_}).target == pytest.approx(kept, abs=1e-12)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"target": 1.0},
            {"target": 100},
            {"target": 0},
            {"target": 101},
            {"target": True},
            {"target": "0.9"},
            {"target": float("nan")},
            {"window_days": 0},
            {"window_days": 91},
            {"service_name": ""},
            {"sli_query": {"query": "sum(rate(x[5m])"}},
            {"sli_query": {"query": ")"}},
            {"sli_query": {"query": 'x{a="}'}},
            {"sli_query": {"query": "  "}},
            {"sli_query": {}},
            {"sli_query": {"query": "x", "history": {"measure": "sla_met"}}},
            {"sli_query": {"history": {"measure": "completion_time"}}},
            {"sli_query": {"history": {"measure": "sla_met", "within_ms": 5}}},
            {"sli_query": {"history": {"measure": "sla_met", "task_type": "BUILD"}}},
            {"metadata": {"text": "x" * 9000}},
            {"unknown": 1},
        ],
    )
    def test_what_no_objective_can_be_is_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            SloForm.model_validate({**FORM, **wrong})

    def test_a_query_may_quote_brackets(self) -> None:
        SloForm.model_validate({**FORM, "sli_query": {"query": r"""sum(x{a="(\"", b=~'[}'}[{{window}}])"""}})

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("Gateway availability", SloType.AVAILABILITY),
            ("uptime", SloType.AVAILABILITY),
            ("SuccessRatio", SloType.AVAILABILITY),
            ("latency", SloType.LATENCY),
            ("HTTP p95", SloType.LATENCY),
            ("flow duration", SloType.LATENCY),
            ("error budget of x", SloType.ERROR_RATE),
            ("Failures", SloType.ERROR_RATE),
            ("freshness", SloType.CUSTOM),
        ],
    )
    def test_a_name_speaks_of_a_type(self, name: str, kind: SloType) -> None:
        assert type_of_name(name) is kind
