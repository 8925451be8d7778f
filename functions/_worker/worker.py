"""A worker process: its server, its slots, and its place in the platform's registry."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from functions._adapters.http.client import HttpClient
from functions._core.placement.workers import Registration
from functions._core.records.values import SecurityLevel
from functions._core.records.worker import AgentType
from functions._hosts.bounded_http import bounded
from functions._observability.logs import log
from functions._worker.asking import Asking
from functions._worker.http_server import HttpServer
from functions._worker.inbox import Inbox
from functions._worker.metrics_door import MetricsDoor, WorkerPage
from functions._worker.platform import PlatformRegistry
from functions._worker.reports import Reporter
from functions._worker.runs import Runs
from functions._worker.tasks import Executor
from functions._worker.trust import Trust

ANNOUNCE_FROM_MS = 5_000
"""Tasks that are expected to end sooner are not worth a report that they run."""

BOUNDS = bounded(request_seconds=10, connections=256)
"""Of what strangers may send to the worker: a message arrives as a whole in this time, from so many at once."""

GRACE_SECONDS = 30.0
"""How long running tasks may go on when the worker stops."""

FLUSH_SECONDS = 5.0
"""How long the last reports may take after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """All that a worker is told. `endpoint` is where the platform reaches it, if not at `host` and `port`.

    One that is to `pull` asks for its tickets, and listens nowhere.
    """

    worker_id: str
    platform_url: str
    capabilities: tuple[str, ...]
    slots: int
    clearance: SecurityLevel = SecurityLevel.INTERNAL
    executor: Executor
    host: str = "127.0.0.1"
    port: int = 0
    pull: bool = False
    heartbeat_seconds: float = 30.0
    api_key: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    agent_type: AgentType = AgentType.WORKER
    metadata: Mapping[str, Any] = field(default_factory=dict)
    announce_from_ms: int | None = ANNOUNCE_FROM_MS
    grace_seconds: float = GRACE_SECONDS
    metrics: WorkerPage | None = None
    """What `GET /metrics` answers; None: there is no such page."""

    def __post_init__(self) -> None:
        """Refuse what no worker can live by."""
        if self.slots < 1:
            raise ValueError("a worker has at least one slot")
        if self.heartbeat_seconds <= 0:
            raise ValueError("the seconds between heartbeats are above 0")


