"""What Prometheus reads, by the names of the platform's catalogue. Counting never raises and decides nothing."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from functions._core.machine import ENDED_FLOWS
from functions._core.step import Step
from functions._core.values import Outcome, TicketStatus

FLOW_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 7200, 14_400)


class Metrics:
    """The metrics of one platform, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self.started = Counter("orchestration_workflows_started", "Flows begun", ["risk_band"], registry=self.registry)
        self.ended = Counter(
            "orchestration_workflows_completed", "Flows ended, by status", ["status"], registry=self.registry
        )
        self.succeeded = Counter("neural_hive_flow_c_success", "Flows ended COMPLETED", registry=self.registry)
        self.failed = Counter(
            "neural_hive_flow_c_failures", "Flows ended otherwise", ["reason"], registry=self.registry
        )
        self.duration = Histogram(
            "neural_hive_flow_c_duration_seconds",
            "Time from the decision to the end of its flow",
            ["status"],
            buckets=FLOW_BUCKETS,
            registry=self.registry,
        )
        self.violated = Counter(
            "neural_hive_flow_c_sla_violations", "Flows that missed their deadline", registry=self.registry
        )
        self.generated = Counter(
            "orchestration_tickets_generated",
            "Tickets made",
            ["task_type", "risk_band"],
            registry=self.registry,
        )
        self.tickets_ended = Counter(
            "orchestration_tickets_completed",
            "Tickets ended",
            ["task_type", "status"],
            registry=self.registry,
        )
        self.transitions = Counter(
            "flowc_transitions", "Lines added to histories, by event type", ["type"], registry=self.registry
        )
        self.buffer = Gauge(
            "neural_hive_flow_c_telemetry_buffer_size",
            "Telemetry events that wait for the sink",
            registry=self.registry,
        )
        self.queue = Gauge("flowc_queue_depth", "Events that wait to be handled", registry=self.registry)

    def observe(self, step: Step) -> None:
        """Count a committed step."""
        for entry in step.history:
            self.transitions.labels(entry.type).inc()
        if step.flow is not None and step.history:
            self._flow(step)
        for ticket in step.tickets:
            if ticket.version == 1:
                self.generated.labels(ticket.task_type, ticket.risk_band).inc()
            elif not ticket.live and ticket.completed_at is not None and _ends_now(step, ticket.ticket_id):
                self.tickets_ended.labels(ticket.task_type, ticket.status).inc()

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)

    def _flow(self, step: Step) -> None:
        flow = step.flow
        if flow is None:
            return
        kinds = {entry.type for entry in step.history}
        if "plan.validated" in kinds:
            self.started.labels(flow.risk_band).inc()
        if "sla.violated" in kinds:
            self.violated.inc()
        if flow.status in ENDED_FLOWS and flow.ended_at is not None:
            self.ended.labels(flow.status).inc()
            self.duration.labels(flow.status).observe((flow.ended_at - flow.received_at).total_seconds())
            if flow.outcome is Outcome.COMPLETED:
                self.succeeded.inc()
            else:
                self.failed.labels(flow.reasons[0].code if flow.reasons else "unknown").inc()


def _ends_now(step: Step, ticket_id: str) -> bool:
    ends = {TicketStatus.COMPLETED, TicketStatus.FAILED, TicketStatus.CANCELLED}
    return any(entry.ticket_id == ticket_id and entry.to_status in ends for entry in step.history)
