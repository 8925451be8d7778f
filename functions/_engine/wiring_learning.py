"""The functions that learn, as the engine calls them: one round of each, and what it counts for."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from threading import Event
from time import perf_counter, process_time

from functions._core.events.envelope import CloudEvent
from functions._core.learning.anomaly_kinds import AnomalyKind
from functions._core.learning.load_forecast import HORIZONS
from functions._core.learning.predictions import PlannedWork
from functions._core.learning.state import TrainingFailed
from functions._core.ports import Ports
from functions._core.records.values import Priority, RiskBand, SecurityLevel
from functions._core.rules import Rules
from functions._learning.training import trained, trained_apart
from functions._observability.instruments import Instruments
from functions._observability.learning_metrics import (
    DURATION,
    LearningGauges,
    record_anomaly_detection,
    record_drift,
    record_insights,
    record_load_forecast,
    record_model,
    record_promotion,
    record_training,
)
from functions._observability.logs import log
from functions._observability.metrics import Metrics
from functions.analyze.function import analyze
from functions.learn.function import Learned, learn
from functions.learn.outlook import unusual_work
from functions.learn.trainings import BY_SCHEDULE

LONGEST = HORIZONS[-1]
"""The horizon whose error is shown, in minutes."""

TIMED = 20
"""Predictions of the serving model that are timed in a round; a flow's own are not, as the clock would cost as much."""

SAMPLE = PlannedWork(
    task_type="TRANSFORM",
    task_id="any",
    domain=None,
    capabilities=("any",),
    estimate_ms=1_000,
    parameters_bytes=100,
    risk_band=RiskBand.LOW,
    priority=Priority.NORMAL,
    security_level=SecurityLevel.INTERNAL,
    level=1,
    fan_in=1,
    fan_out=1,
    plan_tasks=3,
    sla_ms=60_000,
    at=datetime(2026, 1, 5, 12, tzinfo=UTC),
)
"""Work that a model is asked about to see how long it takes."""

Send = Callable[[tuple[CloudEvent, ...]], Awaitable[None]]
"""Makes events durable; see `Learning`."""


async def learn_once(ports: Ports, instruments: Instruments, shown: LearningGauges, alone: bool) -> bool:  # noqa: FBT001 as `Doing` has it
    """Do a round of `learn`; return whether history is left over. One that is `alone` serves flows: it trains apart."""
    stopped = Event()
    try:
        done = await learn(ports, trains=partial(trained_apart, stopped=stopped) if alone else trained)
    finally:
        stopped.set()
    _count(instruments.metrics, shown, done)
    if done.drift is not None:
        drift = done.drift
        record_drift(instruments.metrics, shown, ports.clock.now(), drift.psi, drift.mae_ratio, drift.drifted)
    if done.complete:
        await _shown_beside(ports, instruments.metrics)
    if done.failed is not None:
        raise TrainingFailed(done.failed)
    return not done.complete


async def _shown_beside(ports: Ports, metrics: Metrics) -> None:
    """Count what was unusual in the last hour, and time the model that serves."""
    for kind, number in (await unusual_work(ports, ports.clock.now())).items():
        record_anomaly_detection(metrics, kind, number)
    serving = await ports.predictions.serving()
    if serving is not None:
        begun = perf_counter()
        for _ in range(TIMED):
            serving.predictor.quantiles(SAMPLE)
        metrics.time("orchestration_ml_prediction_duration_seconds", (perf_counter() - begun) / TIMED, DURATION)


def _count(metrics: Metrics, shown: LearningGauges, done: Learned) -> None:
    metrics.count("orchestration_ml_rows_total", by=done.rows)
    if done.failed is not None:
        record_training(metrics, failed=True)
    trained_now = done.trained
    if trained_now is not None:
        record = trained_now.record
        by_hand = record is not None and record.created_by != BY_SCHEDULE
        record_training(metrics, by_hand=by_hand, seconds=trained_now.seconds)
        if record is not None:
            record_promotion(metrics, record.state.value.lower())
    for result, model_id in (("serving", done.promoted), ("refused", done.refused), ("rolled_back", done.rolled_back)):
        if model_id is not None:
            record_promotion(metrics, result)
            log.info(f"model.{result}", model=model_id)
    if (model := done.serving) is not None:
        record_model(shown, model.number, model.rows, model.trained_at, model.metrics)


async def analyze_once(ports: Ports, instruments: Instruments, shown: LearningGauges, send: Send, rules: Rules) -> bool:
    """Do a round of `analyze`; return whether windows are left over."""
    begun = process_time()
    done = await analyze(ports, partial(_sent, send), rules=rules)
    instruments.metrics.count("analyst_cpu_seconds_total", by=process_time() - begun)
    record_insights(instruments.metrics, done)
    shown.show({("analyst_windows_waiting", ()): done.behind, ("analyst_peak_memory_bytes", ()): peak_memory()})
    if done.forecast:
        record_load_forecast(instruments.metrics, shown, done.forecast[LONGEST], done.bottlenecks)
    if number := done.odd.get(AnomalyKind.LOAD, 0):  # those of tickets are counted by `learn`
        record_anomaly_detection(instruments.metrics, "load", number)
    if done.kept:
        shown.show({("analyst_insights_cached", ()): done.kept})
    for rule, error in done.failed.items():
        log.warning("rule.failed", rule=rule, error=error)
    return done.behind > 0 and done.windows > 0


async def _sent(send: Send, events: Sequence[CloudEvent]) -> None:
    await send(tuple(events))


def peak_memory() -> float:
    """Return how many bytes of memory the process has had at most, 0 where the system does not say it."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(getrusage(RUSAGE_SELF).ru_maxrss * unit)
