"""The metric catalogue, what a flow counts for, and a facade that never raises."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from functions._adapters.memory.registry import MemoryRegistry
from functions._adapters.memory.state import State
from functions._adapters.memory.store import MemoryStore
from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.placement.workers import Heartbeat
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import letter_of
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Reason
from functions._core.records.values import FlowStatus, Outcome, TicketStatus
from functions._core.records.worker import Answer, Worker
from functions._core.rules import Rules
from functions._engine.clock import SystemClock
from functions._engine.tokens import JwtTokens
from functions._observability import gauges as gauges_module
from functions._observability import metrics as metrics_module
from functions._observability.catalogue import CATALOGUE
from functions._observability.counted_ports import (
    MeasuredDeadLetters,
    MeasuredQueue,
    MeasuredRegistry,
    MeasuredTokens,
    failure_of,
)
from functions._observability.emf import ENDS, NAMES
from functions._observability.gauges import Gauges
from functions._observability.http_metrics import MeasuredApp
from functions._observability.learning_catalogue import LEARNING
from functions._observability.metric import OPEN, Kind, Metric
from functions._observability.metrics import GAUGES_LAST, MOST_SERIES, Metrics
from functions._observability.step_metrics import failure_reason, refusal
from tests.support.builders import T0, later, make_event, make_flow, make_step, make_worker, seconds
from tests.support.http_api import Api, running_api
from tests.support.world import LocalWorld, decision, decision_event, running_world, task, until

BY_NAME = {metric.name: metric for metric in CATALOGUE}


def values(metrics: Metrics) -> dict[str, float]:
    """Return what /metrics shows: `name{label="value"}` to its value, without the parts of histograms but counts."""
    return read(metrics.text().decode())


def read(text: str) -> dict[str, float]:
    """See `values`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_sum")):
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def without(catalogue: Iterable[Metric], name: str) -> list[Metric]:
    return [metric for metric in catalogue if metric.name != name]


def test_names_are_unique_and_of_the_form_that_prometheus_asks_for() -> None:
    assert len(BY_NAME) == len(CATALOGUE)
    for metric in CATALOGUE:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        named_so = {"sla_slos_total", "sla_policies_total"}  # gauges, as the origin's dashboards have them
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER or metric.name in named_so), metric.name
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name
        assert re.fullmatch(r".+[^.]", metric.help), metric.name


def test_no_label_can_hold_an_id_but_that_of_an_slo_of_which_few_are_shown() -> None:
    labels = {label: metric.kind for metric in CATALOGUE for label in metric.labels if label.endswith("id")}
    assert labels == {"slo_id": Kind.GAUGE}


def test_all_twelve_names_of_the_library_are_offered() -> None:
    ours = {name for name in BY_NAME if name.startswith(("neural_hive_flow_c_", "neural_hive_service_registry_"))}
    assert ours == {
        "neural_hive_flow_c_duration_seconds",
        "neural_hive_flow_c_failures_total",
        "neural_hive_flow_c_sla_violations_total",
        "neural_hive_flow_c_steps_duration_seconds",
        "neural_hive_flow_c_success_total",
        "neural_hive_flow_c_telemetry_buffer_size",
        "neural_hive_flow_c_telemetry_lost_total",
        "neural_hive_flow_c_telemetry_published_total",
        "neural_hive_flow_c_ticket_validation_failures_total",
        "neural_hive_flow_c_workflow_query_duration_seconds",
        "neural_hive_flow_c_workflow_query_failures_total",
        "neural_hive_service_registry_calls_total",
        "neural_hive_service_registry_latency_seconds",
    }


def test_series_with_known_labels_exist_from_the_start_at_zero() -> None:
    shown = values(Metrics())
    assert shown["neural_hive_flow_c_success_total"] == 0
    assert shown['neural_hive_flow_c_failures_total{reason="sla_timeout"}'] == 0
    assert 'agents_active{status="HEALTHY",type="WORKER"}' not in shown
    assert not [name for name in shown if name.startswith("flowc_transitions_total")]


