"""Counts what the jobs of a worker do, by the names of `executor_metrics`. Counting never raises and decides nothing.

Each job sets `METER` in its own context; the clients of services find it there, whoever makes the call.
"""

from collections.abc import Awaitable, Mapping, Sequence
from contextvars import ContextVar
from itertools import product
from time import monotonic
from typing import Any, Protocol, TypeVar

from functions._observability.executor_metrics import BY, DEPLOYMENTS, EXECUTOR_METRICS, FINDINGS, TESTS
from functions._observability.metric import Kind
from functions._observability.metrics import Metrics

Executors = Sequence[tuple[str, str]]
"""Families and names of executors."""


class StatusAnswer(Protocol):
    """The answer to a call of a service."""

    @property
    def status(self) -> int:
        """The HTTP status."""


class HttpxAnswer(Protocol):
    """The same of httpx."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""


A = TypeVar("A", bound=StatusAnswer)


class WorkerMetrics:
    """The metrics of one worker; `executors` are those that it has."""

    def __init__(self, executors: Executors) -> None:
        """Begin every series that is known at zero."""
        self.metrics = Metrics(EXECUTOR_METRICS)
        self._active = dict.fromkeys(executors, 0)
        for metric in EXECUTOR_METRICS:
            others = [values for label, values in metric.labels.items() if label not in BY]
            if metric.kind is Kind.COUNTER and BY.keys() <= metric.labels.keys() and all(others):
                for (family, executor), labels in product(executors, product(*others)):
                    self.metrics.count(metric.name, family, executor, *labels, by=0)

    def text(self) -> bytes:
        """Return the exposition format of Prometheus."""
        self.metrics.show({("worker_tasks_active", labels): number for labels, number in self._active.items()})
        return self.metrics.text()

    def meter(self, family: str, executor: str) -> "JobMeter":
        """Return what counts one job."""
        return JobMeter(self, (family, executor))

    def active(self, labels: tuple[str, str], change: int) -> None:
        """Note that a ticket has come, or has gone."""
        self._active[labels] = self._active.get(labels, 0) + change


class JobMeter:
    """Counts one job."""

    def __init__(self, worker: WorkerMetrics, labels: tuple[str, str]) -> None:
        self._worker = worker
        self._labels = labels
        self._begun = monotonic()

    def begun(self) -> None:
        """Note that the ticket is here."""
        self._worker.active(self._labels, 1)

    def ended(self, status: str, kind: str = "") -> None:
        """Note how it ended: one of `ENDS`, of a failure with the type of its error."""
        self._worker.active(self._labels, -1)
        self.count("tasks_total", status)
        self.time("task_duration_seconds", monotonic() - self._begun)
        if kind:
            self.count("task_failures_total", kind[:60])
        if status == "timed_out":
            self.count("timeouts_total")

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter, by its name without `worker_`."""
        self._worker.metrics.count(f"worker_{name}", *self._labels, *labels, by=by)

    def time(self, name: str, value: float) -> None:
        """Add to a distribution, likewise."""
        self._worker.metrics.time(f"worker_{name}", value, *self._labels)

    def succeeded(self, outputs: Mapping[str, Any], *, rolled_back: bool) -> None:
        """Count what outputs say of artifacts, and what a family says in the words that its executors share."""
        for one in _list(outputs.get("artifacts")):
            self.count("artifacts_total")
            self.count("artifact_bytes_total", by=_number(one.get("size") if isinstance(one, Mapping) else 0))
        if self._labels[0] == "validate" and isinstance(counts := outputs.get("counts"), Mapping):
            for severity, number in counts.items():
                if str(severity).upper() in FINDINGS:
                    self.count("findings_total", str(severity).upper(), by=_number(number))
        elif self._labels[0] == "test":
            for result in TESTS:
                self.count("tests_total", result, by=_number(outputs.get(result)))
            if isinstance(share := outputs.get("coverage"), int | float):
                self.time("coverage_ratio", float(share))
        elif self._labels[0] == "deploy":
            first, updated, back = DEPLOYMENTS
            self.count(
                "deployments_total", back if rolled_back else updated if outputs.get("previous_revision") else first
            )


METER: ContextVar[JobMeter | None] = ContextVar("job_meter", default=None)


async def counted(calling: Awaitable[A]) -> A:
    """Return the answer to a call of a service, counted for the job that makes it."""
    meter, status, begun = METER.get(), "none", monotonic()
    try:
        answer = await calling
        status = str(answer.status)
    finally:
        if meter is not None:
            meter.count("api_calls_total", status)
            meter.time("api_latency_seconds", monotonic() - begun)
    return answer


async def heard(answer: HttpxAnswer) -> None:
    """Count an answer where a client tells of each by itself."""
    if (meter := METER.get()) is not None:
        meter.count("api_calls_total", str(answer.status_code))


def _number(value: object) -> float:
    return max(0.0, value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
