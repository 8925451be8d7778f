"""Learning and insights as a process does them: real rounds over a store, what they count, a platform that has both."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from functions._adapters.memory import MemoryStore
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.learning import anomaly_kinds
from functions._core.learning.anomaly_kinds import AnomalyKind
from functions._core.learning.drift import Drift
from functions._core.learning.guard import UNUSABLE
from functions._core.learning.model_record import ModelRecord, ModelState
from functions._core.learning.predictions import PlannedWork, Quantiles, Serving
from functions._core.learning.progress import ask
from functions._core.learning.state import TrainingFailed
from functions._core.ports import Ports
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Ticket
from functions._core.records.prediction import Prediction
from functions._core.rules import Rules
from functions._engine import wiring_learning as module
from functions._engine.wiring_learning import analyze_once, learn_once, peak_memory
from functions._observability.dispatch_result import Handling
from functions._observability.instruments import Instruments
from functions._observability.learning_metrics import (
    LearningGauges,
    record_anomaly_detection,
    record_load_forecast,
    record_prediction,
)
from functions.analyze.function import Analyzed
from functions.learn import outlook
from functions.learn.function import Learned
from functions.learn.trainings import TrainingDone
from tests.support.builders import later, make_flow, make_step, make_ticket
from tests.support.clocks import HandClock
from tests.support.one_machine import one_machine
from tests.support.slo_history import NOW, ended_flow, ports_of
from tests.unit.test_metrics import read, values

ML = "orchestration_ml"
WORK = {"status": "COMPLETED", "completed_at": NOW, "actual_duration_ms": 900, "worker_id": "w1", "attempt": 1}


class World:
    """A store with flows that have ended, and the instruments of a process."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.ports, self.clock = ports_of(store.stores)
        self.instruments = Instruments(self.ports, store.stores.queue, Rules())
        self.told: list[CloudEvent] = []
        self.models = LearningGauges(self.instruments.gauges, "models")
        self.insights = LearningGauges(self.instruments.gauges, "insights")

    async def learn(self) -> bool:
        return await learn_once(self.ports, self.instruments, self.models, alone=False)

    async def analyze(self) -> bool:
        return await analyze_once(self.ports, self.instruments, self.insights, self.send, Rules())

    async def send(self, events: tuple[CloudEvent, ...]) -> None:
        self.told += events

    def shown(self) -> dict[str, float]:
        return values(self.instruments.metrics)


@pytest.fixture
async def world() -> World:
    made = World()
    for number in range(1, 9):
        end = NOW - timedelta(minutes=number)
        ticket = {**WORK, "completed_at": end, "assigned_at": end - timedelta(seconds=1)}
        await ended_flow(made.ports, number, end, "COMPLETED" if number > 4 else "FAILED", tickets=(ticket,))
    return made


def at(clock: HandClock, minutes: float) -> None:
    clock.time = NOW + timedelta(minutes=minutes)


async def test_a_round_of_learn_takes_history_in_and_counts_it(world: World) -> None:
    at(world.clock, 10)
    assert await world.learn() is False
    assert world.shown()[f"{ML}_rows_total"] == 8
    await world.learn()
    assert world.shown()[f"{ML}_rows_total"] == 8, "each once"


async def test_a_training_that_somebody_asks_for_is_counted_and_told_apart_from_weekly_ones(world: World) -> None:
    at(world.clock, 10)
    await ask(world.ports.key_values, "ann", world.clock.now())
    await world.learn()
    shown = world.shown()
    assert shown[f'{ML}_training_jobs_total{{status="success",trigger="schedule"}}'] == 1
    assert shown[f'{ML}_training_duration_seconds_count{{model_type="duration"}}'] == 1


A_MODEL = ModelRecord(
    name="duration",
    number=7,
    kind="table",
    state=ModelState.SHADOW,
    state_at=NOW,
    trained_at=NOW,
    created_by="ann",
    rows=1234,
    held_out_rows=200,
    metrics={"mae_ms": 250.0, "r2": 0.9},
)


