"""Traces by OpenTelemetry: one tree for each flow, from the POST that admitted its decision to its telemetry frame.

Imported only where traces are switched on; nothing else imports OpenTelemetry. Events carry the starting trace (the
distributed tracing extension of CloudEvents): the POST's span is written into the decision, so that it becomes the
parent of every span of the flow, whichever process records it.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from time import time_ns

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from functions._core.decision.admission import TRACEPARENT
from functions._core.events.envelope import CloudEvent
from functions._core.events.telemetry import error_of
from functions._core.ports import Ports, TelemetrySink, WorkerGateway
from functions._core.records.models import Flow
from functions._core.records.values import Outcome, flow_id_of
from functions._core.records.worker import Answer, Worker
from functions._observability.dispatch_result import Handling
from functions._observability.http_metrics import AsgiApp, Receive, Scope, Send
from functions._observability.logs import log

INCOMING: ContextVar[str] = ContextVar("traceparent", default="")
"""The `traceparent` header of the request that is being served."""

OTLP_SECONDS = 5
FRAME = "telemetry.frame"
UNSAMPLED = "00"
MOST_UNSAMPLED = 10_000
"""Flows whose users do not want their trace recorded, as far as they are remembered for deliveries."""

Attributes = Mapping[str, str | int]


class Tracing:
    """Records spans; implements `instruments.Recorder`."""

    def __init__(self, exporters: Sequence[SpanExporter], version: str) -> None:
        """Send spans, in batches and from a thread, to `exporters`."""
        self._provider = TracerProvider(resource=Resource.create({"service.name": "flowc", "service.version": version}))
        for exporter in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("flowc", version)
        self._unsampled: dict[str, None] = {}

    async def close(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.shutdown)

    def watched(self, ports: Ports) -> Ports:
        """Return `ports` whose deliveries and telemetry leave a span."""
        return replace(
            ports,
            gateway=TracedGateway(ports.gateway, self),
            telemetry_sink=TracedSink(ports.telemetry_sink, self),
        )

    def serving(self, app: AsgiApp) -> AsgiApp:
        """Return `app`, with the traces of its requests continued."""
        return TracedApp(app)

    @contextmanager
    def admission(self, event: CloudEvent) -> Iterator[CloudEvent]:
        """Give the decision with the span of its admission as its trace; that span continues the user's trace."""
        data = event.data if isinstance(event.data, Mapping) else {}
        given = (
            event.extensions.get("traceparent", ""),
            INCOMING.get(),
            f"00-{data.get('trace_id')}-{data.get('span_id')}-01",
        )
        parent = next((text for text in given if TRACEPARENT.fullmatch(text)), "")
        with self._tracer.start_as_current_span(
            f"POST {event.event_type}", _context(parent), SpanKind.SERVER, record_exception=False
        ) as span:
            if isinstance(data.get("decision_id"), str):
                span.set_attribute("flowc.flow_id", flow_id_of(data["decision_id"]))
            yield replace(event, extensions={**event.extensions, "traceparent": _traceparent(span)})

    def handled(self, handling: Handling) -> None:
        """Record an event that was handled; never raises."""
        try:
            self._handled(handling)
        except Exception as error:  # noqa: BLE001 a trace must not stop what it traces
            log.error("tracing.not_recorded", error=repr(error))

    @contextmanager
    def job(self, name: str, parent: str, attributes: Attributes) -> Iterator["JobSpan | None"]:
        """Give the span of a job, which ends with the context; None for a ticket without a trace."""
        if not TRACEPARENT.fullmatch(parent):
            yield None
            return
        span = self._tracer.start_span(name, _context(parent), SpanKind.CLIENT, attributes)
        try:
            yield JobSpan(span)
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, getattr(error, "kind", type(error).__name__)))
            raise
        finally:
            span.end()

    def recorded(self, flow_id: str) -> bool:
        """Tell whether the spans of a flow are kept, as far as is known: its tickets do not say so."""
        return flow_id not in self._unsampled

    def record(
        self,
        name: str,
        parent: str,
        begun_ns: int,
        kind: SpanKind,
        attributes: Attributes,
        error: str | None = None,
        *,
        ended_ns: int | None = None,
    ) -> None:
        """Record a span that has ended just now, or at `ended_ns`, under the trace of its event, if it has one."""
        if not TRACEPARENT.fullmatch(parent):
            return
        span = self._tracer.start_span(name, _context(parent), kind, attributes, start_time=begun_ns)
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(ended_ns)

    def _flow_ended(self, flow: Flow) -> None:
        """Record a span as long as the flow, from its decision to its end."""
        error = None if flow.outcome is Outcome.COMPLETED else error_of(flow.reasons) or flow.status.value
        begun_ns, ended_ns = (int(at.timestamp() * 1e9) for at in (flow.received_at, flow.ended_at or flow.received_at))
        self.record("flow", flow.traceparent, begun_ns, SpanKind.INTERNAL, _of_flow(flow), error, ended_ns=ended_ns)

    def _parent(self, given: str, flow: Flow) -> str:
        """Return the span above: the event's, or the flow's where a worker reports under a trace of its own."""
        if flow.traceparent.endswith(UNSAMPLED):
            self._unsampled[flow.flow_id] = None
            if len(self._unsampled) > MOST_UNSAMPLED:
                del self._unsampled[next(iter(self._unsampled))]
            return flow.traceparent
        return given if given[3:35] == flow.trace_id else flow.traceparent

    def _handled(self, handling: Handling) -> None:
        event, flow, step = handling.event, handling.flow, handling.step
        given = event.extensions.get("traceparent", "") if event is not None else ""
        parent = given if flow is None else self._parent(given, flow)
        attributes: dict[str, str | int] = {"flowc.flow_id": handling.flow_id, "flowc.outcome": handling.result}
        if event is not None:
            attributes["cloudevents.event_id"] = event.id
            attributes["cloudevents.event_type"] = event.type
        if flow is not None and step is not None:
            attributes["flowc.status"] = (step.flow or flow).status.value
            attributes["flowc.tickets"] = len(step.tickets)
        ended = step.flow if step is not None else None
        if ended is not None and flow is not None and ended.ended_at is not None and flow.ended_at is None:
            self._flow_ended(ended)
        self.record(
            f"{handling.function} {handling.type}",
            parent,
            time_ns() - int(handling.seconds * 1e9),
            SpanKind.CONSUMER,
            attributes,
            str(handling.error) if handling.error is not None else None,
        )


