"""Where an analysis takes its data from, and what each source says of a span of time. Who reads them is elsewhere."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from functions._core.insights.aggregates import MAX_ROWS, Aggregate, aggregate_by_dimension
from functions._core.insights.anomalies import LEAST_POINTS, Anomaly, zscore
from functions._core.insights.error_texts import error_patterns
from functions._core.insights.work_graph import WorkGraph
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.record import fields_of
from functions._core.records.values import Outcome, Word, format_time
from functions._core.rollups import WINDOWS, FlowBucket, RollupWindow, percentile

NAMED = 20
"""Entries of a list within an answer."""

SERIES_POINTS = 48
"""Points of a series that history is cut into."""


class SourceKind(Word):
    """A source of data."""

    TELEMETRY = "TELEMETRY"
    """Counts of flows over time."""
    LOGS = "LOGS"
    """What went wrong: the errors of tickets, and the transitions of a flow."""
    GRAPH = "GRAPH"
    """What had to do with what."""
    METRICS = "METRICS"
    """Series of the server of metrics."""
    HISTORICAL = "HISTORICAL"
    """Ended flows and their tickets."""
    MEMORY = "MEMORY"
    """What the platform remembers of all that: by words, around an id, where a result comes from, how good it is."""


class AnalysisScope(NamedTuple):
    """What is looked at."""

    since: datetime
    """Begin of the time."""
    until: datetime
    """End of it."""
    correlation_id: str | None = None
    """Only flows of this correlation id; of GRAPH and LOGS its course, too."""
    task_type: str | None = None
    """Only tickets of this type."""
    worker_id: str | None = None
    """Only tickets of this worker."""
    domain: str | None = None
    """Only tickets of this domain."""
    entity: tuple[str, str] | None = None
    """Of GRAPH: what is connected with this type and id. Of MEMORY: of type `flow`, context and lineage of it."""
    text: str | None = None
    """Of LOGS: errors that hold this text, in any letter case. Of MEMORY: what holds one of its words."""
    metrics: tuple[str, ...] = ()
    """Of METRICS: names of series."""


class AnalysisSource(Protocol):
    """One source."""

    async def read(self, scope: AnalysisScope) -> Mapping[str, Any]:
        """Return what it says, as JSON; raise `Unavailable` or `Rejected` when it says nothing."""


class SourceAnswer(NamedTuple):
    """What one source said."""

    kind: SourceKind
    """The source."""
    status: str
    """`ok`, `timeout`, `unavailable` or `refused`."""
    data: Mapping[str, Any]
    """What it says; empty unless `ok`."""
    seconds: float
    """How long it took."""
    detail: str | None = None
    """Why it says nothing."""


class Consolidated(NamedTuple):
    """What all sources say together."""

    partial: bool
    """Whether one of them is missing."""
    completeness: float
    """The share of the sources that have answered."""
    answered: Sequence[str]
    """Those that have."""
    missing: Sequence[str]
    """Those that have not."""


def consolidated(answers: Iterable[SourceAnswer]) -> Consolidated:
    """Return what answers come to."""
    known = [*answers]
    answered = [one.kind.value for one in known if one.status == "ok"]
    missing = [one.kind.value for one in known if one.status != "ok"]
    return Consolidated(bool(missing), len(answered) / len(known) if known else 0.0, answered, missing)


def chosen(
    flows: Sequence[FlowRow], tickets: Sequence[TicketRow], scope: AnalysisScope
) -> tuple[Sequence[FlowRow], Sequence[TicketRow]]:
    """Return the flows and tickets that a scope is about; a flow stays only where one of its tickets does."""
    wanted: Sequence[Callable[[TicketRow], bool]] = [
        lambda row: scope.task_type in {None, row.task_type.value},
        lambda row: scope.worker_id in {None, row.worker_id},
        lambda row: scope.domain in {None, row.domain},
    ]
    few = [flow for flow in flows if scope.correlation_id in {None, flow.correlation_id}]
    ids = {flow.flow_id for flow in few}
    rows = [row for row in tickets if row.flow_id in ids and all(fits(row) for fits in wanted)]
    if any(one is not None for one in (scope.task_type, scope.worker_id, scope.domain)):
        there = {row.flow_id for row in rows}
        few = [flow for flow in few if flow.flow_id in there]
    return few, rows


def historical(
    flows: Sequence[FlowRow], tickets: Sequence[TicketRow], scope: AnalysisScope, most_rows: int = MAX_ROWS
) -> Mapping[str, Any]:
    """Return execution statistics: outcomes, durations by what they belong to, and spans of time unlike the others.

    Raises `UnusableSeries` for more than `most_rows` figures.
    """
    flows, tickets = chosen(flows, tickets, scope)
    took = [(row, float(row.actual_ms)) for row in tickets if row.actual_ms is not None]
    return {
        "flows": len(flows),
        "tickets": len(tickets),
        "outcomes": {one.value: sum(flow.outcome is one for flow in flows) for one in Outcome},
        "missed": sum(flow.missed for flow in flows),
        "retries": sum(row.retries for row in tickets),
        "duration_ms": {
            "by_task_type": _aggregated(((row.task_type.value, value) for row, value in took), most_rows),
            "by_worker": _aggregated(((row.worker_id or "", value) for row, value in took), most_rows),
            "by_domain": _aggregated(((row.domain or "", value) for row, value in took), most_rows),
        },
        "waited_ms": {
            "by_capability": _aggregated(
                (
                    (capability, float(row.waited_ms))
                    for row in tickets
                    if row.waited_ms is not None
                    for capability in row.capabilities
                ),
                most_rows,
            )
        },
        "anomalies": _anomalies(_over_time(flows, scope)),
    }


def telemetry(buckets: Sequence[FlowBucket], scope: AnalysisScope) -> Mapping[str, Any]:
    """Return the counts of flows over time."""
    within = [one for one in buckets if scope.since <= one.start < scope.until]
    series = {
        "ended": [float(sum(one.outcomes.values())) for one in within],
        "missed": [float(one.missed) for one in within],
    }
    return {
        "buckets": [
            {
                "start": format_time(one.start),
                "ended": sum(one.outcomes.values()),
                "outcomes": dict(one.outcomes),
                "met": one.met,
                "missed": one.missed,
                "p50_ms": percentile(one.durations, 0.5),
                "p95_ms": percentile(one.durations, 0.95),
            }
            for one in within
        ],
        "anomalies": _anomalies({name: ([one.start for one in within], values) for name, values in series.items()}),
    }


def window_of(scope: AnalysisScope, now: datetime) -> RollupWindow:
    """Return the narrowest window of rollups that reaches back to the begin of a span, else the widest one."""
    reach = now - scope.since
    return next((one for one in WINDOWS.values() if one.width * one.count >= reach), [*WINDOWS.values()][-1])


def logs(flows: Sequence[FlowRow], tickets: Sequence[TicketRow], scope: AnalysisScope) -> Mapping[str, Any]:
    """Return the errors of tickets: what comes again and again, and with a text those that hold it."""
    flows, tickets = chosen(flows, tickets, scope)
    sought = (scope.text or "").casefold()
    rows = [row for row in tickets if sought in f"{row.reason_code or ''} {row.error or ''}".casefold()]
    return {
        "patterns": [
            {"text": one.text, "code": one.code, "count": one.count, "flows": list(one.flows)}
            for one in error_patterns(rows)[:NAMED]
        ],
        "flows": [flow.flow_id for flow in flows if scope.correlation_id is not None][:NAMED],
    }


def graph(flows: Sequence[FlowRow], tickets: Sequence[TicketRow], scope: AnalysisScope) -> Mapping[str, Any]:
    """Return what had to do with what: six queries of one graph."""
    made = WorkGraph(*chosen(flows, tickets, scope))
    return {
        "patterns": [one._asdict() for one in made.patterns(NAMED)],
        "related": [] if scope.entity is None else [one._asdict() for one in made.related(scope.entity)],
        "intent_flow": []
        if scope.correlation_id is None
        else [one._asdict() for one in made.intent_flow(scope.correlation_id)],
        "bottlenecks": [one._asdict() for one in made.bottlenecks(NAMED)],
        "centrality": [one._asdict() for one in made.central(NAMED)],
        "causal_chains": [asdict(one) for one in made.chains(NAMED)],
    }


def metric_statistics(points: Sequence[tuple[datetime, float | None]]) -> Mapping[str, Any]:
    """Return what the values of a metric come to; the last one is its current value."""
    known = [value for _, value in points if value is not None]
    return {
        "current": points[-1][1] if points else None,
        "minimum": min(known, default=None),
        "maximum": max(known, default=None),
        "mean": sum(known) / len(known) if known else None,
        "points": [[format_time(at), value] for at, value in points],
    }


def _aggregated(rows: Iterable[tuple[str, float]], most: int) -> Mapping[str, Mapping[str, float]]:
    named = ((name, value) for name, value in rows if name)
    found: Mapping[str, Aggregate] = aggregate_by_dimension(named, NAMED, most)
    return {name: fields_of(one) for name, one in found.items()}


def _over_time(flows: Sequence[FlowRow], scope: AnalysisScope) -> Mapping[str, tuple[Sequence[datetime], list[float]]]:
    """Return flows by when they ended, as series over the span."""
    width = max((scope.until - scope.since) / SERIES_POINTS, timedelta(seconds=1))
    starts = [scope.since + width * place for place in range(SERIES_POINTS)]
    ended, missed = [0.0] * SERIES_POINTS, [0.0] * SERIES_POINTS
    for flow in flows:
        place = min(SERIES_POINTS - 1, max(0, int((flow.ended_at - scope.since) / width)))
        ended[place] += 1
        missed[place] += flow.missed
    return {"ended": (starts, ended), "missed": (starts, missed)}


def _anomalies(series: Mapping[str, tuple[Sequence[datetime], list[float]]]) -> Sequence[Mapping[str, Any]]:
    """Return the points of series that are not like the others; of series that are long enough."""
    found: list[tuple[str, datetime, Anomaly]] = [
        (name, starts[one.index], one)
        for name, (starts, values) in series.items()
        if len(values) >= LEAST_POINTS
        for one in zscore(values)
    ]
    return [
        {"metric": name, "start": format_time(at), "value": one.value, "score": one.score, "method": one.method}
        for name, at, one in found[:NAMED]
    ]