async def did(world: World, monkeypatch: pytest.MonkeyPatch, done: Learned) -> dict[str, float]:
    """Return the metrics after a round that did this."""

    async def learnt(_ports: Ports, **_: object) -> Learned:
        return done

    monkeypatch.setattr(module, "learn", learnt)
    await world.learn()
    return world.shown()


async def test_what_becomes_of_models_is_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    drift = Drift(psi={"estimate": 0.4}, p_values={}, mae_ratio=1.7, drifted=("estimate", "error"))
    done = Learned(
        flows=1,
        rows=5,
        complete=True,
        serving=A_MODEL,
        trained=TrainingDone(A_MODEL, 1234, 12.0),
        rolled_back="duration:6",
        promoted="duration:7",
        drift=drift,
    )
    shown = await did(world, monkeypatch, done)
    for name, value in {
        '_model_version{model_name="duration"}': 7,
        '_training_samples_used{model_name="duration"}': 1234,
        '_training_timestamp{model_name="duration"}': NOW.timestamp(),
        '_model_accuracy{metric_type="mae_ms",model_name="duration"}': 250,
        '_model_accuracy{metric_type="r2",model_name="duration"}': 0.9,
        '_training_jobs_total{status="success",trigger="manual"}': 1,
        '_model_promotion_total{model_name="duration",result="shadow"}': 1,
        '_model_promotion_total{model_name="duration",result="serving"}': 1,
        '_model_promotion_total{model_name="duration",result="rolled_back"}': 1,
        '_drift_score{drift_type="feature",feature="estimate",model_name="duration"}': 0.4,
        '_drift_score{drift_type="prediction",feature="mae_ratio",model_name="duration"}': 1.7,
        '_drift_alerts_total{drift_type="feature"}': 1,
        '_drift_alerts_total{drift_type="prediction"}': 1,
        "_drift_check_timestamp": NOW.timestamp(),
    }.items():
        assert shown[f"{ML}{name}"] == value, name
    other = A_MODEL.but(number=8, metrics={"mae_ms": 100.0})
    shown = await did(world, monkeypatch, Learned(flows=0, rows=0, complete=True, serving=other))
    assert shown[f'{ML}_model_version{{model_name="duration"}}'] == 8
    assert [name for name in shown if "_model_accuracy" in name] == [
        f'{ML}_model_accuracy{{metric_type="mae_ms",model_name="duration"}}'
    ], "what another model had is gone"
    assert f'{ML}_drift_score{{drift_type="feature",feature="estimate",model_name="duration"}}' in shown


async def test_a_training_that_fails_is_counted_and_is_the_error_of_its_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingFailed, match="no memory"):
        await did(world, monkeypatch, Learned(flows=0, rows=0, complete=True, failed="no memory"))
    assert world.shown()[f'{ML}_training_jobs_total{{status="failure",trigger="schedule"}}'] == 1


async def test_what_was_unusual_in_the_last_hour_is_counted_and_the_serving_model_is_timed(world: World) -> None:
    class Quick:
        version = "duration:1"

        def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
            assert worker_id is None
            return Quantiles(work.estimate_ms, 2 * work.estimate_ms)

    class Known:
        async def serving(self) -> Serving:
            return Serving(Quick(), acts=True)

    for number in range(20, 120):
        end = NOW - timedelta(hours=3) - timedelta(seconds=number)
        ticket = {**WORK, "completed_at": end, "assigned_at": end - timedelta(seconds=1)}
        await ended_flow(world.ports, number, end, tickets=(ticket | {"actual_duration_ms": 900 + number % 7},))
    slow = {**WORK, "completed_at": NOW, "assigned_at": NOW - timedelta(minutes=9), "actual_duration_ms": 540_000}
    await ended_flow(world.ports, 200, NOW, tickets=(slow,))
    world.ports = replace(world.ports, predictions=Known())
    at(world.clock, 10)
    await world.learn()
    shown = world.shown()
    assert shown[f'{ML}_anomalies_detected_total{{anomaly_type="duration"}}'] >= 1
    assert shown[f'{ML}_prediction_duration_seconds_count{{model_type="duration"}}'] == 1


