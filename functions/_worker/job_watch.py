"""Whoever watches a job: metrics, a span, and the ticket's trace handed on to the job."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from functions._engine.version import __version__
from functions._executors.meter import METER, JobMeter, WorkerMetrics
from functions._executors.port import JobExecutor, JobHandle
from functions._executors.settings import ExecutorSettings
from functions._worker.tasks import Assignment, TaskFailed

if TYPE_CHECKING:  # OpenTelemetry is imported only where traces are wanted
    from functions._observability.traces import JobSpan, Tracing


class JobWatch:
    """Watches one job."""

    def __init__(self, meter: JobMeter, span: "JobSpan | None", assignment: Assignment) -> None:
        self.meter = meter
        self._span = span
        self._given = assignment.extensions.get("traceparent")
        self._rolls_back = assignment.parameters.get("action") == "rollback"
        self.timed_out = False
        """Whether the time of the ticket was over before the job had ended."""

    @property
    def traceparent(self) -> str | None:
        """What the job is given: its own span, or else that of the ticket."""
        return self._given if self._span is None else self._span.traceparent

    def found(self, handle: JobHandle) -> None:
        """Note which job it is."""
        self.meter.count("jobs_adopted_total" if handle.adopted else "jobs_started_total")
        if self._span is not None:
            self._span.found(handle.job_id, handle.url, adopted=handle.adopted)

    def logged(self, size: int, result: str) -> None:
        """Note how much a job has written, and what became of it in the store; empty where there is none."""
        self.meter.count("log_bytes_total", by=size)
        if result:
            self.meter.count("logs_total", result)

    def succeeded(self, outputs: Mapping[str, Any]) -> None:
        """Note what came of it."""
        self.meter.succeeded(outputs, rolled_back=self._rolls_back)


class JobsWatch:
    """Watches the jobs of a worker."""

    def __init__(self, executors: Sequence[JobExecutor[Any]], settings: ExecutorSettings) -> None:
        self.metrics = WorkerMetrics([(executor.family, executor.name) for executor in executors])
        self._tracing = _opened(settings)

    @contextmanager
    def job(self, executor: JobExecutor[Any], assignment: Assignment) -> Iterator[JobWatch]:
        """Watch the job of a ticket from here to its end, however that is."""
        meter = self.metrics.meter(executor.family, executor.name)
        about: dict[str, str | int] = {
            "flowc.flow_id": assignment.flow_id,
            "flowc.ticket_id": assignment.ticket_id,
            "flowc.attempt": assignment.attempt,
            "flowc.executor": executor.name,
        }
        parent = assignment.extensions.get("traceparent", "")
        traced = self._tracing.job(f"job {executor.name}", parent, about) if self._tracing else nullcontext()
        token = METER.set(meter)
        meter.begun()
        try:
            with traced as span:
                watch = JobWatch(meter, span, assignment)
                yield watch
        except asyncio.CancelledError:
            meter.ended("timed_out" if watch.timed_out else "cancelled")
            raise
        except TaskFailed as failure:
            meter.ended("failed", failure.kind)
            raise
        except BaseException as error:
            meter.ended("failed", type(error).__name__)
            raise
        else:
            meter.ended("completed")
        finally:
            METER.reset(token)

    async def aclose(self) -> None:
        """Hand over what is left of the traces."""
        if self._tracing is not None:
            await self._tracing.close()


def _opened(settings: ExecutorSettings) -> "Tracing | None":
    """Return traces where they are wanted; raise `ValueError` where OpenTelemetry is not installed."""
    if not settings.otlp_endpoint and settings.trace_file is None:
        return None
    try:
        from functions._observability.traces import open_tracing
    except ImportError as error:
        raise ValueError(f"traces need OpenTelemetry (flowc[otel]): {error}") from error
    return open_tracing(settings.otlp_endpoint or None, settings.trace_file, __version__)
