"""The names of the origin are there, with the platform's own numbers under them."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from functions._observability.catalogue import CATALOGUE
from functions._observability.metrics import Metrics
from functions._observability.origin_names import ORIGIN_NAMES
from tests.support.world import running_world, task

ORCHESTRATOR = """
orchestration_workflows_started_total orchestration_workflows_completed_total
orchestration_workflow_duration_seconds orchestration_workflows_active orchestration_tickets_generated_total
orchestration_tickets_published_total orchestration_tickets_completed_total
orchestration_ticket_generation_duration_seconds orchestration_sla_violations_total
orchestration_sla_remaining_seconds orchestration_deadline_approaching_total
orchestration_kafka_messages_consumed_total orchestration_kafka_messages_produced_total
orchestration_kafka_consumer_lag orchestration_kafka_errors_total
""".split()  # noqa: SIM905 a list of names is read best as text
TICKETS = """
tickets_consumed_total tickets_persisted_total tickets_processing_errors_total tickets_by_status
api_requests_total api_request_duration_seconds api_errors_total webhooks_enqueued_total webhooks_sent_total
webhooks_failed_total webhooks_duration_seconds webhooks_queue_size jwt_tokens_generated_total
postgres_queries_total mongodb_operations_total kafka_messages_consumed_total kafka_consumer_lag
""".split()  # noqa: SIM905 a list of names is read best as text
REGISTRY = """
agents_registered_total agents_deregistered_total agents_active heartbeats_received_total
heartbeat_latency_seconds discovery_requests_total discovery_duration_seconds matching_candidates_evaluated
agents_matched health_checks_total agents_marked_unhealthy_total agents_removed_total etcd_operations_total
etcd_operation_duration_seconds
""".split()  # noqa: SIM905 a list of names is read best as text
WORKERS = ["worker_tasks_total", "worker_retries_total", "worker_timeouts_total", "worker_poll_total"]


def families(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Return the series of each family as it is scraped, counters by their full name."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = {f"{sample.name}{sorted(sample.labels.items())}": sample.value for sample in family.samples}
    return found


ANALYSTS = """
insights_generated_total insight_generation_duration_seconds queries_executed_total query_duration_seconds
anomalies_detected_total cache_operations_total insights_cached_gauge kafka_consumer_lag_gauge
""".split()  # noqa: SIM905 a list of names is read best as text


@pytest.mark.parametrize(
    ("names", "number"),
    [(ORCHESTRATOR, 15), (TICKETS, 17), (REGISTRY, 14), (WORKERS, 4), (ANALYSTS, 8)],
    ids=["orchestrator", "tickets", "registry", "workers", "analysts"],
)
def test_every_name_that_the_origin_documents_is_offered(names: list[str], number: int) -> None:
    assert len(names) == number
    assert set(names) <= families(Metrics()).keys()


def test_no_name_is_given_twice_and_each_comes_from_labels_that_there_are() -> None:
    known = {metric.name: metric for metric in CATALOGUE}
    names = [origin.name for origin in ORIGIN_NAMES]
    assert len(set(names)) == len(names)
    assert not set(names) & known.keys()
    for origin in ORIGIN_NAMES:
        assert {*origin.labels.values(), *origin.where} <= known[origin.metric].labels.keys(), origin.name
        assert origin.name.endswith("_total") == origin.metric.endswith("_total"), origin.name


async def test_the_numbers_are_those_of_the_platform(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        await world.run(task("a"), task("b", "a", task_type="BUILD"))
        metrics = world.platform.metrics
        metrics.time("api_request_duration_seconds", 0.5, "POST", "/api/v1/workers/{worker_id}/heartbeat")
        metrics.time("api_request_duration_seconds", 0.25, "POST", "/api/v1/agents/{agent_id}/heartbeat")
        metrics.time("api_request_duration_seconds", 9.0, "GET", "/api/v1/flows")
        found = families(metrics)
    assert sum(found["tickets_consumed_total"].values()) == 2
    assert found["tickets_consumed_total"] == {"tickets_consumed_total[]": 2}
    assert found["orchestration_tickets_published_total"] == {
        "orchestration_tickets_published_total[('event_type', 'ticket.assigned')]": 2
    }
    consumed = found["orchestration_kafka_messages_consumed_total"]
    assert consumed["orchestration_kafka_messages_consumed_total[('topic', 'validate')]"] == 1
    assert sum(consumed.values()) == sum(found["flowc_events_handled_total"].values())
    beats = found["heartbeat_latency_seconds"]
    assert beats["heartbeat_latency_seconds_count[]"] == 2
    assert beats["heartbeat_latency_seconds_sum[]"] == 0.75
    done = found["worker_tasks_total"]
    assert done["worker_tasks_total[('executor', 'BUILD'), ('status', 'COMPLETED')]"] == 1