async def test_windows_become_insights_that_are_told_and_counted(world: World) -> None:
    at(world.clock, -9)
    await world.analyze()  # the first look begins now, not with all of history
    more = True
    for minutes in range(-4, 10):
        at(world.clock, minutes)
        more = await world.analyze()
    assert more is False
    shown = world.shown()
    made = sum(value for name, value in shown.items() if name.startswith("analyst_insights_generated_total{"))
    assert made >= 1
    assert {event.event_type for event in world.told} >= {"insights.analyzed"}
    assert shown["analyst_windows_waiting"] == 0
    assert shown["analyst_insights_cached"] == made
    assert 10_000_000 < shown["analyst_peak_memory_bytes"] <= peak_memory()
    assert shown["analyst_cpu_seconds_total"] > 0
    assert shown["analyst_insight_generation_duration_seconds_count"] == 15


async def test_what_an_hourly_look_brings_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def analyzed(*_: object, **__: object) -> Analyzed:
        odd = dict.fromkeys(AnomalyKind, 2)
        return Analyzed(forecast={60: 0.2, 360: None, 1440: 0.3}, bottlenecks=3, odd=odd)

    monkeypatch.setattr(module, "analyze", analyzed)
    await world.analyze()
    shown = world.shown()
    assert shown[f'{ML}_forecasts_total{{horizon="1440"}}'] == 1
    assert shown[f"{ML}_forecast_mape"] == 0.3
    assert shown[f'{ML}_anomalies_detected_total{{anomaly_type="load"}}'] == 2
    assert shown[f'{ML}_anomalies_detected_total{{anomaly_type="duration"}}'] == 0, "`learn` counts them"


async def test_others_count_predictions_anomalies_and_forecasts(world: World) -> None:
    metrics = world.instruments.metrics
    record_prediction(metrics, failed=True, by=3)
    record_prediction(metrics, took=0.001)
    record_anomaly_detection(metrics, "resources", 2)
    record_load_forecast(metrics, world.models, 0.1, bottlenecks=2)
    record_load_forecast(metrics, world.models, None)
    shown = world.shown()
    assert shown[f'{ML}_predictions_total{{model_type="duration",status="error"}}'] == 3
    assert shown[f'{ML}_prediction_duration_seconds_count{{model_type="duration"}}'] == 1
    assert shown[f'{ML}_anomalies_detected_total{{anomaly_type="resources"}}'] == 2
    assert shown[f'{ML}_forecasts_total{{horizon="360"}}'] == 2
    assert shown[f"{ML}_forecast_mape"] == 0.1
    assert shown[f"{ML}_bottlenecks_predicted_total"] == 2
    assert metrics.errors == 0


async def test_a_word_of_a_model_that_was_not_used_is_counted(world: World) -> None:
    failed = Rejected("no", code="any")
    handling = Handling(
        function="validate", type="plan.validated", flow_id="f", begun_at=NOW, seconds=0.1, error=failed
    )
    UNUSABLE["no_number"] += 2
    world.instruments.handled(handling)
    world.instruments.handled(handling)
    assert world.shown()[f'{ML}_predictions_total{{model_type="duration",status="error"}}'] == 2


