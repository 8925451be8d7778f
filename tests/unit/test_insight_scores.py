"""How sure an insight is and how much it matters: the formulas, their ends, and the classes of priority."""

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.insights.insight import InsightPriority
from functions._core.insights.scores import confidence, impact, priority_of


@pytest.mark.parametrize(
    ("completeness", "strength", "agreement", "expected"),
    [(1, 1, 1, 1.0), (0, 0, 0, 0.0), (1, 0, 0, 0.4), (0, 1, 0, 0.4), (0, 0, 1, 0.2), (0.5, 0.25, 0.75, 0.45)],
)
def test_confidence_is_completeness_strength_and_agreement(
    completeness: float, strength: float, agreement: float, expected: float
) -> None:
    assert confidence(completeness, strength, agreement) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("affected", "severity", "expected"),
    [
        (0, 0, 0.0),
        (10, 0, 0.4),
        (5, 0.5, 0.5),
        (0, 1, 0.6),
        (10, 1, 1.0),
        (1000, 1, 1.0),
        (1000, 0, 1.0),
        (3, 0.2, 0.24),
    ],
)
def test_impact_is_what_is_affected_and_how_badly_and_one_at_most(
    affected: int, severity: float, expected: float
) -> None:
    assert impact(affected, severity) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("product", "priority"),
    [
        (1.0, "CRITICAL"),
        (0.75, "CRITICAL"),
        (0.7499, "HIGH"),
        (0.5, "HIGH"),
        (0.4999, "MEDIUM"),
        (0.25, "MEDIUM"),
        (0.2499, "LOW"),
        (0.0, "LOW"),
    ],
)
def test_the_product_of_both_makes_the_priority(product: float, priority: str) -> None:
    assert priority_of(product, 1.0) is priority_of(1.0, product) is InsightPriority(priority)


@given(st.integers(), st.floats(), st.floats(), st.floats())
def test_scores_are_shares_whatever_they_are_made_of(affected: int, one: float, two: float, three: float) -> None:
    assert 0 <= impact(affected, one) <= 1
    assert 0 <= confidence(one, two, three) <= 1 + 1e-9


def test_what_is_no_number_counts_for_nothing() -> None:
    assert (confidence(nan, nan, nan), impact(0, nan)) == (0, 0)
