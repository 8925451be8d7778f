"""The ports of the platform, counted: each class does what the port behind it does, and measures it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from functions._core.errors import Conflict, Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.ports import (
    DeadLetters,
    EventQueue,
    Ports,
    Queued,
    TelemetrySink,
    Tokens,
    WorkerGateway,
    WorkerRegistry,
)
from functions._core.records.dead_letters import REFUSED_BY_SINK, SINK_UNAVAILABLE, DeadLetter
from functions._core.records.worker import Answer, Worker
from functions._core.slo.outside import MetricsServer, NoMetricsServer
from functions._observability.catalogue import FRAME
from functions._observability.logs import log
from functions._observability.metrics import Metrics
from functions._observability.step_metrics import step_durations

if TYPE_CHECKING:  # cold start
    from functions._core.slo.definition import Aggregation


def measured(ports: Ports, metrics: Metrics) -> Ports:
    """Return `ports` whose calls are counted in `metrics`; who asks for a server that is not there is not counted."""
    server = ports.metrics_server
    return replace(
        ports,
        registry=MeasuredRegistry(ports.registry, metrics),
        dead_letters=MeasuredDeadLetters(ports.dead_letters, metrics),
        telemetry_sink=MeasuredSink(ports.telemetry_sink, metrics),
        gateway=MeasuredGateway(ports.gateway, metrics),
        tokens=MeasuredTokens(ports.tokens, metrics),
        metrics_server=server if isinstance(server, NoMetricsServer) else MeasuredMetricsServer(server, metrics),
    )


class MeasuredMetricsServer:
    """Counts queries by their result; implements `MetricsServer`."""

    def __init__(self, behind: MetricsServer, metrics: Metrics) -> None:
        self._behind = behind
        self._metrics = metrics

    async def value(self, query: str, aggregation: "Aggregation", at: datetime | None = None) -> float | None:
        """See `MetricsServer.value`."""
        begun, status = perf_counter(), "error"
        try:
            found = await self._behind.value(query, aggregation, at)
            status = "no_data" if found is None else "success"
        finally:
            self._metrics.count("sla_prometheus_queries_total", status)
            self._metrics.time("sla_prometheus_query_duration_seconds", perf_counter() - begun)
        return found


class MeasuredRegistry:
    """Counts calls by operation and result; implements `ports.WorkerRegistry`."""

    def __init__(self, behind: WorkerRegistry, metrics: Metrics) -> None:
        self._behind = behind
        self._metrics = metrics

    async def workers(self) -> Sequence[Worker]:
        """See `WorkerRegistry.workers`."""
        with _Call(self._metrics, "discover"):
            workers = await self._behind.workers()
        self._metrics.time("matching_candidates_evaluated", len(workers))
        return workers

    async def worker(self, worker_id: str) -> Worker | None:
        """See `WorkerRegistry.worker`."""
        with _Call(self._metrics, "get"):
            return await self._behind.worker(worker_id)

    async def put(self, worker: Worker) -> None:
        """See `WorkerRegistry.put`."""
        with _Call(self._metrics, "register"):
            await self._behind.put(worker)

    async def remove(self, worker_id: str, version: int) -> bool:
        """See `WorkerRegistry.remove`."""
        with _Call(self._metrics, "deregister"):
            return await self._behind.remove(worker_id, version)


class _Call:
    """One call of the registry; a conflict of versions is an answer, not an error."""

    __slots__ = ("_begun", "_metrics", "_operation")

    def __init__(self, metrics: Metrics, operation: str) -> None:
        self._metrics = metrics
        self._operation = operation
        self._begun = perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "ok" if error is None else "conflict" if isinstance(error, Conflict) else "error"
        self._metrics.count("neural_hive_service_registry_calls_total", self._operation, status)
        duration = perf_counter() - self._begun
        self._metrics.time("neural_hive_service_registry_latency_seconds", duration, self._operation)


class MeasuredDeadLetters:
    """Counts letters, and telemetry that was given up; implements `ports.DeadLetters`."""

    def __init__(self, behind: DeadLetters, metrics: Metrics) -> None:
        self._behind = behind
        self._metrics = metrics

    async def put(self, letter: DeadLetter) -> None:
        """See `DeadLetters.put`."""
        await self._behind.put(letter)
        _dead_lettered(letter, self._metrics)

    async def letters(self, cursor: str | None, limit: int) -> tuple[Sequence[DeadLetter], str | None]:
        """See `DeadLetters.letters`."""
        return await self._behind.letters(cursor, limit)

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """See `DeadLetters.letter`."""
        return await self._behind.letter(letter_id)

    async def drop(self, letter_id: str) -> bool:
        """See `DeadLetters.drop`."""
        return await self._behind.drop(letter_id)


class MeasuredQueue:
    """Counts events that are tried again or given up; implements `ports.EventQueue`."""

    def __init__(self, behind: EventQueue, metrics: Metrics) -> None:
        self._behind = behind
        self._metrics = metrics

    async def enqueue(self, events: Sequence[CloudEvent]) -> None:
        """See `EventQueue.enqueue`."""
        await self._behind.enqueue(events)

    async def pending(self, after: int, limit: int) -> Sequence[Queued]:
        """See `EventQueue.pending`."""
        return await self._behind.pending(after, limit)

    async def take_over(self) -> int:
        """See `EventQueue.take_over`."""
        return await self._behind.take_over()

    async def postpone(self, event_id: str, attempts: int, not_before: datetime) -> None:
        """See `EventQueue.postpone`."""
        self._metrics.count("flowc_events_postponed_total")
        await self._behind.postpone(event_id, attempts, not_before)

    async def dead_letter(self, event_id: str, letter: DeadLetter) -> None:
        """See `EventQueue.dead_letter`."""
        await self._behind.dead_letter(event_id, letter)
        _dead_lettered(letter, self._metrics)

    async def depth(self) -> int:
        """See `EventQueue.depth`."""
        return await self._behind.depth()


class MeasuredSink:
    """Counts what the sink has taken; implements `ports.TelemetrySink`.

    `first` says that what is sent comes from its flow, so that the steps it tells of are measured too; else it comes
    from the buffer.
    """

    def __init__(self, behind: TelemetrySink, metrics: Metrics, *, first: bool = True) -> None:
        self._behind = behind
        self._metrics = metrics
        self._first = first

    async def send(self, events: Sequence[CloudEvent]) -> None:
        """See `TelemetrySink.send`."""
        await self._behind.send(events)
        for event in events:
            step = event.data.get("step", FRAME) if isinstance(event.data, dict) else FRAME
            self._metrics.count("neural_hive_flow_c_telemetry_published_total", step)
        if self._first:
            self._metrics.take(step_durations(events))


class MeasuredGateway:
    """Counts and times what workers are sent; implements `ports.WorkerGateway`."""

    def __init__(self, behind: WorkerGateway, metrics: Metrics) -> None:
        self._behind = behind
        self._metrics = metrics

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """See `WorkerGateway.deliver`; each event of a batch counts."""
        begun = perf_counter()
        answer = await self._behind.deliver(worker, *events)
        self._metrics.time("webhooks_duration_seconds", perf_counter() - begun)
        for event in events:
            if answer.accepted:
                self._metrics.count("webhooks_sent_total", event.event_type)
            else:
                self._metrics.count("webhooks_failed_total", failure_of(answer))
        return answer


class MeasuredTokens:
    """Counts tokens made and refused; implements `ports.Tokens`."""

    def __init__(self, behind: Tokens, metrics: Metrics) -> None:
        self._behind = behind
        self._metrics = metrics

    def mint(
        self,
        *,
        ticket_id: str,
        attempt: int,
        worker_id: str,
        expires_at: datetime,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """See `Tokens.mint`."""
        self._metrics.count("jwt_tokens_generated_total")
        return self._behind.mint(
            ticket_id=ticket_id, attempt=attempt, worker_id=worker_id, expires_at=expires_at, more=more
        )

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """See `Tokens.public_keys`."""
        return self._behind.public_keys()

    def claims(self, token: str) -> Mapping[str, Any]:
        """See `Tokens.claims`."""
        try:
            return self._behind.claims(token)
        except Rejected as refusal:
            self._refused(refusal)
            raise

    def verify(self, claims: Mapping[str, Any], *, ticket_id: str) -> None:
        """See `Tokens.verify`."""
        try:
            self._behind.verify(claims, ticket_id=ticket_id)
        except Rejected as refusal:
            self._refused(refusal)
            raise

    def _refused(self, refusal: Rejected) -> None:
        self._metrics.count("jwt_validation_failures_total", refusal.code)

    def worker_secret(self, worker_id: str, registration: str) -> str:
        """See `Tokens.worker_secret`."""
        return self._behind.worker_secret(worker_id, registration)

    def subscription_secret(self, subscription_id: str, number: int) -> str:
        """See `Tokens.subscription_secret`."""
        return self._behind.subscription_secret(subscription_id, number)


def failure_of(answer: Answer) -> str:
    """Return why a message was not taken, in one word."""
    if answer.busy:
        return "busy"
    if answer.refused:
        return "refused"
    return "unreachable" if answer.status == 0 else "failed"


def _dead_lettered(letter: DeadLetter, metrics: Metrics) -> None:
    metrics.count("flowc_dead_letters_total", letter.function, letter.reason.code)
    metrics.count("ticket_dlq_total")
    if letter.function == "publish_telemetry" and letter.reason.code in {REFUSED_BY_SINK, SINK_UNAVAILABLE}:
        metrics.count("neural_hive_flow_c_telemetry_lost_total")
        log.error(
            "telemetry.given_up",
            event_id=letter.letter_id,
            flow_id=letter.flow_id,
            correlation_id=letter.event.get("correlationid"),
            code=letter.reason.code,
            reason=letter.reason.message,
        )
