"""What is asked of insights, and what is answered."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from functions._core.insights.insight import Insight, InsightPriority, InsightType
from functions._core.insights.query import QueryType
from functions._core.insights.trail_rules import DomainStatistics
from functions._core.records.values import Model, Timestamp, a_number

MAX_TAGS = 20
MAX_OFFSET = 10_000

Tag = Annotated[str, Field(min_length=1, max_length=100)]
EntityId = Annotated[str, Field(min_length=1, max_length=255)]
Whole = BeforeValidator(a_number)

KEYS: Mapping[QueryType, tuple[frozenset[str], frozenset[str]]] = {
    QueryType.BY_ID: (frozenset({"insight_id"}), frozenset()),
    QueryType.BY_TYPE: (frozenset({"insight_type"}), frozenset()),
    QueryType.BY_PRIORITY: (frozenset({"priority"}), frozenset()),
    QueryType.BY_TIME_RANGE: (frozenset({"start_timestamp"}), frozenset({"end_timestamp"})),
    QueryType.BY_ENTITY: (frozenset({"entity_id"}), frozenset({"entity_type"})),
    QueryType.BY_TAG: (frozenset({"tags"}), frozenset({"match_all"})),
}
"""The fields that each type of query needs, and those that it may have beside them."""

OWN = frozenset().union(*(needed | more for needed, more in KEYS.values()))


class InsightQuery(Model):
    """A query of one type, with the fields of that type and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query_type: QueryType
    """By what insights are looked for."""
    insight_id: EntityId | None = None
    """Of BY_ID: the id."""
    insight_type: InsightType | None = None
    """Of BY_TYPE: the kind."""
    priority: InsightPriority | None = None
    """Of BY_PRIORITY: the priority."""
    start_timestamp: Timestamp | None = None
    """Of BY_TIME_RANGE: whose time that was looked at ends then or later."""
    end_timestamp: Timestamp | None = None
    """Of BY_TIME_RANGE: whose time begins before then; absent: any."""
    entity_type: Annotated[str, Field(min_length=1, max_length=40)] | None = None
    """Of BY_ENTITY: what it is, such as `worker`; absent: anything."""
    entity_id: EntityId | None = None
    """Of BY_ENTITY: its id."""
    tags: Annotated[tuple[Tag, ...], Field(min_length=1, max_length=MAX_TAGS)] | None = None
    """Of BY_TAG: the tags."""
    match_all: bool | None = None
    """Of BY_TAG: whether an insight has to have all of them."""
    limit: Annotated[int, Field(ge=1, le=1000), Whole] = 100
    """How many to return at most."""
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET), Whole] = 0
    """How many to leave out."""
    include_expired: bool = False
    """Whether those count that have expired, and are not removed yet."""

    @model_validator(mode="after")
    def _has_what_its_type_asks_for(self) -> Self:
        needed, more = KEYS[self.query_type]
        given = {name for name in OWN if getattr(self, name) is not None}
        if missing := sorted(needed - given):
            raise ValueError(f"{self.query_type} needs {', '.join(missing)}")
        if foreign := sorted(given - needed - more):
            raise ValueError(f"{self.query_type} takes no {', '.join(foreign)}")
        return self


class InsightPage(Model):
    """Insights, the newest first."""

    items: tuple[Insight, ...]
    """The insights; fewer than `limit` where they are large."""
    total: int
    """How many fit, on all pages."""
    limit: int
    """How many were asked for."""
    offset: int
    """How many were left out; the next page begins at this and the number of items."""


class InsightStatistics(Model):
    """Numbers over insights."""

    total: int
    """How many there are."""
    insights_by_type: Mapping[str, int]
    """By kind."""
    insights_by_priority: Mapping[str, int]
    """By priority."""
    insights_by_tag: Mapping[str, int]
    """By tag, of the 20 commonest."""
    avg_confidence: float | None
    """The mean of how sure they are; null for none."""
    avg_impact: float | None
    """The mean of how much they matter; null for none."""
    window_hours: int
    """How far back was looked; 0: at all."""
    domains: tuple[DomainStatistics, ...]
    """What the trails of workers say, by domain, in the last window that had tickets."""
    domains_until: Timestamp | None
    """The end of that window; null where there was none."""
    generated_at: Timestamp
    """When they were looked at."""
