"""The memory layer over the records of this platform: `MemoryLayer`, within the bounds of an analysis."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.insights.memories import Run, context_of, lineage_of, quality_of, remembered
from functions._core.insights.memory_layer import (
    DataAsset,
    Lineage,
    Memory,
    MemoryContext,
    MemoryQuery,
    QualityStats,
)
from functions._core.insights.stored import EVERYTHING
from functions._core.learning import registry
from functions._core.records.models import Flow
from functions.api.analyst_state import beside
from functions.api.newest_rows import tickets_in_pages
from functions.api.services import ApiServices

FLOWS = 10
"""Flows of one correlation id that are told, the last to end first."""

TICKETS = 1_000
"""Tickets that a context or a lineage has, of all of its flows."""

NEAR = 20
"""Insights of a context."""


@dataclass(frozen=True, slots=True)
class PlatformMemory:
    """What this platform remembers; flows of a correlation id are looked for among those that ended within a span."""

    services: ApiServices
    since: datetime
    until: datetime

    async def query_memory(self, query: MemoryQuery) -> Sequence[Memory]:
        """See `MemoryLayer`."""
        rows = await self.services.analysts.history(self.services.ports, query.since, query.until)
        insights = await self.services.analysts.insights(self.services.ports).query(EVERYTHING)
        found: Sequence[Memory] = await beside(
            lambda: remembered(query.text, rows.flows, rows.tickets, insights, query.limit)
        )
        return found

    async def get_context(self, subject: str) -> MemoryContext | None:
        """See `MemoryLayer`."""
        runs, complete = await self._runs(subject)
        if not runs:
            return None
        insights = await self.services.analysts.insights(self.services.ports).query(EVERYTHING)
        context: MemoryContext = await beside(lambda: context_of(subject, runs, insights, complete=complete))
        return context.but(insights=context.insights[:NEAR])

    async def get_lineage(self, subject: str) -> Lineage | None:
        """See `MemoryLayer`."""
        runs, complete = await self._runs(subject)
        if not runs:
            return None
        lineage: Lineage = await beside(lambda: lineage_of(subject, runs, complete=complete))
        return lineage

    async def get_quality_stats(self, since: datetime, until: datetime) -> QualityStats:
        """See `MemoryLayer`."""
        rows = await self.services.analysts.history(self.services.ports, since, until)
        told_at = min(until, self.services.ports.clock.now())
        found: QualityStats = await beside(
            lambda: quality_of(rows.flows, rows.tickets, told_at, complete=rows.complete)
        )
        return found

    async def invalidate_cache(self) -> int:
        """See `MemoryLayer`."""
        return self.services.analysts.forget()

    async def list_data_assets(self) -> Sequence[DataAsset]:
        """See `MemoryLayer`."""
        ports = self.services.ports
        counts = await ports.views.counts()
        oldest, _ = await ports.views.find_tickets({}, None, 1)
        insights = await self.services.analysts.insights(ports).query(EVERYTHING)
        models = await registry.models(ports.key_values)
        workers = await ports.registry.workers()
        ended = "after their end, as long as FLOWC_RETENTION_DAYS says"
        return [
            DataAsset(name="flows", count=sum(counts["flows"].values()), kept=ended),
            DataAsset(
                name="tickets",
                count=sum(counts["tickets"].values()),
                since=oldest[0].created_at if oldest else None,
                kept="as long as their flows, with their histories",
            ),
            DataAsset(
                name="insights",
                count=len(insights),
                since=min((one.created_at for one in insights), default=None),
                kept="until they expire",
            ),
            DataAsset(
                name="models",
                count=len(models),
                since=min((one.trained_at for one in models), default=None),
                kept="the newest",
            ),
            DataAsset(name="workers", count=len(workers), kept="while they are registered"),
        ]

    async def _runs(self, subject: str) -> tuple[Sequence[Run], bool]:
        """Return flows with their tickets, and whether these are all of both that the span knows."""
        ports = self.services.ports
        if UNPRINTABLE.search(subject):  # no id holds such characters, and not every store can be asked for one
            return (), True
        flow = await ports.store.flow(subject)
        flows, complete = ([flow] if flow is not None else []), True
        if flow is None:
            flows, complete = await self._of_correlation(subject)
        runs: list[Run] = []
        left = TICKETS
        for one in flows:
            tickets = await tickets_in_pages(self.services, one, left) if left else ()
            left -= len(tickets)
            complete = complete and len(tickets) >= one.tickets_generated
            runs.append((one, tickets))
        return runs, complete

    async def _of_correlation(self, correlation_id: str) -> tuple[list[Flow], bool]:
        rows = await self.services.analysts.history(self.services.ports, self.since, self.until)
        ids = [row.flow_id for row in rows.flows if row.correlation_id == correlation_id]
        found = [await self.services.ports.store.flow(flow_id) for flow_id in ids[:FLOWS]]
        return [flow for flow in found if flow is not None], rows.complete and len(ids) <= FLOWS
