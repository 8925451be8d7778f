"""Metrics by the names of the system that this one replaces, for dashboards and alerts that were made for it.

They are made of the platform's own numbers when somebody looks: nothing is counted twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OriginName:
    """A name of the origin for a metric of the catalogue.

    `labels` are its labels, each with the label of `metric` that it comes from; series that agree in them are added up.
    Only series whose labels have one of the values in `where` count.
    """

    name: str
    metric: str
    labels: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


BY_FUNCTION = {"topic": "function"}
BY_WORK = {"operation": "function", "status": "outcome"}
BY_CALL = {"operation": "operation", "status": "status"}
BY_TASK = {"executor": "task_type", "status": "status"}
OF_WORKERS = ("start_to_close", "heartbeat")
BEATS = ("/api/v1/workers/{worker_id}/heartbeat", "/api/v1/agents/{agent_id}/heartbeat")

HANDLED, DEPTH = "flowc_events_handled_total", "flowc_queue_depth"
MADE, LOST = "orchestration_tickets_generated_total", "flowc_dead_letters_total"
REGISTRY, ANALYST = "neural_hive_service_registry", "analyst"

ORIGIN_NAMES: Sequence[OriginName] = (
    OriginName(
        "orchestration_tickets_published_total",
        "webhooks_enqueued_total",
        {"event_type": "event_type"},
        {"event_type": ("ticket.assigned",)},
    ),
    OriginName("orchestration_kafka_messages_consumed_total", HANDLED, BY_FUNCTION),
    OriginName("orchestration_kafka_messages_produced_total", "flowc_transitions_total", {"topic": "type"}),
    OriginName("orchestration_kafka_consumer_lag", DEPTH),
    OriginName(
        "sla_kafka_events_published_total",
        "sla_events_published_total",
        {"topic": "event_type", "event_type": "event_type"},
    ),
    OriginName("orchestration_kafka_errors_total", LOST, {**BY_FUNCTION, "error": "code"}),
    OriginName("tickets_consumed_total", MADE),
    OriginName("tickets_persisted_total", MADE),
    OriginName("tickets_processing_errors_total", LOST, {"error": "code"}),
    OriginName("webhooks_queue_size", "flowc_webhooks_waiting"),
    OriginName("postgres_queries_total", HANDLED, BY_WORK),
    OriginName("mongodb_operations_total", HANDLED, BY_WORK),
    OriginName("kafka_messages_consumed_total", HANDLED, BY_FUNCTION),
    OriginName("kafka_consumer_lag", DEPTH),
    OriginName("heartbeat_latency_seconds", "api_request_duration_seconds", where={"route": BEATS}),
    OriginName("etcd_operations_total", f"{REGISTRY}_calls_total", BY_CALL),
    OriginName("etcd_operation_duration_seconds", f"{REGISTRY}_latency_seconds", {"operation": "operation"}),
    OriginName("worker_tasks_total", "orchestration_tickets_completed_total", BY_TASK),
    OriginName("worker_retries_total", "ticket_retries_total"),
    OriginName("worker_timeouts_total", "flowc_timeouts_total", {"limit": "limit"}, {"limit": OF_WORKERS}),
    OriginName("worker_poll_total", "flowc_leases_total", {"result": "result"}),
    OriginName("analyst_kafka_consumer_lag", f"{ANALYST}_windows_waiting"),
    OriginName("kafka_consumer_lag_gauge", f"{ANALYST}_windows_waiting"),
    OriginName(
        "insights_generated_total",
        f"{ANALYST}_insights_generated_total",
        {"type": "insight_type", "priority": "priority"},
    ),
    OriginName("insight_generation_duration_seconds", f"{ANALYST}_insight_generation_duration_seconds"),
    OriginName(
        "queries_executed_total",
        f"{ANALYST}_queries_executed_total",
        {"source": "source", "status": "status"},
    ),
    OriginName("query_duration_seconds", f"{ANALYST}_query_duration_seconds", {"source": "source"}),
    OriginName(
        "anomalies_detected_total",
        f"{ANALYST}_anomalies_detected_total",
        {"metric": "metric_name", "method": "method"},
    ),
    OriginName(
        "cache_operations_total",
        f"{ANALYST}_cache_operations_total",
        {"operation": "operation", "result": "result"},
    ),
    OriginName("insights_cached_gauge", f"{ANALYST}_insights_cached"),
)