async def test_a_flow_that_completes_leaves_its_numbers(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        await world.run(task("a"), task("b", "a", task_type="BUILD"))
        shown = values(world.platform.metrics)
    assert shown["flowc_decisions_total"] == 1
    assert shown['orchestration_workflows_started_total{risk_band="medium"}'] == 1
    assert shown['orchestration_workflows_completed_total{status="COMPLETED"}'] == 1
    assert shown["neural_hive_flow_c_success_total"] == 1
    assert shown['neural_hive_flow_c_duration_seconds_count{status="COMPLETED"}'] == 1
    assert shown['orchestration_tickets_generated_total{risk_band="medium",task_type="BUILD"}'] == 1
    assert shown['orchestration_tickets_completed_total{status="COMPLETED",task_type="EXECUTE"}'] == 1
    assert shown['ticket_status_transitions_total{from="PENDING",to="ASSIGNED"}'] == 2
    assert shown['webhooks_sent_total{event_type="ticket.assigned"}'] == 2
    assert shown["jwt_tokens_generated_total"] == 2
    assert shown['discovery_requests_total{result="found"}'] == 2
    assert shown['flowc_events_handled_total{function="validate",outcome="Validated"}'] == 1
    assert shown['agents_registered_total{type="WORKER"}'] == 1
    assert shown["flowc_metrics_errors_total"] == 0
    for step in ("C1", "C2", "C3", "C4", "C5", "C6"):
        assert shown[f'neural_hive_flow_c_steps_duration_seconds_count{{step="{step}"}}'] == 1, step
    for step in ("C1", "C2", "C3", "C4", "C5", "C6", "frame"):
        assert shown[f'neural_hive_flow_c_telemetry_published_total{{step="{step}"}}'] == 1, step


async def test_a_refused_plan_counts_as_the_users_failure(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.run(task("a", "b"), task("b", "a"))
        shown = values(world.platform.metrics)
    assert shown['neural_hive_flow_c_failures_total{reason="cyclic_dependencies"}'] == 1
    assert shown['neural_hive_flow_c_ticket_validation_failures_total{reason="cyclic_dependencies"}'] == 1
    assert shown['orchestration_validations_total{result="refused"}'] == 1
    assert shown["neural_hive_flow_c_success_total"] == 0


async def test_a_missed_deadline_counts_as_a_violation(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda _assignment: None
        await world.run(task("a", estimated_duration_ms=10), sla_deadline_seconds=0.2)
        shown = values(world.platform.metrics)
    assert shown["neural_hive_flow_c_sla_violations_total"] == 1
    assert shown['neural_hive_flow_c_failures_total{reason="sla_timeout"}'] == 1


async def test_the_sla_left_is_that_of_the_open_flow_with_least_and_no_number_where_none_is_open() -> None:
    def left(band: str) -> float | None:
        return values(metrics).get(f'orchestration_sla_remaining_seconds{{risk_band="{band}"}}')

    metrics, stores = Metrics(), MemoryStore().stores
    deadlines = [("high", 900), ("high", 600), ("low", -1.5)]
    flows = [
        make_flow(number, risk_band=band, sla_deadline=T0 + seconds(after))
        for number, (band, after) in enumerate(deadlines)
    ]
    for flow in flows:
        await stores.store.commit(make_step(flow))
    names = ("registry", "statistics", "telemetry_buffer", "views")
    clock = SimpleNamespace(now=lambda: T0)
    parts = {name: getattr(stores, name) for name in names}
    ports = SimpleNamespace(clock=clock, key_values=stores.key_values(clock), **parts)
    gauges = Gauges(cast("Ports", ports), stores.queue, metrics, Rules())
    await gauges.refresh()
    assert (left("high"), left("low")) == (600, -1.5)
    assert left("medium") is left("critical") is None
    for flow in flows[1:]:
        end = {"status": "COMPLETED", "outcome": "COMPLETED", "ended_at": T0, "next_wakeup_at": None}
        await stores.store.commit(make_step(later(flow, **end)))
    await gauges.refresh()
    assert left("high") == 900
    assert left("low") is None


async def test_the_buffer_gauge_is_what_waits_when_somebody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges_module, "FRESH_SECONDS", 0.0)
    async with running_api(tmp_path) as api:
        world = api.world
        world.platform.flush_telemetry.when_due = nothing  # type: ignore[method-assign]
        world.sink.down = True
        await world.register()
        await world.run(task("a"))
        kept = await scraped(api)
        # What has waited for an hour goes to the dead letters, and is no longer in the buffer.
        await world.ports.store.commit(
            ChangeSet(flow_id="f", telemetry=tuple(make_event(n, data={}) for n in range(12)))
        )
        assert (await api.client.post("/api/v1/telemetry/flush")).json()["dead_letters"] == 12
        old = await scraped(api)
        world.sink.down = False
        await world.platform.flush_telemetry()
        sent = await scraped(api)
    name = "neural_hive_flow_c_telemetry_buffer_size"
    assert (kept[name], old[name], sent[name]) == (7, 7, 0)
    assert kept['neural_hive_flow_c_telemetry_published_total{step="frame"}'] == 0
    assert sent['neural_hive_flow_c_telemetry_published_total{step="frame"}'] == 1
    assert sent['neural_hive_flow_c_steps_duration_seconds_count{step="C5"}'] == 1
    assert kept['neural_hive_flow_c_steps_duration_seconds_count{step="C5"}'] == 1


async def nothing() -> None:
    """Do nothing."""


async def scraped(api: Api) -> dict[str, float]:
    """Return the metrics as they are asked for over HTTP."""
    return read((await api.client.get("/metrics")).text)


async def test_gauges_are_absent_until_they_are_counted_and_when_they_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges = [
        metric.name
        for metric in CATALOGUE  # this process has no webhooks, no SLOs, no worker of the forge, and learns nothing
        if metric.kind is Kind.GAUGE
        and metric.name not in ("flowc_webhooks_waiting", "forge_pipelines_active")
        and not metric.name.startswith("sla_")
        and metric not in LEARNING
    ]
    assert len(gauges) == 7

    def seen() -> set[str]:
        return {name for name in gauges for series in values(metrics) if series.partition("{")[0] == name}

    metrics = Metrics()
    assert seen() == set(), "nothing was counted yet"
    async with running_world(tmp_path) as world:
        metrics = world.platform.metrics
        await world.register()
        await world.submit(decision(task("a", required_capabilities=["nobody has it"])))
        metrics.show({})
        metrics.observe(make_step(make_flow(), telemetry=(make_event(1, data={}),)))
        assert seen() == set(), "a process that only handles events has counted none"
        await world.platform.look_around()
        assert seen() == set(gauges)
        monkeypatch.setattr(metrics_module, "monotonic", lambda: monotonic() + GAUGES_LAST + 1)
        assert seen() == set(), "what was counted long ago is not shown as if it were so now"


def test_nothing_that_cloudwatch_is_told_is_a_gauge() -> None:
    kinds = {metric.name: metric.kind for metric in CATALOGUE}
    assert {kinds[name] for name in (*NAMES, *(name for name, _ in ENDS))} == {Kind.COUNTER}


async def test_a_round_sets_the_gauges(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = lambda _assignment: None
        await world.register()
        await world.submit(decision(task("a"), task("b", "a")))
        shown = await _shown(world, 'tickets_by_status{status="ASSIGNED"}', 1)
    assert shown['tickets_by_status{status="PENDING"}'] == 1
    assert shown["orchestration_workflows_active"] == 1
    assert shown['agents_active{status="HEALTHY",type="WORKER"}'] == 1
    assert shown['agents_active{status="UNHEALTHY",type="WORKER"}'] == 0
    assert shown["flowc_queue_depth"] == 0


async def test_an_approval_is_late_when_half_of_its_time_has_passed(tmp_path: Path) -> None:
    def asking(task_id: str, timeout_ms: int) -> dict[str, object]:
        return task(task_id, task_type="APPROVE", approval={"timeout_ms": timeout_ms})

    async with running_world(tmp_path) as world:
        flow_id = await world.submit(decision(asking("today", 86_400_000), asking("soon", 60_000)))
        await world.submit(decision(task("a"), requires_human_review=True))
        await world.ticket(flow_id, lambda one: one.status is TicketStatus.WAITING, "waits")
        assert (await _shown(world, 'tickets_by_status{status="WAITING"}', 2))["flowc_approvals_late"] == 0
        later = replace(world.ports, clock=_Later(timedelta(seconds=31)))
        gauges = Gauges(later, world.platform.instruments.queue, world.platform.metrics, Rules())
        await gauges.refresh()
        assert values(world.platform.metrics)["flowc_approvals_late"] == 1


class _Later:
    """A clock that is ahead."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return datetime.now(UTC) + self._by


async def _shown(world: LocalWorld, name: str, value: float) -> dict[str, float]:
    async def probe() -> dict[str, float] | None:
        await world.platform.instruments.gauges.refresh()
        await world.platform.catch_up()
        shown = values(world.platform.metrics)
        return shown if shown.get(name) == value else None

    return await until(probe, f"{name} = {value}")


async def test_a_failing_registry_counts_as_errors_and_conflicts_do_not() -> None:
    class Away(MemoryRegistry):
        async def workers(self) -> Sequence[Worker]:
            raise Unavailable("away")

    metrics = Metrics()
    registry = MeasuredRegistry(Away(State()), metrics)
    with pytest.raises(Unavailable):
        await registry.workers()
    await registry.put(make_worker())
    with pytest.raises(Conflict):
        await registry.put(make_worker())
    shown = values(metrics)
    assert shown['neural_hive_service_registry_calls_total{operation="discover",status="error"}'] == 1
    assert shown['neural_hive_service_registry_calls_total{operation="register",status="conflict"}'] == 1
    assert shown['neural_hive_service_registry_latency_seconds_count{operation="discover"}'] == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "busy"), (403, "refused"), (404, "refused"), (410, "refused"), (0, "unreachable"), (503, "failed")],
)
def test_a_message_that_was_not_taken_has_a_reason(status: int, reason: str) -> None:
    assert failure_of(Answer(status)) == reason
    assert reason in BY_NAME["webhooks_failed_total"].labels["reason"]


@pytest.mark.parametrize(
    ("outcome", "code", "reason"),
    [
        (Outcome.TIMED_OUT, "sla_timeout", "sla_timeout"),
        (Outcome.CANCELLED, "cancelled", "cancelled"),
        (Outcome.FAILED, "ticket_failed", "ticket_failed"),
        (Outcome.FAILED, "what a function said", "internal"),
        (Outcome.REJECTED, "missing_field", "invalid_decision"),
        (Outcome.REJECTED, "never seen before", "invalid_plan"),
        (Outcome.REJECTED, None, "invalid_plan"),
    ],
)
def test_every_failure_has_one_of_the_known_reasons(outcome: Outcome, code: str | None, reason: str) -> None:
    reasons = (Reason(code=code, message=""),) if code else ()
    assert failure_reason(make_flow(outcome=outcome, reasons=reasons)) == reason
    assert reason in BY_NAME["neural_hive_flow_c_failures_total"].labels["reason"]


def test_every_refusal_has_one_of_the_known_reasons() -> None:
    known = BY_NAME["neural_hive_flow_c_failures_total"].labels["reason"]
    assert {refusal(code) for code in ("duplicate_task_id", "empty_plan", "approval_required")} <= set(known)


def ended_step() -> ChangeSet:
    flow = make_flow(status=FlowStatus.COMPLETED, outcome=Outcome.COMPLETED, ended_at=T0 + seconds(3))
    entry = HistoryEntry(flow_id=flow.flow_id, at=T0, type="flow.completed", cause="c", to_status=flow.status)
    return ChangeSet(flow_id=flow.flow_id, flow=flow, history=(entry,))


def test_wrong_labels_and_missing_metrics_are_swallowed_and_counted() -> None:
    name = "neural_hive_flow_c_duration_seconds"
    wrong = replace(BY_NAME[name], labels={"status": OPEN, "surprise": OPEN})
    metrics = Metrics([*without(without(CATALOGUE, name), "neural_hive_flow_c_success_total"), wrong])
    metrics.observe(ended_step())
    metrics.count("no_such_metric_total", "a")
    metrics.show({("flowc_queue_depth", ()): 7})
    metrics.show({("flowc_queue_depth", ("a label too many",)): 1})
    metrics.time("flowc_queue_depth", 1)
    assert metrics.errors == 5
    assert values(metrics)["flowc_queue_depth"] == 7
    assert values(metrics)["flowc_metrics_errors_total"] == 5
    assert values(metrics)['orchestration_workflows_completed_total{status="COMPLETED"}'] == 1


def test_a_step_that_cannot_be_counted_is_swallowed_and_counted() -> None:
    metrics = Metrics()
    broken = replace(ended_step(), flow=object())  # type: ignore[arg-type] # what no code should ever hand over
    metrics.observe(broken)
    assert values(metrics)["flowc_metrics_errors_total"] == 1


def test_a_label_with_endless_values_stops_growing() -> None:
    metrics = Metrics()
    for number in range(MOST_SERIES + 5):
        metrics.count("flowc_transitions_total", str(number))
    shown = [name for name in values(metrics) if name.startswith("flowc_transitions_total")]
    assert (len(shown), metrics.errors) == (MOST_SERIES, 5)


async def test_requests_are_counted_by_route(tmp_path: Path) -> None:
    metrics = Metrics()
    async with running_api(tmp_path) as api:
        transport = httpx.ASGITransport(MeasuredApp(api.app, metrics))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            await client.get("/health")
            await client.get("/api/v1/flows/6f1c3f0e-58a5-5d0c-9a51-1f2b7c0d4e11")
            await client.get("/nowhere/at-all")
            await client.request("BREW", "/health")
    shown = values(metrics)
    assert shown['api_requests_total{code="200",method="GET",route="/health"}'] == 1
    assert shown['api_requests_total{code="404",method="GET",route="/api/v1/flows/{flow_id}"}'] == 1
    assert shown['api_errors_total{code="404",method="GET",route="unmatched"}'] == 1
    assert shown['neural_hive_flow_c_workflow_query_duration_seconds_count{query_name="status"}'] == 1
    assert shown['neural_hive_flow_c_workflow_query_failures_total{query_name="status",reason="unknown"}'] == 1
    assert [name for name in shown if 'method="other"' in name]


async def test_a_request_that_breaks_counts_as_a_500() -> None:
    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("broken")

    metrics = Metrics()
    transport = httpx.ASGITransport(MeasuredApp(broken, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        with pytest.raises(RuntimeError):
            await client.get("/")
    assert values(metrics)['api_errors_total{code="500",method="GET",route="unmatched"}'] == 1


async def test_gauges_that_cannot_be_counted_show_no_number() -> None:
    class Away(MemoryRegistry):
        async def workers(self) -> Sequence[Worker]:
            raise Unavailable("away")

    metrics, stores = Metrics(), MemoryStore().stores
    metrics.show({("agents_active", ("WORKER", "HEALTHY")): 3})
    ports = SimpleNamespace(registry=Away(State()), clock=SystemClock(), telemetry_buffer=stores.telemetry_buffer)
    with pytest.raises(Unavailable):
        await Gauges(cast("Ports", ports), stores.queue, metrics, Rules()).refresh()
    shown = values(metrics)
    assert 'agents_active{status="HEALTHY",type="WORKER"}' not in shown
    assert "neural_hive_flow_c_telemetry_buffer_size" not in shown


async def test_what_becomes_of_workers_is_counted(tmp_path: Path) -> None:
    # One that is looked at too late, after ten heartbeats, is removed without having been unhealthy.
    async with running_world(tmp_path, heartbeat_seconds=0.2) as world:
        await world.register("silent")
        await world.register("polite")
        await world.platform.heartbeat("polite", Heartbeat())
        await world.platform.deregister("polite", "done")
        shown = await _shown(world, 'agents_removed_total{reason="silent",type="WORKER"}', 1)
    assert shown['agents_registered_total{type="WORKER"}'] == 2
    assert shown['heartbeats_received_total{status="HEALTHY"}'] == 1
    assert shown['agents_deregistered_total{type="WORKER"}'] == 1
    assert shown['agents_marked_unhealthy_total{type="WORKER"}'] == 1


async def test_dead_letters_are_counted_and_those_of_telemetry_as_lost() -> None:
    metrics, stores = Metrics(), MemoryStore().stores
    letters = MeasuredDeadLetters(stores.dead_letters, metrics)
    queue = MeasuredQueue(stores.queue, metrics)
    event = decision_event({})
    await queue.enqueue([event])
    await queue.postpone(event.id, 1, T0)
    await queue.dead_letter(event.id, letter_of(event, "validate", Reason(code="internal", message=""), 3, T0))
    lost = Reason(code="sink_unavailable", message="")
    await letters.put(letter_of(event, "publish_telemetry", lost, 1, T0))
    shown = values(metrics)
    assert shown["flowc_events_postponed_total"] == 1
    assert shown['flowc_dead_letters_total{code="internal",function="validate"}'] == 1
    assert shown["ticket_dlq_total"] == 2
    assert shown["neural_hive_flow_c_telemetry_lost_total"] == 1


def test_tokens_that_are_refused_are_counted_by_reason() -> None:
    metrics = Metrics()
    tokens = MeasuredTokens(JwtTokens(b"k" * 32, SystemClock()), metrics)
    with pytest.raises(Rejected) as refused:
        tokens.claims("no token at all")
    assert values(metrics)[f'jwt_validation_failures_total{{reason="{refused.value.code}"}}'] == 1
    with pytest.raises(Rejected) as foreign:
        tokens.verify({"ticket_id": "another"}, ticket_id="t")
    assert values(metrics)[f'jwt_validation_failures_total{{reason="{foreign.value.code}"}}'] == 1


def test_a_distribution_counts_up_to_and_including_its_bounds() -> None:
    metrics = Metrics([Metric("waits_seconds", Kind.HISTOGRAM, "Waits", buckets=(1.0, 2.5))])
    for value in (0.5, 1, 2, 99):
        metrics.time("waits_seconds", value)
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    assert lines == [
        'waits_seconds_bucket{le="1.0"} 2.0',
        'waits_seconds_bucket{le="2.5"} 3.0',
        'waits_seconds_bucket{le="+Inf"} 4.0',
        "waits_seconds_count 4.0",
        "waits_seconds_sum 102.5",
    ]