async def test_queries_and_caches_of_analysts_are_counted(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as world:
        for _ in range(2):
            assert (await world.client.get("/api/v1/insights")).status_code == 200
        form = {"sources": ["HISTORICAL"]}
        assert (await world.client.post("/api/v1/analytics/query", json=form)).status_code == 200
        shown = read((await world.client.get("/metrics")).text)
    assert shown['analyst_cache_operations_total{operation="get",result="miss"}'] >= 1
    assert shown['analyst_cache_operations_total{operation="get",result="hit"}'] >= 1
    assert shown['analyst_queries_executed_total{source="HISTORICAL",status="ok"}'] == 1
    assert shown['analyst_query_duration_seconds_count{source="HISTORICAL"}'] == 1
    assert shown["flowc_metrics_errors_total"] == 0


def moved(ticket: Ticket) -> HistoryEntry:
    return HistoryEntry(
        flow_id=ticket.flow_id,
        at=NOW,
        type="ticket.completed",
        cause="completed",
        ticket_id=ticket.ticket_id,
        from_status="RUNNING",
        to_status="COMPLETED",
    )


def test_predictions_are_counted_where_tickets_are_made_and_judged_where_they_end() -> None:
    instruments = World().instruments
    flow = make_flow()
    prediction = Prediction(p50_ms=1000, p90_ms=2000, model="duration:7")
    running = make_ticket(flow, 1, status="RUNNING", prediction=prediction)
    generated = HistoryEntry(flow_id=flow.flow_id, at=NOW, type="tickets.generated", cause="generated")
    made = make_step(flow, running, make_ticket(flow, 2), history=(generated,))
    instruments.metrics.observe(made)
    for actual in (900, 1500, 5000):
        done = later(running, status="COMPLETED", actual_duration_ms=actual)
        instruments.metrics.observe(make_step(flow, done, history=(moved(done),)))
    plain = make_ticket(flow, 2, status="RUNNING")
    over = later(plain, status="COMPLETED", actual_duration_ms=5)
    instruments.metrics.observe(make_step(flow, over, history=(moved(over),)))
    shown = values(instruments.metrics)
    assert instruments.metrics.errors == 0
    assert shown[f'{ML}_predictions_total{{model_type="duration",status="success"}}'] == 1
    assert shown[f'{ML}_prediction_error_count{{model_type="duration"}}'] == 3
    for within in ("p50", "p90", "beyond"):
        assert shown[f'{ML}_prediction_coverage_total{{within="{within}"}}'] == 1


async def test_a_platform_that_has_both_on_goes_rounds_and_says_so(tmp_path: Path) -> None:
    async with one_machine(tmp_path, learning="on", insights=True) as world:
        platform = world.running.engine
        await platform.catch_up()
        for name in ("learn", "analyze"):
            await platform.companions.learning.ticks[name]()
        shown = read((await world.client.get("/metrics")).text)
        answer = await world.client.get("/api/v1/flows")
    assert answer.status_code == 200
    for function, name in (("learn", f"{ML}_rounds_total"), ("analyze", "analyst_rounds_total")):
        assert shown[f'flowc_learning_enabled{{function="{function}"}}'] == 1
        assert shown[f'{name}{{result="success"}}'] == 1
        assert shown[f'{name}{{result="error"}}'] == 0


async def test_a_flow_of_more_tickets_than_are_looked_at_fails_no_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (anomaly_kinds, outlook):
        monkeypatch.setattr(place, "MAX_ROWS", 3, raising=False)
    at(world.clock, 10)
    assert await world.learn() is False


async def test_no_flow_waits_for_its_turn_while_a_model_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans with conditions and large ones are computed in turns; what is learnt has turns of its own."""
    begun, gone_on, seen = Event(), Event(), list[bool]()

    def train() -> None:
        begun.set()
        seen.append(gone_on.wait(20))

    async def learnt(ports: Ports, *_: object) -> bool:
        await ports.beside(train)
        return False

    monkeypatch.setattr(module, "learn_once", learnt)
    async with one_machine(tmp_path, learning="on") as world:
        platform = world.running.engine
        await platform.companions.learning.round()
        await asyncio.to_thread(begun.wait, 20)
        await platform.ports.beside(gone_on.set)
        while platform.companions.learning.busy:
            await asyncio.sleep(0.01)
    assert seen == [True]