def checked(config: WorkerConfig) -> WorkerConfig:
    """Return a configuration; raise `ValueError` that names all in it that the platform would never register."""
    way = {"delivery": "pull"} if config.pull else {"endpoint": config.endpoint or "http://127.0.0.1"}
    about = {"worker_id": config.worker_id, "capabilities": config.capabilities, "slots": config.slots}
    try:
        Registration.model_validate(about | way)
    except ValidationError as error:
        raise ValueError("; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())) from error
    return config


def _app(config: WorkerConfig, inbox: Inbox) -> Inbox | MetricsDoor:
    """Return what the worker's server answers."""
    if config.metrics is None:
        return inbox
    return MetricsDoor(config.metrics, None if config.pull else inbox)


def _port(config: WorkerConfig) -> int:
    return config.metrics.port or 0 if config.pull and config.metrics is not None else config.port


async def told_to_stop() -> None:
    """Wait for the first SIGTERM or SIGINT; a second one has its usual effect."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for number in signals:
        loop.remove_signal_handler(number)


class WorkerProcess:
    """Registers with the platform and does what it is assigned, from `start` (or `async with`) to `stop`."""

    def __init__(self, config: WorkerConfig) -> None:
        self.registered = asyncio.Event()
        self._forgotten = asyncio.Event()
        self.endpoint = config.endpoint or ""
        self.metrics_port: int | None = None
        """Where metrics of a worker are that asks for its tickets."""
        self._config = config
        self._client = HttpClient()
        self._platform = PlatformRegistry(self._client, config.platform_url, config.worker_id, config.api_key)
        self._reporter = Reporter(self._client, config.worker_id)
        self._runs = Runs(config.executor, self._reporter, slots=config.slots, announce_from_ms=config.announce_from_ms)
        self._trust = Trust(config.platform_url)
        inbox = Inbox(config.worker_id, config.slots, self._runs, self._trust)
        self._server = HttpServer(_app(config, inbox), config.host, _port(config), BOUNDS)
        self._presence: asyncio.Task[None] | None = None
        self._asking = Asking(self._platform, self._runs, self._trust, self._forget)
        self._asks: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve or ask, and register in the background; `registered` is set while the platform knows the worker."""
        if self._config.pull:
            if self._listens:
                self.metrics_port = self._server.start()
            self._asks = asyncio.create_task(self._asking.run(self.registered))
        else:
            self._serve()
        log.info("worker.started", worker_id=self._config.worker_id, endpoint=self.endpoint)
        self._presence = asyncio.create_task(self._stay_present())

    async def stop(self) -> None:
        """Let running tasks end within the grace, report what is left as worth a retry, and deregister."""
        if self._asks is not None:
            await self._asking.stop(self._asks, FLUSH_SECONDS)
        await self._runs.stop(self._config.grace_seconds)
        await self._reporter.flush(FLUSH_SECONDS)
        if self._presence is not None:
            self._presence.cancel()
            await asyncio.wait({self._presence})
        if self._platform.may_know_us:
            await self._platform.deregister()
        self.registered.clear()
        if self._listens:
            await self._server.stop()
        await self._client.aclose()
        log.info("worker.stopped", worker_id=self._config.worker_id)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    @property
    def _listens(self) -> bool:
        """Whether there is a server: that of a worker which asks for its tickets has metrics alone."""
        metrics = self._config.metrics
        return not self._config.pull or (metrics is not None and metrics.port is not None)

    def _serve(self) -> None:
        port = self._server.start()
        if not self.endpoint:
            host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
            self.endpoint = f"http://{host}:{port}/"

    async def _stay_present(self) -> None:
        """Register, then send heartbeats; register again when the platform has forgotten the worker."""
        while True:
            self._trust.renewing()
            membership = await self._platform.register(self._registration())
            self._trust.renew(membership)
            self._forgotten.clear()
            self.registered.set()
            wanted = membership.heartbeat_seconds
            while self.registered.is_set():
                await self._pause(min(wanted or self._config.heartbeat_seconds, self._config.heartbeat_seconds))
                if not self.registered.is_set():
                    break
                orders = await self._platform.heartbeat(self._beat())
                for ticket_id in orders.cancel:
                    self._runs.cancel(ticket_id)
                if not orders.known or self._trust.doubted:
                    self.registered.clear()

    async def _pause(self, seconds: float) -> None:
        """Wait for the next heartbeat; less long when the platform is found to have forgotten the worker."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._forgotten.wait()

    def _forget(self) -> None:
        self.registered.clear()
        self._forgotten.set()

    def _registration(self) -> dict[str, Any]:
        way = {"delivery": "pull"} if self._config.pull else {"endpoint": self.endpoint, "accepts_batches": True}
        return {
            "worker_id": self._config.worker_id,
            **way,
            "capabilities": list(self._config.capabilities),
            "clearance": self._config.clearance.value,
            "slots": self._config.slots,
            "agent_type": self._config.agent_type.value,
            "metadata": dict(self._config.metadata),
            "running": self._runs.named(),
        }

    def _beat(self) -> dict[str, Any]:
        totals = self._runs.totals
        executions = totals.completed + totals.failed
        return {
            "status": "HEALTHY",
            "telemetry": {
                "success_rate": totals.completed / executions if executions else None,
                "total_executions": executions,
                "avg_duration_ms": round(totals.seconds * 1000 / executions, 3) if executions else None,
            },
            "running": self._runs.named(),
        }
