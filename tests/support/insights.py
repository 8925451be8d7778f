"""Insights for tests, as `analyze` stores them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from functions._core.insights.insight import (
    Insight,
    InsightPriority,
    InsightType,
    Recommendation,
    RelatedEntity,
    TimeWindow,
    sealed,
)
from functions._core.ports import KeyValues
from functions._core.records.values import name_uuid

NAMESPACE = "6f1c3f0e-58a5-5d0c-9a51-1f2b7c0d4e22"


def insight(  # noqa: PLR0913 a parameter for each thing that tests ask for
    name: str,
    kind: InsightType = InsightType.OPERATIONAL,
    priority: InsightPriority = InsightPriority.MEDIUM,
    *,
    at: datetime | None = None,
    valid_for: timedelta | None = timedelta(days=7),
    tags: Sequence[str] = (),
    flow_id: str | None = None,
    worker_id: str | None = None,
    **more: Any,
) -> Insight:
    """Return an insight whose id follows from its name."""
    found_at = at or datetime.now(UTC).replace(microsecond=0)
    insight_id = name_uuid(NAMESPACE, name)
    about = [RelatedEntity(entity_type="flow", entity_id=flow_id, relationship="affected")] if flow_id else []
    about += [RelatedEntity(entity_type="worker", entity_id=worker_id, relationship="cause")] if worker_id else []
    fields: dict[str, Any] = {
        "insight_id": insight_id,
        "correlation_id": insight_id,
        "trace_id": "0" * 32,
        "insight_type": kind,
        "priority": priority,
        "title": f"Finding {name}",
        "summary": f"What was found about {name}: 7 of 10 failed",
        "data_sources": ("history",),
        "metrics": {"failed": 7.0},
        "confidence_score": 0.8,
        "impact_score": 0.5,
        "recommendations": (Recommendation(action="Look at it", priority=priority, estimated_impact=0.4),),
        "related_entities": tuple(about),
        "time_window": TimeWindow(start=found_at - timedelta(minutes=5), end=found_at),
        "created_at": found_at,
        "valid_until": None if valid_for is None else found_at + valid_for,
        "tags": tuple(sorted(tags)),
        **more,
    }
    return sealed(Insight(**fields))


async def store_insights(entries: KeyValues, *insights: Insight) -> None:
    """Store insights as `analyze` does."""
    for one in insights:
        await entries.put("insights", one.insight_id, one.model_dump_json().encode(), version=0)
