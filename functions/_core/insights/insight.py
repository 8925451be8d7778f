"""An insight: something that was found in the history of flows, what it means, and what to do about it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from functions._core.records.json_text import content_hash
from functions._core.records.values import Model, Timestamp, Word

Share = Annotated[float, Field(ge=0, le=1)]


class InsightType(Word):
    """What kind of insight it is."""

    STRATEGIC = "STRATEGIC"
    """It concerns what people decide: goals, capacity, owners."""
    OPERATIONAL = "OPERATIONAL"
    """It concerns flows that run now: failures, deadlines, workers."""
    PREDICTIVE = "PREDICTIVE"
    """It is about what has not happened yet: a load that will be too much."""
    CAUSAL = "CAUSAL"
    """It names what made something happen."""
    ANOMALY = "ANOMALY"
    """A figure is not what it usually is."""


class InsightPriority(Word):
    """How soon somebody should look at it."""

    LOW = "LOW"
    """When there is time."""
    MEDIUM = "MEDIUM"
    """This week."""
    HIGH = "HIGH"
    """Today."""
    CRITICAL = "CRITICAL"
    """Now."""


class Recommendation(Model):
    """Something that may be done about it."""

    action: str
    """What to do, a sentence."""
    priority: InsightPriority
    """How soon."""
    estimated_impact: Share
    """How much of the problem it may take away."""


class RelatedEntity(Model):
    """Something that the insight is about."""

    entity_type: Literal["flow", "ticket", "worker", "capability", "task_type", "domain", "plan", "metric", "decision"]
    """What it is."""
    entity_id: str
    """Its id or name."""
    relationship: str
    """How it has to do with it, a word: `cause`, `affected`, `source`."""


class TimeWindow(Model):
    """The time that was looked at."""

    start: Timestamp
    """Its begin."""
    end: Timestamp
    """Its end, not in it."""


class Insight(Model):
    """An insight as it is stored, shown and sent."""

    insight_id: str
    """A UUIDv5 of what was found and of its window: the same finding has the same id."""
    version: str = "1.0.0"
    """Version of its form."""
    correlation_id: str
    """That of the flow it is about, else its own id."""
    trace_id: str
    """The trace of the flow it is about, else 32 zeros."""
    span_id: str = "0" * 16
    """The span of that."""
    insight_type: InsightType
    """What kind of insight it is."""
    priority: InsightPriority
    """How soon somebody should look at it."""
    title: str
    """What was found, in a line."""
    summary: str
    """What was found, in a sentence or two, with its figures."""
    detailed_analysis: str = ""
    """How it was found, and what else was looked at."""
    data_sources: tuple[str, ...]
    """Where the data came from: `history`, `registry`, `pheromones`, `decisions`, `metrics`."""
    metrics: Mapping[str, float] = {}
    """Its figures by name."""
    confidence_score: Share
    """How sure it is."""
    impact_score: Share
    """How much it matters."""
    recommendations: tuple[Recommendation, ...] = ()
    """What may be done, the best first."""
    related_entities: tuple[RelatedEntity, ...] = ()
    """What it is about."""
    time_window: TimeWindow
    """The time that was looked at."""
    created_at: Timestamp
    """When it was found."""
    valid_until: Timestamp | None = None
    """When it is forgotten; null: never."""
    tags: tuple[str, ...] = ()
    """Words to find it by, sorted."""
    metadata: Mapping[str, str] = {}
    """Anything else."""
    hash: str = ""
    """SHA-256 of all other members as canonical JSON."""
    schema_version: int = 1
    """Number of its form."""


def sealed(insight: Insight) -> Insight:
    """Return an insight with its hash."""
    return insight.but(hash=insight_hash(insight))


def insight_hash(insight: Insight) -> str:
    """Return the hash that an insight has to have."""
    return content_hash(insight.model_dump(mode="json", exclude={"hash"}))
