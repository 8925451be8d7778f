"""What is counted in the store rather than as it happens: flows, tickets, workers, the queue, the buffer.

Only a process that counts shows these numbers: the one that answers `/metrics` of the platform, and the one that goes
rounds. Of the others, which handle events alone, they are absent; so is a number that there is nothing for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from functions._core.errors import FlowcError
from functions._core.events.pipelines import PIPELINE_KEY
from functions._core.executors.table import FORGE
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.placement.limits import OF_KEY, places
from functions._core.placement.ranking import health_of
from functions._core.ports import EventQueue, Ports
from functions._core.records.values import FlowStatus, Health, RiskBand, TicketStatus, Waiting
from functions._core.records.worker import TAKE_TICKETS
from functions._core.rules import Rules
from functions._observability.catalogue import WORKER_TYPE
from functions._observability.logs import log
from functions._observability.metrics import Gauge, Metrics

SHARE = 0.02
"""Of the time, at most this goes into counting: a store that takes long to count is counted less often."""

APPROVALS = 200
"""Flows, and tickets, that are looked at to count late approvals: more of them than this are as bad."""

KEEPS_SECONDS = 60.0
"""A process that has not refreshed its gauges for so long does not do that."""

FRESH_SECONDS = 1.0
"""Who asks for the metrics gets gauges that are at most this old."""


class Gauges:
    """Shows the gauges, each time `refresh` is called; the counts of a large store are not taken every time.

    `more` are counts of a part that not every process has.
    """

    def __init__(self, ports: Ports, queue: EventQueue, metrics: Metrics, rules: Rules) -> None:
        self._ports = ports
        self._queue = queue
        self._metrics = metrics
        self._rules = rules
        self._counts: dict[Gauge, float] = {}
        self._counts_at = 0.0
        self._refreshed_at = -FRESH_SECONDS
        self._turn = asyncio.Lock()
        self._kept: dict[str, Mapping[Gauge, float]] = {}
        self.more: Callable[[], Awaitable[Mapping[Gauge, float]]] | None = None

    def keep(self, gauges: Mapping[Gauge, float], by: str = "budgets") -> None:
        """Show what somebody else has counted, with all others; where nobody refreshes those, by itself.

        What was kept `by` the same one before is gone.
        """
        self.hold(gauges, by)
        self.keep_on()

    def hold(self, gauges: Mapping[Gauge, float], by: str) -> None:
        """Keep without showing: whoever refreshes the others shows these, too."""
        self._kept[by] = gauges

    def keep_on(self) -> None:
        """Show what was kept a while longer, where nobody refreshes the others."""
        if _seconds() - self._refreshed_at > KEEPS_SECONDS:
            self._metrics.show(self._all_kept())

    def _all_kept(self) -> dict[Gauge, float]:
        return {gauge: value for kept in self._kept.values() for gauge, value in kept.items()}

    async def refresh(self) -> None:
        """Show every gauge, or none: what cannot be counted is absent rather than as it was; then raises why."""
        async with self._turn:
            await self._refresh()

    async def fresh(self) -> None:
        """Refresh what is not fresh, for somebody who looks now; never raises what the store may raise."""
        async with self._turn:
            if _seconds() - self._refreshed_at < FRESH_SECONDS:
                return
            try:
                await self._refresh()
            except FlowcError as error:
                log.warning("gauges.not_counted", error=str(error))

    async def _refresh(self) -> None:
        try:
            self._metrics.show(await self._counted())
        except Exception:
            self._metrics.show({})
            self._counts_at = 0.0
            raise
        self._refreshed_at = _seconds()

    async def _counted(self) -> dict[Gauge, float]:
        buffered = await self._ports.telemetry_buffer.size()
        found = {
            **await self._workers(),
            **await self._deadlines(),
            ("neural_hive_flow_c_telemetry_buffer_size", ()): float(buffered),
        }
        begun = _seconds()
        if begun >= self._counts_at:
            self._counts = await self._counts_of_the_store()
            if self.more is not None:
                self._counts |= await self.more()
            ended = _seconds()
            self._counts_at = ended + (ended - begun) / SHARE
        return {**found, **self._counts, **self._all_kept()}

    async def _counts_of_the_store(self) -> dict[Gauge, float]:
        depth = await self._queue.depth()
        counts = await self._ports.views.counts()
        live = sum(number for status, number in counts.get("flows", {}).items() if status not in ENDED_FLOWS)
        tickets = counts.get("tickets", {})
        return {
            ("flowc_approvals_late", ()): await self._late_approvals(counts),
            ("flowc_queue_depth", ()): depth,
            ("orchestration_workflows_active", ()): live,
            **await self._pipelines(),
            **{("tickets_by_status", (status.value,)): tickets.get(status.value, 0) for status in TicketStatus},
        }

    async def _pipelines(self) -> dict[Gauge, float]:
        """Return how many pipelines of the code forge are under way; nothing where nobody does their stages."""
        workers = await self._ports.registry.workers()
        if not any(name.partition(":")[0] == FORGE for worker in workers for name in worker.capabilities):
            return {}
        pipelines, _ = await places(OF_KEY + PIPELINE_KEY, self._ports.key_values)
        return {("forge_pipelines_active", ()): float(len(pipelines))}

    async def _late_approvals(self, counts: Mapping[str, Mapping[str, int]]) -> float:
        """Return how many approvals have waited for more than half of their time; nothing is read where none wait."""
        waits = list[tuple[datetime | None, datetime | None]]()
        if counts.get("tickets", {}).get(status := TicketStatus.WAITING.value):
            tickets, _ = await self._ports.views.find_tickets({"status": status}, None, APPROVALS)
            waits += ((one.waiting_since, one.until) for one in tickets if one.waiting is Waiting.APPROVAL)
        if counts.get("flows", {}).get(status := FlowStatus.AWAITING_APPROVAL.value):
            flows, _ = await self._ports.views.flows(status=status, cursor=None, limit=APPROVALS)
            waits += ((one.phase.entered_at, one.next_wakeup_at) for one in flows)
        now = self._ports.clock.now()
        return float(sum(now - since > until - now for since, until in waits if since and until))

    async def _workers(self) -> dict[Gauge, float]:
        now = self._ports.clock.now()
        workers = [one for one in await self._ports.registry.workers() if one.agent_type in TAKE_TICKETS]
        found = [health_of(worker, now, self._rules) for worker in workers]
        return {("agents_active", (WORKER_TYPE, health.value)): found.count(health) for health in Health}

    async def _deadlines(self) -> dict[Gauge, float]:
        """Return how many seconds the most pressed flow of each risk band has; nothing where none is open."""
        now = self._ports.clock.now()
        deadlines = await self._ports.statistics.deadlines()
        return {
            ("orchestration_sla_remaining_seconds", (band.value,)): (deadlines[band] - now).total_seconds()
            for band in RiskBand
            if band in deadlines
        }


def _seconds() -> float:
    """Return the time of the loop: in a simulated world its own, so that no reading there depends on ours."""
    return asyncio.get_running_loop().time()
