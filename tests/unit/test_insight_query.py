"""Insights counted, and what a query has to have."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from functions._core.insights.insight import InsightPriority, InsightType
from functions._core.insights.query import numbers_of
from functions.api.insight_forms import InsightQuery
from tests.support.insights import insight

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LATE = insight("late", at=NOW, tags=("sla", "worker"), worker_id="w-1", flow_id="f-1")
OLD = insight("old", InsightType.ANOMALY, InsightPriority.HIGH, at=NOW - 48 * HOUR, tags=("load",))
GONE = insight("gone", InsightType.ANOMALY, at=NOW - 2 * HOUR, valid_for=HOUR, tags=("sla",), flow_id="f-1")
ALL = (OLD, GONE, LATE)


def test_the_totals_match() -> None:
    numbers = numbers_of(ALL)
    assert (numbers.total, sum(numbers.by_type.values()), sum(numbers.by_priority.values())) == (3, 3, 3)
    assert numbers.by_type == {"STRATEGIC": 0, "OPERATIONAL": 1, "PREDICTIVE": 0, "CAUSAL": 0, "ANOMALY": 2}
    assert numbers.by_tag == {"sla": 2, "load": 1, "worker": 1}
    assert numbers.confidence == pytest.approx(0.8)
    assert numbers.impact == pytest.approx(0.5)
    assert numbers_of([]).confidence is None


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"query_type": "BY_ID"}, "needs insight_id"),
        ({"query_type": "BY_TAG", "tags": []}, "at least 1 item"),
        ({"query_type": "BY_TYPE", "insight_type": "CAUSAL", "tags": ["a"]}, "takes no tags"),
        ({"query_type": "BY_TIME_RANGE", "end_timestamp": 0}, "needs start_timestamp"),
        ({"query_type": "BY_MAGIC"}, "BY_ID"),
        ({"query_type": "BY_ID", "insight_id": "a", "limit": 1001}, "1000"),
        ({"query_type": "BY_ID", "insight_id": "a", "nobody": 1}, "Extra inputs"),
    ],
)
def test_a_query_has_what_its_type_asks_for_and_nothing_else(form: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        InsightQuery.model_validate(form)
