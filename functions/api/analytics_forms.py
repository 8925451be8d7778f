"""What is asked of analyses of figures, and what is answered."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from functions._core.insights.sources import SourceKind
from functions._core.insights.trends import TrendDirection
from functions._core.learning.series import MAX_POINTS
from functions._core.records.values import Model, Timestamp, a_number

MAX_METRICS = 10
LONGEST_WINDOW = timedelta(days=31)
LONGEST_SECONDS = 5.0
"""How long a source may take."""

LARGEST_SHARE = 0.5
"""Points that are more are not unlike the others."""

Checked = BeforeValidator(a_number)
Figure = Annotated[float, Field(allow_inf_nan=False), Checked]
Series = Annotated[tuple[Figure, ...], Field(min_length=1, max_length=MAX_POINTS)]
SeriesName = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
MetricName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]


class FiguresForm(Model):
    """What all of them share: a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AnalysisWindow(FiguresForm):
    """A span of time, 31 days at most."""

    start: Timestamp
    """Its begin."""
    end: Timestamp
    """Its end."""

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if not timedelta() < self.end - self.start <= LONGEST_WINDOW:
            raise ValueError(f"end has to be after start, by {LONGEST_WINDOW.days} days at most")
        return self


class SoughtEntity(FiguresForm):
    """Something that others are connected with."""

    entity_type: Literal["flow", "plan", "task_type", "capability", "domain", "worker"]
    """What it is."""
    entity_id: Name
    """Its id or name."""


class AnalysisFilters(FiguresForm):
    """What is looked at; what is absent leaves nothing out."""

    correlation_id: Name | None = None
    """Flows of this correlation id; of GRAPH and LOGS its course, too, of MEMORY its context and lineage."""
    task_type: Name | None = None
    """Tickets of this type."""
    worker_id: Name | None = None
    """Tickets of this worker."""
    domain: Name | None = None
    """Tickets of this domain."""
    entity: SoughtEntity | None = None
    """Of GRAPH: what is connected with it is told. Of MEMORY: a flow, whose context and lineage are told."""
    text: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Of LOGS: errors that hold this text. Of MEMORY: what holds one of its words."""


class AnalysisQuery(FiguresForm):
    """A question to several sources at once."""

    sources: Annotated[tuple[SourceKind, ...], Field(min_length=1, max_length=len(SourceKind))] = (
        SourceKind.HISTORICAL,
        SourceKind.TELEMETRY,
        SourceKind.LOGS,
        SourceKind.GRAPH,
    )
    """The sources; each counts once."""
    time_window: AnalysisWindow | None = None
    """The time that is looked at; absent: the last 24 hours."""
    filters: AnalysisFilters = AnalysisFilters()
    """What is looked at."""
    metrics: Annotated[tuple[MetricName, ...], Field(max_length=MAX_METRICS)] = ()
    """Of METRICS: names of series of the server of metrics; their sum over all labels is told."""
    timeout_seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS), Checked] = LONGEST_SECONDS
    """How long each source may take."""
    use_cache: bool = True
    """Whether an answer may be a minute old."""


class AnomalyForm(FiguresForm):
    """A series of which some points may be unlike the others."""

    metric_name: SeriesName
    """What the series is of."""
    values: Series
    """Its points."""
    method: Literal["zscore", "iqr", "isolation_forest"] = "zscore"
    """How they are looked at."""
    threshold: Annotated[float, Field(gt=0, le=20), Checked] | None = None
    """zscore: deviations (3); iqr: interquartile ranges (1.5); isolation_forest: the share, up to 0.5 (0.05)."""

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.method == "isolation_forest" and self.threshold is not None and self.threshold > LARGEST_SHARE:
            raise ValueError("threshold: of isolation_forest it is a share of 0.5 at most")
        return self


class TrendForm(FiguresForm):
    """A series that may go somewhere."""

    metric_name: SeriesName
    """What the series is of."""
    time_series: Series
    """Its points, at equal distances."""


class NamedSeries(FiguresForm):
    """A series and what it is of."""

    metric_name: SeriesName
    """What it is of."""
    values: Series
    """Its points."""


class CorrelationForm(FiguresForm):
    """Two series of one length."""

    series1: NamedSeries
    """One of them."""
    series2: NamedSeries
    """The other one."""
    method: Literal["pearson", "spearman"] = "pearson"
    """How the coefficient is calculated."""


class SourceResult(Model):
    """What one source said."""

    status: Literal["ok", "timeout", "unavailable", "refused"]
    """Whether it has answered."""
    seconds: float
    """How long it took."""
    detail: str | None = None
    """Why it says nothing."""
    data: Mapping[str, Any] = {}
    """What it says; empty unless `ok`. Sources that are made of history say `complete`: false where more flows have
    ended than one look reads, so that only the newest 500 were looked at."""


class AnalysisAnswer(Model):
    """What several sources said."""

    sources: Mapping[SourceKind, SourceResult]
    """The answers."""
    partial: bool
    """Whether one of them is missing."""
    completeness: float
    """The share of the sources that have answered, 0 to 1."""
    answered: tuple[SourceKind, ...]
    """Those that have."""
    missing: tuple[SourceKind, ...]
    """Those that have not."""
    time_window: AnalysisWindow
    """The time that was looked at."""
    cached: bool
    """Whether it was there already."""


class PointAnomaly(Model):
    """A point that is not like the others."""

    index: int
    """Its place in the series."""
    value: float
    """The point."""
    score: float
    """How unusual it is: see the method."""
    expected_low: float
    """The lowest value that would have been usual."""
    expected_high: float
    """The highest value that would have been usual."""


class AnomalyAnswer(Model):
    """The points of a series that are not like the others, in order."""

    metric_name: str
    """What the series is of."""
    method: str
    """How it was looked at."""
    items: tuple[PointAnomaly, ...]
    """The points."""


class TrendAnswer(Model):
    """Where a series goes."""

    metric_name: str
    """What the series is of."""
    direction: TrendDirection
    """up, down or flat."""
    slope: float
    """How much it rises from point to point."""
    intercept: float
    """Where the line begins."""
    relative_change: float
    """How much it rises from the first to the last point, as a share of its level."""
    r_squared: float
    """The share of the variance that the line explains."""
    p_value: float
    """The probability of such a slope by chance."""
    points: int
    """How many points it was made of."""


class CorrelationAnswer(Model):
    """How much two series go together."""

    metric1: str
    """What one is of."""
    metric2: str
    """What the other one is of."""
    method: str
    """How it was calculated."""
    coefficient: float
    """From -1 to 1."""
    p_value: float
    """The probability of such a coefficient by chance."""
    points: int
    """How many pairs it was made of."""