class JobSpan:
    """The span of a job while that goes on."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """What the job is given, so that its own spans are below this one."""
        return _traceparent(self._span)

    def found(self, job_id: str, url: str, *, adopted: bool) -> None:
        """Note which job it is, and where a person sees it."""
        self._span.set_attribute("flowc.job_id", job_id)
        self._span.set_attribute("flowc.job_adopted", adopted)
        if url:
            self._span.set_attribute("flowc.job_url", url)


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    sampled = "01" if context.trace_flags.sampled else UNSAMPLED
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{sampled}"


def _of_flow(flow: Flow) -> Attributes:
    named = {
        "flowc.flow_id": flow.flow_id,
        "flowc.decision_id": flow.decision_id,
        "flowc.plan_id": flow.plan_id,
        "flowc.intent_id": flow.intent_id,
        "flowc.status": flow.status.value,
        "flowc.tickets": flow.tickets_generated,
    }
    return {name: value for name, value in named.items() if value is not None}


def open_tracing(endpoint: str | None, file: Path | None, version: str) -> Tracing:
    """Return traces that go to a collector, to a file, or to both; `endpoint` is the collector's base URL."""
    exporters: list[SpanExporter] = []
    if endpoint is not None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporters.append(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=OTLP_SECONDS))
    if file is not None:
        exporters.append(FileExporter(file))
    return Tracing(exporters, version)


class TracedGateway:
    """Leaves a span for each message to a worker; implements `ports.WorkerGateway`."""

    def __init__(self, behind: WorkerGateway, tracing: Tracing) -> None:
        self._behind = behind
        self._tracing = tracing

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """See `WorkerGateway.deliver`."""
        begun = time_ns()
        answer = await self._behind.deliver(worker, *events)
        for event in events:
            self._record(worker, event, begun, answer)
        return answer

    def _record(self, worker: Worker, event: CloudEvent, begun: int, answer: Answer) -> None:
        flow_id = event.extensions.get("partitionkey", "")
        if not self._tracing.recorded(flow_id):
            return
        attributes: Attributes = {
            "flowc.flow_id": flow_id,
            "flowc.ticket_id": event.subject or "",
            "flowc.worker_id": worker.worker_id,
            "http.response.status_code": answer.status,
        }
        error = None if answer.accepted else answer.detail or str(answer.status)
        parent = event.extensions.get("traceparent", "")
        self._tracing.record(f"deliver {event.event_type}", parent, begun, SpanKind.CLIENT, attributes, error)


class TracedSink:
    """Leaves a span for each telemetry frame that the sink has taken or refused; implements `ports.TelemetrySink`."""

    def __init__(self, behind: TelemetrySink, tracing: Tracing) -> None:
        self._behind = behind
        self._tracing = tracing

    async def send(self, events: Sequence[CloudEvent]) -> None:
        """See `TelemetrySink.send`."""
        begun = time_ns()
        error: str | None = "refused"
        try:
            await self._behind.send(events)
            error = None
        finally:
            for event in events:
                if event.event_type == FRAME:
                    parent = event.extensions.get("traceparent", "")
                    attributes = {"flowc.flow_id": event.subject or ""}
                    self._tracing.record(f"publish {FRAME}", parent, begun, SpanKind.PRODUCER, attributes, error)


class TracedApp:
    """An ASGI application that knows the `traceparent` header of the request it serves."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = dict(scope.get("headers", ()))
        INCOMING.set(headers.get(b"traceparent", b"").decode("latin-1"))
        await self._app(scope, receive, send)


class FileExporter(SpanExporter):
    """Appends spans to a file, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(_line(span)) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


def _context(traceparent: str) -> Context:
    """Return what makes a span a child of `traceparent`; without one it begins a trace."""
    if not traceparent:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(context), Context())


def _line(span: ReadableSpan) -> dict[str, object]:
    context = span.get_span_context()
    assert context is not None  # noqa: S101 a span that was recorded has one
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent is not None else None,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": span.status.status_code.name,
        "error": span.status.description,
        "attributes": dict(span.attributes or {}),
    }
