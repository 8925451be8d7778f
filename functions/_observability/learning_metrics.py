"""Counts what is learnt from flows, by the names of `learning_catalogue`. Counting never raises and decides nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from functions._observability.gauges import Gauges
from functions._observability.learning_catalogue import HORIZONS
from functions._observability.metrics import Gauge, Metrics

ML = "orchestration_ml"
DURATION = "duration"
"""The model that flows have: how long work takes."""


class LearningGauges:
    """The gauges of models and insights as one process knows them: what is not told again stays as it was."""

    def __init__(self, gauges: Gauges, by: str) -> None:
        self._gauges, self._by = gauges, by
        self._known: dict[Gauge, float] = {}

    def show(self, found: Mapping[Gauge, float], *, instead_of: str = "") -> None:
        """Show these beside those that are known, without the series of the metric `instead_of`."""
        self._known = {gauge: value for gauge, value in self._known.items() if gauge[0] != instead_of} | {**found}
        self._gauges.keep(self._known, self._by)


def record_prediction(
    metrics: Metrics, *, failed: bool = False, by: int = 1, took: float | None = None, model_type: str = DURATION
) -> None:
    """Count predictions that were asked for; each took `took` seconds. What `failed` was answered by the estimate."""
    metrics.count(f"{ML}_predictions_total", model_type, "error" if failed else "success", by=by)
    if took is not None:
        metrics.time(f"{ML}_prediction_duration_seconds", took, model_type)


def record_anomaly_detection(metrics: Metrics, kind: str, by: int = 1) -> None:
    """Count anomalies of one of the four kinds: duration, resources, failures or load."""
    metrics.count(f"{ML}_anomalies_detected_total", kind, by=by)


def record_load_forecast(metrics: Metrics, gauges: LearningGauges, mape: float | None, bottlenecks: int = 0) -> None:
    """Count a forecast of the next day, by its horizons, with its error on the last day, a ratio or None.

    `bottlenecks` are the capabilities that will not suffice by it.
    """
    for horizon in HORIZONS:
        metrics.count(f"{ML}_forecasts_total", horizon)
    metrics.count(f"{ML}_predictions_total", "load", "success")
    if mape is not None:
        gauges.show({(f"{ML}_forecast_mape", ()): mape})
    if bottlenecks:
        metrics.count(f"{ML}_bottlenecks_predicted_total", by=bottlenecks)


def record_query(metrics: Metrics, source: str, took: float, status: str) -> None:
    """Count a query of one source, which took `took` seconds."""
    metrics.count("analyst_queries_executed_total", source, status)
    metrics.time("analyst_query_duration_seconds", took, source)


def record_cache(metrics: Metrics, operation: str, result: str) -> None:
    """Count an operation on what is remembered of insights."""
    metrics.count("analyst_cache_operations_total", operation, result)


def record_unusable(metrics: Metrics, counted: int, total: int) -> int:
    """Count what models have said that was not used, in all `total`, of which some are `counted`; return `total`."""
    if total > counted:
        record_prediction(metrics, failed=True, by=total - counted)
    return total


def record_training(
    metrics: Metrics, *, failed: bool = False, by_hand: bool = False, seconds: float | None = None, name: str = DURATION
) -> None:
    """Count a training and how long it took."""
    metrics.count(f"{ML}_training_jobs_total", "failure" if failed else "success", "manual" if by_hand else "schedule")
    if seconds is not None:
        metrics.time(f"{ML}_training_duration_seconds", seconds, name)


def record_promotion(metrics: Metrics, result: str, name: str = DURATION) -> None:
    """Count what became of a model: shadow, serving, refused, rolled_back or retired."""
    metrics.count(f"{ML}_model_promotion_total", name, result)


def record_model(
    gauges: LearningGauges,
    number: int,
    rows: int,
    trained_at: datetime,
    figures: Mapping[str, float],
    name: str = DURATION,
) -> None:
    """Show the model that serves: its number, its rows, when it was trained, its figures on data held out."""
    shown: dict[Gauge, float] = {
        (f"{ML}_model_version", (name,)): number,
        (f"{ML}_training_samples_used", (name,)): rows,
        (f"{ML}_training_timestamp", (name,)): trained_at.timestamp(),
    }
    accuracy = f"{ML}_model_accuracy"
    shown |= {(accuracy, (name, kind)): value for kind, value in figures.items()}
    gauges.show(shown, instead_of=accuracy)


def record_drift(
    metrics: Metrics,
    gauges: LearningGauges,
    at: datetime,
    psi: Mapping[str, float],
    mae_ratio: float | None,
    drifted: tuple[str, ...],
    name: str = DURATION,
) -> None:
    """Show how far each feature and the error have moved, and count what has `drifted`; `error` is the prediction."""
    score = f"{ML}_drift_score"
    shown: dict[Gauge, float] = {(score, (name, "feature", feature)): value for feature, value in psi.items()}
    if mae_ratio is not None:
        shown[score, (name, "prediction", "mae_ratio")] = mae_ratio
    shown[f"{ML}_drift_check_timestamp", ()] = at.timestamp()
    gauges.show(shown, instead_of=score)
    for one in drifted:
        metrics.count(f"{ML}_drift_alerts_total", "prediction" if one == "error" else "feature")


class InsightCounts(Protocol):
    """What a round of `analyze` did: see `Analyzed` there."""

    @property
    def insights(self) -> Mapping[tuple[str, str], int]:
        """How many insights were made, by type and priority."""

    @property
    def anomalies(self) -> Mapping[tuple[str, str], int]:
        """How many anomalies were found, by the figure and the method."""

    @property
    def seconds(self) -> float:
        """How long it took."""

    @property
    def expired(self) -> int:
        """How many insights were forgotten."""


def record_insights(metrics: Metrics, analyzed: InsightCounts) -> None:
    """Count what a round of `analyze` did."""
    for labels, number in analyzed.insights.items():
        metrics.count("analyst_insights_generated_total", *labels, by=number)
    for labels, number in analyzed.anomalies.items():
        metrics.count("analyst_anomalies_detected_total", *labels, by=number)
    metrics.time("analyst_insight_generation_duration_seconds", analyzed.seconds)
    if analyzed.expired:
        metrics.count("analyst_insights_expired_total", by=analyzed.expired)
