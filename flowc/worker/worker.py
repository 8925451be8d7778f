"""A Python function as a worker, in a process of its own or as a part of a program."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from types import TracebackType
from typing import Any, Literal, Self

import structlog

from flowc.client.tracing import traced
from functions._core.records.values import SecurityLevel
from functions._observability import logs
from functions._worker import Assignment, CallableExecutor, WorkerConfig, WorkerProcess
from functions._worker.worker import GRACE_SECONDS, checked, told_to_stop
from functions._worker.written import beside

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_SLOTS = 4

Handler = Callable[..., object]
"""A function of a task, a dict of JSON values, and, where it has a second parameter, of its `TaskContext`.

It may be async. What it returns is the output; an exception fails the attempt. A plain function runs in a thread.
"""


class TracedExecutor(CallableExecutor):
    """Lets the calls that a function makes by `flowc.client` belong to the trace of its flow."""

    async def run(self, assignment: Assignment) -> object:
        """See `CallableExecutor`."""
        with traced(assignment.extensions.get("traceparent")):
            return await super().run(assignment)


class Worker:
    """Runs a function as a worker: `Worker(url, capabilities=["python"], handler=work).run()`.

    It registers, sends heartbeats, believes only messages that the platform has signed, reports until it is heard, and
    leaves in order. In a program of yours, `async with` it.
    """

    def __init__(  # noqa: PLR0913 - the settings of a worker
        self,
        url: str | None = None,
        *,
        capabilities: Sequence[str],
        handler: Handler,
        worker_id: str | None = None,
        delivery: Literal["push", "pull"] = "push",
        slots: int = DEFAULT_SLOTS,
        api_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        endpoint: str | None = None,
        clearance: str = "INTERNAL",
        metadata: Mapping[str, Any] | None = None,
        heartbeat_seconds: float = 30.0,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """Open nothing yet. Without a URL or key, FLOWC_URL and FLOWC_API_KEY of the environment hold.

        With `delivery="pull"` it asks for its tasks and listens nowhere, so it needs no way in to where it runs.
        `endpoint` is where the platform reaches the worker, if not at `host` and `port`. `grace_seconds` is how long
        running tasks may go on when it stops. Raises `ValueError` for what the platform would not register.
        """
        if delivery not in {"push", "pull"}:
            raise ValueError(f"delivery is push or pull, not {delivery!r}")
        if delivery == "pull" and endpoint:
            raise ValueError("a worker that asks for its tasks has no endpoint")
        self._config = checked(
            WorkerConfig(
                worker_id=worker_id or f"{socket.gethostname()}-{os.getpid()}",
                platform_url=url or os.environ.get("FLOWC_URL") or DEFAULT_URL,
                capabilities=tuple(capabilities),
                slots=slots,
                clearance=SecurityLevel(clearance),
                executor=TracedExecutor(handler),
                host=host,
                port=port,
                endpoint=endpoint,
                pull=delivery == "pull",
                api_key=api_key or os.environ.get("FLOWC_API_KEY") or None,
                metadata=metadata or {},
                heartbeat_seconds=heartbeat_seconds,
                grace_seconds=grace_seconds,
            )
        )
        self._process: WorkerProcess | None = None

    @property
    def worker_id(self) -> str:
        """Its name at the platform."""
        return self._config.worker_id

    @property
    def endpoint(self) -> str:
        """Where the platform reaches it; empty before it has started."""
        return self._process.endpoint if self._process is not None else ""

    def run(self, log_level: str = "info") -> None:
        """Work until SIGTERM or SIGINT comes, then take nothing new, let running tasks end, and leave.

        Sets the log of the process: JSON lines on standard error.
        """
        with redirect_stderr(beside(sys.stderr)):  # lines of the worker are no output of its tasks
            logs.configure(log_level)
        asyncio.run(self._run())

    async def _run(self) -> None:
        async with self:
            await told_to_stop()

    async def start(self) -> None:
        """Listen, or ask, and register; it takes tasks once the platform knows it. Raises `OSError`."""
        if self._process is not None:
            raise RuntimeError("the worker has started already")
        if not structlog.is_configured():  # the program has no form of its own for the lines of the worker
            structlog.configure(
                wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
                logger_factory=structlog.PrintLoggerFactory(beside(sys.stderr)),
            )
        self._process = WorkerProcess(self._config)
        await self._process.start()

    async def registered(self) -> None:
        """Wait until the platform knows the worker."""
        if self._process is None:
            raise RuntimeError("the worker has not started")
        await self._process.registered.wait()

    async def stop(self) -> None:
        """Take nothing new, let running tasks end within the grace, report what is left, and leave."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()
