"""The metrics of what is learnt from flows, as data: of insights, and of the models that predict. See `catalogue`."""

from collections.abc import Sequence

from functions._observability.metric import CALL_BUCKETS, OPEN, Kind, Metric, counter, gauge, seconds

INSIGHT_TYPES = ("STRATEGIC", "OPERATIONAL", "PREDICTIVE", "CAUSAL", "ANOMALY")
INSIGHT_PRIORITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
QUERY_SOURCES = ("TELEMETRY", "LOGS", "GRAPH", "METRICS", "HISTORICAL", "MEMORY")
SOURCE_ANSWERS = ("ok", "timeout", "unavailable", "refused")
ANOMALY_METHODS = ("zscore", "iqr", "isolation_forest")
ANOMALY_KINDS = ("duration", "resources", "failures", "load")
"""Words of insights, whose models most functions do not import."""

MODEL_TYPES = ("duration", "load", "anomaly")
HORIZONS = ("60", "360", "1440")
"""What is predicted, and how many minutes ahead loads are."""

CACHED = ("get", "put", "invalidate")
DRIFTS = ("feature", "prediction")
"""The distribution of what is planned or done is another one, or predictions are worse than at training."""

PROMOTIONS = ("shadow", "serving", "refused", "rolled_back", "retired")
INSIGHT_BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
PREDICTION_BUCKETS = (0.000_01, 0.000_1, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0)
ERROR_BUCKETS = (0.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0, 120_000.0, 300_000.0, 3_600_000.0)
TRAINING_BUCKETS = (1.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

ANALYSTS = (
    counter(
        "analyst_insights_generated_total", "Insights made", insight_type=INSIGHT_TYPES, priority=INSIGHT_PRIORITIES
    ),
    seconds("analyst_insight_generation_duration_seconds", "Look through the windows that are due", INSIGHT_BUCKETS),
    counter("analyst_rounds_total", "Such looks, by how they ended", result=("success", "error")),
    gauge("analyst_windows_waiting", "Windows of five minutes that nobody has looked through yet", "windows"),
    counter("analyst_insights_expired_total", "Insights forgotten, as their time was over"),
    counter("analyst_queries_executed_total", "Queries", source=QUERY_SOURCES, status=SOURCE_ANSWERS),
    seconds("analyst_query_duration_seconds", "Query of one source", CALL_BUCKETS, source=QUERY_SOURCES),
    counter("analyst_anomalies_detected_total", "Anomalies found", metric_name=OPEN, method=ANOMALY_METHODS),
    counter("analyst_cache_operations_total", "Reads of caches", operation=CACHED, result=("hit", "miss", "done")),
    gauge("analyst_insights_cached", "Insights that are kept", "insights"),
    counter("analyst_cpu_seconds_total", "CPU of the process while it looked through windows, all that it did then"),
    gauge("analyst_peak_memory_bytes", "Most memory that the process has had, after such a look", "bytes"),
)

OF_MODEL, OF_TYPE = {"model_name": MODEL_TYPES}, {"model_type": MODEL_TYPES}
ML = "orchestration_ml"
MODELS = (
    counter(f"{ML}_predictions_total", "Predictions asked for", **OF_TYPE, status=("success", "error")),
    seconds(f"{ML}_prediction_duration_seconds", "One prediction", PREDICTION_BUCKETS, **OF_TYPE),
    Metric(f"{ML}_prediction_error", Kind.HISTOGRAM, "Median predicted, off by", OF_TYPE, ERROR_BUCKETS, "ms"),
    counter(
        f"{ML}_prediction_coverage_total", "Tickets predicted, by where they ended", within=("p50", "p90", "beyond")
    ),
    counter(f"{ML}_anomalies_detected_total", "Anomalies of tickets and loads", anomaly_type=ANOMALY_KINDS),
    counter(f"{ML}_forecasts_total", "Forecasts of loads", horizon=HORIZONS),
    gauge(f"{ML}_forecast_mape", "Error of the last forecast on the last day, 0 to 1", "ratio"),
    counter(f"{ML}_bottlenecks_predicted_total", "Capabilities that will not suffice, by a forecast"),
    gauge(f"{ML}_drift_score", "Distance from what was learnt", "", **OF_MODEL, drift_type=DRIFTS, feature=OPEN),
    counter(f"{ML}_drift_alerts_total", "What was found to drift", drift_type=DRIFTS),
    gauge(f"{ML}_drift_check_timestamp", "When drift was looked for last", "seconds"),
    counter(f"{ML}_training_jobs_total", "Trainings", status=("success", "failure"), trigger=("schedule", "manual")),
    seconds(f"{ML}_training_duration_seconds", "Training of a model", TRAINING_BUCKETS, **OF_TYPE),
    gauge(f"{ML}_training_samples_used", "Rows that a model was trained on", "rows", **OF_MODEL),
    gauge(f"{ML}_training_timestamp", "When the model that serves was trained", "seconds", **OF_MODEL),
    gauge(f"{ML}_model_accuracy", "Figures on data held out", "", **OF_MODEL, metric_type=OPEN),
    gauge(f"{ML}_model_version", "Number of the model that serves", "", **OF_MODEL),
    counter(f"{ML}_model_promotion_total", "Models by what became of them", **OF_MODEL, result=PROMOTIONS),
    counter(f"{ML}_rows_total", "Tickets that were learnt from"),
    counter(f"{ML}_rounds_total", "Rounds of learning, by how they ended", result=("success", "error")),
)
LEARNING: Sequence[Metric] = (
    gauge("flowc_learning_enabled", "Whether the settings ask for it; absent where not", function=("learn", "analyze")),
    *ANALYSTS,
    *MODELS,
)
