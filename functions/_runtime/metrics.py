"""What Prometheus reads, by the names of the platform's catalogue. Counting never raises and decides nothing."""

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from functions._core.machine import ENDED_FLOWS, ENDED_TICKETS
from functions._core.models import Flow
from functions._core.step import Step
from functions._core.values import Outcome

FLOW_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 7200, 14_400)
ENDS = frozenset(status.value for status in ENDED_TICKETS)

COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "orchestration_workflows_started": ("Flows whose plan was accepted", ("risk_band",)),
    "orchestration_workflows_completed": ("Flows ended, by status", ("status",)),
    "orchestration_tickets_generated": ("Tickets made", ("task_type", "risk_band")),
    "orchestration_tickets_completed": ("Tickets ended", ("task_type", "status")),
    "neural_hive_flow_c_success": ("Flows ended COMPLETED", ()),
    "neural_hive_flow_c_failures": ("Flows ended otherwise", ("reason",)),
    "neural_hive_flow_c_sla_violations": ("Flows that missed their deadline", ()),
    "flowc_transitions": ("Transitions of flows and tickets, by event", ("type",)),
}


class Metrics:
    """The metrics of one platform, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        gauge: Callable[[str, str], Gauge] = partial(Gauge, registry=self.registry)
        self._counters = {
            name: Counter(name, text, labels, registry=self.registry) for name, (text, labels) in COUNTERS.items()
        }
        self._duration = Histogram(
            "neural_hive_flow_c_duration_seconds",
            "Time from a decision to the end of its flow",
            ["status"],
            buckets=FLOW_BUCKETS,
            registry=self.registry,
        )
        self.buffer = gauge("neural_hive_flow_c_telemetry_buffer_size", "Telemetry events that wait for the sink")
        self.queue = gauge("flowc_queue_depth", "Events that wait to be handled")

    def observe(self, step: Step) -> None:
        """Count a committed step."""
        tickets = {ticket.ticket_id: ticket for ticket in step.tickets}
        for entry in step.history:
            self._count("flowc_transitions", entry.type)
            ticket = tickets.get(entry.ticket_id or "")
            if ticket is not None and entry.to_status in ENDS:
                self._count("orchestration_tickets_completed", ticket.task_type, ticket.status)
            elif entry.type == "plan.validated" and step.flow is not None:
                self._count("orchestration_workflows_started", step.flow.risk_band)
            elif entry.type == "sla.violated":
                self._count("neural_hive_flow_c_sla_violations")
            elif entry.type == "tickets.generated":
                for made in step.tickets:
                    self._count("orchestration_tickets_generated", made.task_type, made.risk_band)
        if step.flow is not None and step.flow.status in ENDED_FLOWS:
            self._flow_ended(step.flow)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)

    def _flow_ended(self, flow: Flow) -> None:
        self._count("orchestration_workflows_completed", flow.status)
        if flow.ended_at is not None:
            self._duration.labels(flow.status).observe((flow.ended_at - flow.received_at).total_seconds())
        if flow.outcome is Outcome.COMPLETED:
            self._count("neural_hive_flow_c_success")
        else:
            self._count("neural_hive_flow_c_failures", flow.reasons[0].code if flow.reasons else "unknown")

    def _count(self, name: str, *labels: str) -> None:
        counter = self._counters[name]
        (counter.labels(*labels) if labels else counter).inc()
