"""What is counted in the store rather than as it happens: flows, tickets, workers, the queue, the buffer."""

from math import nan
from time import perf_counter

from functions._core.machine import ENDED_FLOWS
from functions._core.ports import EventQueue, Ports
from functions._core.ranking import health_of
from functions._core.rules import Rules
from functions._core.values import Health, RiskBand, TicketStatus
from functions._runtime.metrics import Metrics
from functions._runtime.metrics_catalogue import WORKER_TYPE

SHARE = 0.02
"""Of the time, at most this goes into counting: a store that takes long to count is counted less often."""

GAUGES = (
    *(("agents_active", (WORKER_TYPE, health.value)) for health in Health),
    *(("tickets_by_status", (status.value,)) for status in TicketStatus),
    ("flowc_queue_depth", ()),
    ("neural_hive_flow_c_telemetry_buffer_size", ()),
    ("orchestration_workflows_active", ()),
    *(("orchestration_sla_remaining_seconds", (band.value,)) for band in RiskBand),
)


class Gauges:
    """Sets the gauges, each time `refresh` is called; the counts of a large store not every time."""

    def __init__(self, ports: Ports, queue: EventQueue, metrics: Metrics, rules: Rules) -> None:
        self._ports = ports
        self._queue = queue
        self._metrics = metrics
        self._rules = rules
        self._counts_at = 0.0

    async def refresh(self) -> None:
        """Set every gauge, or none: what cannot be counted shows as NaN, not as it was; then raises why."""
        try:
            await self._refresh()
        except Exception:
            for name, labels in GAUGES:
                self._metrics.set(name, nan, *labels)
            self._counts_at = 0.0
            raise

    async def _refresh(self) -> None:
        await self._workers()
        await self._deadlines()
        self._metrics.set("neural_hive_flow_c_telemetry_buffer_size", await self._ports.telemetry_buffer.size())
        begun = perf_counter()
        if begun < self._counts_at:
            return
        self._metrics.set("flowc_queue_depth", await self._queue.depth())
        counts = await self._ports.views.counts()
        live = sum(number for status, number in counts.get("flows", {}).items() if status not in ENDED_FLOWS)
        self._metrics.set("orchestration_workflows_active", live)
        tickets = counts.get("tickets", {})
        for status in TicketStatus:
            self._metrics.set("tickets_by_status", tickets.get(status.value, 0), status.value)
        ended = perf_counter()
        self._counts_at = ended + (ended - begun) / SHARE

    async def _workers(self) -> None:
        now = self._ports.clock.now()
        found = [health_of(worker, now, self._rules) for worker in await self._ports.registry.workers()]
        for health in Health:
            self._metrics.set("agents_active", found.count(health), WORKER_TYPE, health.value)

    async def _deadlines(self) -> None:
        """Show how long the most pressed flow of each risk band has; no number where none is open."""
        now = self._ports.clock.now()
        deadlines = await self._ports.statistics.deadlines()
        for band in RiskBand:
            left = (deadlines[band] - now).total_seconds() if band in deadlines else nan
            self._metrics.set("orchestration_sla_remaining_seconds", left, band.value)
