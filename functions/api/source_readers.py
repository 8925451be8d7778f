"""Reads the sources of an analysis: each says what it knows of a span of time, or why it does not."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions._core.errors import FlowcError, Rejected
from functions._core.insights import sources
from functions._core.insights.memory_layer import Lineage, MemoryContext, MemoryLayer, MemoryQuery
from functions._core.insights.sources import AnalysisScope, AnalysisSource, SourceAnswer, SourceKind
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.record import as_json
from functions._core.slo.definition import Aggregation
from functions.api.analyst_state import beside
from functions.api.platform_memory import PlatformMemory
from functions.api.services import ApiServices

SAMPLES = 12
"""Moments within a span at which a metric is asked for."""

COURSES, ENTRIES = 5, 100
"""Flows of a correlation id whose transitions are told, and how many of each."""

OfRows = Callable[[Sequence[FlowRow], Sequence[TicketRow], AnalysisScope], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class RowsSource:
    """What the rows of history say: one look at the store serves all sources of this kind."""

    services: ApiServices
    says: OfRows

    async def read(self, scope: AnalysisScope) -> Mapping[str, Any]:
        """See `AnalysisSource`."""
        rows = await self.services.analysts.history(self.services.ports, scope.since, scope.until)
        said: Mapping[str, Any] = await beside(lambda: self.says(rows.flows, rows.tickets, scope))
        return {**said, "complete": rows.complete}


@dataclass(frozen=True, slots=True)
class LogSource:
    """Errors, and of a correlation id the transitions of its flows."""

    services: ApiServices

    async def read(self, scope: AnalysisScope) -> Mapping[str, Any]:
        """See `AnalysisSource`."""
        said = await RowsSource(self.services, sources.logs).read(scope)
        courses = {
            flow_id: await self.services.ports.views.history(flow_id, 0, ENTRIES) for flow_id in said["flows"][:COURSES]
        }
        return {
            **said,
            "courses": {flow_id: [as_json(entry) for entry in entries] for flow_id, entries in courses.items()},
        }


@dataclass(frozen=True, slots=True)
class RollupSource:
    """Counts of flows over time."""

    services: ApiServices

    async def read(self, scope: AnalysisScope) -> Mapping[str, Any]:
        """See `AnalysisSource`."""
        ports = self.services.ports
        window = sources.window_of(scope, ports.clock.now())
        rollup = await self.services.rollups.of(ports, window)
        return sources.telemetry(rollup.buckets, scope)


@dataclass(frozen=True, slots=True)
class MetricsSource:
    """Series of the server of metrics: names alone, so that nobody makes it work."""

    services: ApiServices

    async def read(self, scope: AnalysisScope) -> Mapping[str, Any]:
        """See `AnalysisSource`."""
        if not scope.metrics:
            raise Rejected("body.metrics: METRICS needs a name at least", code="invalid_data", status=422)
        server, step = self.services.ports.metrics_server, (scope.until - scope.since) / SAMPLES
        moments = [scope.since + step * (place + 1) for place in range(SAMPLES)]

        async def statistics(name: str) -> Mapping[str, Any]:
            values = [await server.value(f"sum({name})", Aggregation.SUM, at) for at in moments]
            return sources.metric_statistics([*zip(moments, values, strict=True)])

        found = await asyncio.gather(*map(statistics, scope.metrics))
        return dict(zip(scope.metrics, found, strict=True))


@dataclass(frozen=True, slots=True)
class MemorySource:
    """What a memory layer says: of words, around an id and of where its results come from, and of the span."""

    layer: MemoryLayer

    async def read(self, scope: AnalysisScope) -> Mapping[str, Any]:
        """See `AnalysisSource`."""
        subject = scope.entity[1] if scope.entity is not None and scope.entity[0] == "flow" else scope.correlation_id
        query = MemoryQuery(scope.text or "", scope.since, scope.until)
        return {
            "memories": [as_json(one) for one in await self.layer.query_memory(query)] if scope.text else [],
            "context": await _json_of(await self.layer.get_context(subject)) if subject else None,
            "lineage": await _json_of(await self.layer.get_lineage(subject)) if subject else None,
            "quality": as_json(await self.layer.get_quality_stats(scope.since, scope.until)),
            "assets": [as_json(one) for one in await self.layer.list_data_assets()],
        }


async def _json_of(answer: MemoryContext | Lineage | None) -> Any:  # noqa: ANN401 as JSON is
    return None if answer is None else await beside(lambda: as_json(answer))


def source_of(services: ApiServices, kind: SourceKind, scope: AnalysisScope) -> AnalysisSource:
    """Return a source."""
    made: Mapping[SourceKind, AnalysisSource] = {
        SourceKind.TELEMETRY: RollupSource(services),
        SourceKind.LOGS: LogSource(services),
        SourceKind.GRAPH: RowsSource(services, sources.graph),
        SourceKind.METRICS: MetricsSource(services),
        SourceKind.HISTORICAL: RowsSource(services, sources.historical),
        SourceKind.MEMORY: MemorySource(PlatformMemory(services, scope.since, scope.until)),
    }
    return made[kind]


async def asked(services: ApiServices, kind: SourceKind, scope: AnalysisScope, seconds: float) -> SourceAnswer:
    """Return what a source says within so many seconds; never raises what a source may raise."""
    loop = asyncio.get_running_loop()
    begun, status, detail = loop.time(), "ok", None
    data: Mapping[str, Any] = {}
    try:
        async with asyncio.timeout(seconds):
            data = await source_of(services, kind, scope).read(scope)
    except TimeoutError:
        status, detail = "timeout", f"it did not answer within {seconds:g} s"
    except Rejected as refusal:
        status, detail = "refused", str(refusal)[:500]
    except FlowcError as away:
        status, detail = "unavailable", str(away)[:500]
    took = loop.time() - begun
    services.source_asked(kind.value, took, status)
    return SourceAnswer(kind, status, data, took, detail)
