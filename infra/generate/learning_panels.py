"""The panels of the dashboards of insights and of models."""

from infra.generate.alerts import CALLS
from infra.generate.learning_alerts import (
    ANALYST_RULES,
    CACHES,
    COVERAGE,
    CPU,
    DRIFT,
    ENABLED,
    FOUND,
    INSIGHTS,
    LOOKS,
    MEMORY,
    MODEL_RULES,
    PREDICTIONS,
    PROMOTIONS,
    QUERIES,
    REQUESTS,
    ROUNDS,
    SAMPLES,
    TRAINED,
    TRAININGS,
    WAITING,
)
from infra.generate.panels import RATE, Panel, Rows, quantiles, rate, rates

LOOK = "analyst_insight_generation_duration_seconds"
ML = "orchestration_ml"
SEMANTICS, ANALYTICS = '{route=~"/api/v1/semantics/.*"}', '{route=~"/api/v1/analytics/.*"}'


def _routes(matching: str) -> tuple[tuple[str, str], ...]:
    return ((f"sum by (route) (rate(api_requests_total{matching}[{RATE}]))", "{{route}}"),)


def _slow(name: str, matching: str) -> tuple[tuple[str, str], ...]:
    return ((f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket{matching}[{RATE}])))", "p95"),)


INSIGHT_ROWS: Rows = (
    (
        "Overview",
        (
            Panel("On", ((f"max by (function) ({ENABLED})", "{{function}}"),), kind="stat"),
            Panel("Insights kept", (("max(analyst_insights_cached)", "insights"),), kind="stat"),
            Panel("Alerts", tuple((rule.state, rule.alert) for rule in ANALYST_RULES), kind="state-timeline"),
        ),
    ),
    (
        "Insights",
        (
            Panel("Made, by type", rate(INSIGHTS, "insight_type")),
            Panel("Made, by priority", rate(INSIGHTS, "priority")),
            Panel("Forgotten", rates("analyst_insights_expired_total")),
        ),
    ),
    (
        "Windows",
        (
            Panel("Waiting", ((f"max({WAITING})", "windows"),)),
            Panel("Looks", rate(LOOKS, "result")),
        ),
    ),
    (
        "Queries",
        (
            Panel("By source", rate("analyst_queries_executed_total", "source")),
            Panel("By status", rate("analyst_queries_executed_total", "status")),
        ),
    ),
    (
        "Analytics",
        (
            Panel("Anomalies by figure", rate(FOUND, "metric_name")),
            Panel("Anomalies by method", rate(FOUND, "method")),
            Panel("Requests for analyses", _routes(ANALYTICS)),
        ),
    ),
    (
        "Performance",
        (
            Panel("Look through windows", quantiles(LOOK), "s"),
            Panel("Query by source", quantiles(QUERIES, "source"), "s"),
        ),
    ),
    (
        "Errors",
        (
            Panel("Looks that failed", ((f'sum(rate({LOOKS}{{result="error"}}[{RATE}]))', "failed"),)),
            Panel("Calls of the store", rate(CALLS, "status")),
        ),
    ),
    ("Cache", (Panel("Reads", rate(CACHES, "result")),)),
    (
        "Search by meaning",
        (
            Panel("Requests", _routes(SEMANTICS)),
            Panel("Duration", _slow(REQUESTS, SEMANTICS), "s"),
        ),
    ),
    ("Causes", (Panel("Query of the graph", _slow(QUERIES, '{source="GRAPH"}'), "s"),)),
    (
        "Resources",
        (
            Panel("CPU while looking", ((f"sum(rate({CPU}[{RATE}]))", "cores"),)),
            Panel("Most memory", ((f"max({MEMORY})", "bytes"),), "bytes"),
        ),
    ),
)
"""Eleven groups as the original's, and at least its twenty panels."""

MODEL_ROWS: Rows = (
    (
        "Overview",
        (
            Panel("Model that serves", ((f"max by (model_name) ({ML}_model_version)", "{{model_name}}"),), kind="stat"),
            Panel("Days since its training", ((f"((time() - max({TRAINED})) / 86400)", "days"),), kind="stat"),
            Panel("Alerts", tuple((rule.state, rule.alert) for rule in MODEL_RULES), kind="state-timeline"),
        ),
    ),
    (
        "Predictions",
        (
            Panel("Asked for", rate(PREDICTIONS, "status")),
            Panel("One prediction", quantiles(f"{ML}_prediction_duration_seconds"), "s"),
            Panel("Median, off by", quantiles(f"{ML}_prediction_error"), "ms"),
            Panel("Where tickets ended", rate(COVERAGE, "within")),
        ),
    ),
    (
        "Accuracy and drift",
        (
            Panel("On data held out", ((f"max by (metric_type) ({ML}_model_accuracy)", "{{metric_type}}"),)),
            Panel("Drift", ((f"max by (feature) ({DRIFT})", "{{feature}}"),)),
            Panel("Drift found", rate(f"{ML}_drift_alerts_total", "drift_type")),
            Panel("Last look for drift", ((f"(time() - max({ML}_drift_check_timestamp))", "ago"),), "s", "stat"),
        ),
    ),
    (
        "Training",
        (
            Panel("Trainings", rate(TRAININGS, "status")),
            Panel("Duration", quantiles(f"{ML}_training_duration_seconds"), "s"),
            Panel("Rows", ((f"max by (model_name) ({SAMPLES})", "{{model_name}}"),)),
            Panel("Models by what became of them", rate(PROMOTIONS, "result")),
            Panel("Rounds", rate(ROUNDS, "result")),
            Panel("Tickets learnt from", rates(f"{ML}_rows_total")),
        ),
    ),
    (
        "Loads and anomalies",
        (
            Panel("Forecasts", rate(f"{ML}_forecasts_total", "horizon")),
            Panel("Error of forecasts", ((f"max({ML}_forecast_mape)", "error"),), "percentunit"),
            Panel("Bottlenecks ahead", rates(f"{ML}_bottlenecks_predicted_total")),
            Panel("Anomalies by kind", rate(f"{ML}_anomalies_detected_total", "anomaly_type")),
        ),
    ),
)
