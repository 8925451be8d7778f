"""How insights are asked for, and how they are counted."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from functions._core.insights.insight import Insight, InsightPriority, InsightType
from functions._core.records.values import Word


class QueryType(Word):
    """By what insights are looked for."""

    BY_ID = "BY_ID"
    BY_TYPE = "BY_TYPE"
    BY_PRIORITY = "BY_PRIORITY"
    BY_TIME_RANGE = "BY_TIME_RANGE"
    BY_ENTITY = "BY_ENTITY"
    BY_TAG = "BY_TAG"


class InsightNumbers(NamedTuple):
    """How many insights there are of each kind, and how sure and important they are."""

    total: int
    by_type: Mapping[str, int]
    by_priority: Mapping[str, int]
    confidence: float | None
    """The mean of their confidence, None for none."""
    impact: float | None
    """The mean of their impact, None for none."""
    by_tag: Mapping[str, int]
    """Of the commonest tags."""


COMMON_TAGS = 20
"""Tags that are counted: rules have few of them, but domains and workers are tags, too."""


def numbers_of(insights: Collection[Insight]) -> InsightNumbers:
    """Return the numbers of some insights."""
    tags = Counter(tag for one in insights for tag in one.tags)
    total = len(insights)
    return InsightNumbers(
        total=total,
        by_type={kind.value: sum(one.insight_type is kind for one in insights) for kind in InsightType},
        by_priority={kind.value: sum(one.priority is kind for one in insights) for kind in InsightPriority},
        confidence=sum(one.confidence_score for one in insights) / total if total else None,
        impact=sum(one.impact_score for one in insights) / total if total else None,
        by_tag=dict(sorted(tags.items(), key=lambda one: (-one[1], one[0]))[:COMMON_TAGS]),
    )
