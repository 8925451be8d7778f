"""The alerts of what is learnt from flows: thirteen of insights, as many as the original's, and those of models.

Where the settings leave learning or insights off, nothing reports that it is on, and every alert is quiet: an alert of
missing data stands beside none of them. `AnalystsDown` and `MLLearningDown` say that what was asked for is not done.
"""

from collections.abc import Mapping, Sequence

from infra.generate.alerts import CALLS, METRICS, Rule, alert_lines, annotations_of, group_lines, head_lines, share_of

ENABLED = "flowc_learning_enabled"
LOOKS = "analyst_rounds_total"
INSIGHTS = "analyst_insights_generated_total"
WAITING = "analyst_windows_waiting"
QUERIES = "analyst_query_duration_seconds"
FOUND = "analyst_anomalies_detected_total"
CACHES = "analyst_cache_operations_total"
MEMORY = "analyst_peak_memory_bytes"
CPU = "analyst_cpu_seconds_total"
REQUESTS = "api_request_duration_seconds"

ROUNDS = "orchestration_ml_rounds_total"
PREDICTIONS = "orchestration_ml_predictions_total"
COVERAGE = "orchestration_ml_prediction_coverage_total"
TRAININGS = "orchestration_ml_training_jobs_total"
TRAINED = "orchestration_ml_training_timestamp"
SAMPLES = "orchestration_ml_training_samples_used"
DRIFT = "orchestration_ml_drift_score"
PROMOTIONS = "orchestration_ml_model_promotion_total"

INSIGHTS_DASHBOARD, MODELS_DASHBOARD = "/d/flow-c-insights", "/d/flow-c-models"
"""The dashboards, below the address of Grafana."""


def _enabled(function: str) -> str:
    return f'max({ENABLED}{{function="{function}"}})'


def _without(function: str, counter: str, window: str) -> str:
    return f"({_enabled(function)} unless (sum(increase({counter}[{window}])) > 0))"


def _slow(name: str, matching: str = "") -> str:
    return f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket{matching}[30m])))"


DONE = 'result="success"'
FAILED, AWAY = 'result="error"', 'status="error"'
MISSES = f'sum(rate({CACHES}{{operation="get",result="miss"}}[30m]))'
READS = f'sum(rate({CACHES}{{operation="get"}}[30m]))'

ANALYST_RULES: Sequence[Rule] = (
    Rule(
        alert="AnalystsDown",
        severity="critical",
        signal=_without("analyze", f"{LOOKS}{{{DONE}}}", "15m"),
        comparison=">",
        threshold=0,
        lasting="5m",
        reads=(ENABLED, LOOKS),
        summary="Nobody looks for problems",
        description="FLOWC_INSIGHTS is on, and for 15 min no window of flows was looked through. Is analyze up?",
    ),
    Rule(
        alert="AnalystErrorRateHigh",
        severity="critical",
        signal=share_of(LOOKS, FAILED, "15m"),
        comparison=">",
        threshold=0.2,
        lasting="10m",
        reads=(LOOKS,),
        summary="Looks for problems fail",
        description="More than one look in five failed. The log says why: analyze.failed, and so does `flowc doctor`.",
    ),
    Rule(
        alert="AnalystLagCritical",
        severity="critical",
        signal=f"max({WAITING})",
        comparison=">",
        threshold=36,
        lasting="10m",
        reads=(WAITING,),
        summary="Insights are three hours late",
        description="More than 36 windows of five minutes wait to be looked through.",
    ),
    Rule(
        alert="AnalystStoreUnavailable",
        severity="critical",
        signal=f"({share_of(CALLS, AWAY, '5m')} and {_enabled('analyze')} > 0)",
        comparison=">",
        threshold=0.5,
        lasting="2m",
        reads=(CALLS, ENABLED),
        summary="The store of insights is away",
        description="More than half of the calls of the store end in an error: no insight can be stored or read.",
    ),
    Rule(
        alert="AnalystQueriesSlow",
        severity="warning",
        signal=_slow(QUERIES),
        comparison=">",
        threshold=3,
        lasting="10m",
        reads=(f"{QUERIES}_bucket",),
        summary="Queries of analysts are slow",
        description="One query of a source in twenty takes more than 3 s; after 5 s it is left out of the answer.",
    ),
    Rule(
        alert="AnalystLagHigh",
        severity="warning",
        signal=f"max({WAITING})",
        comparison=">",
        threshold=6,
        lasting="10m",
        reads=(WAITING,),
        summary="Insights are half an hour late",
        description="More than 6 windows of five minutes wait to be looked through.",
    ),
    Rule(
        alert="AnalystMemoryHigh",
        severity="warning",
        signal=f"(max({MEMORY}) / 1048576)",
        comparison=">",
        threshold=400,
        lasting="10m",
        reads=(MEMORY,),
        summary="The process that makes insights is large",
        description="It has had more than 400 MiB; a pod of analyze may have 512.",
    ),
    Rule(
        alert="AnalystCpuHigh",
        severity="warning",
        signal=f"sum(rate({CPU}[15m]))",
        comparison=">",
        threshold=0.5,
        lasting="15m",
        reads=(CPU,),
        summary="Insights take half a core",
        description="The process works for half of the time while it looks through windows: very many flows end.",
    ),
    Rule(
        alert="AnalystCacheMisses",
        severity="warning",
        signal=f"({MISSES} / {READS} and {READS} > 0.1)",
        comparison=">",
        threshold=0.9,
        lasting="30m",
        reads=(CACHES,),
        summary="Reads of insights are rarely remembered",
        description="More than nine of ten reads go to the store although many come: each asks for something else.",
    ),
    Rule(
        alert="AnalystNoInsights",
        severity="info",
        signal=_without("analyze", INSIGHTS, "24h"),
        comparison=">",
        threshold=0,
        lasting="1h",
        reads=(ENABLED, INSIGHTS),
        summary="No insight for a day",
        description="Either all is well or nothing ends: `flowc flows --limit 5` shows whether flows do.",
    ),
    Rule(
        alert="AnalystAnomalySpike",
        severity="info",
        signal=f"sum(increase({FOUND}[1h]))",
        comparison=">",
        threshold=20,
        lasting="0m",
        reads=(FOUND,),
        summary="Many anomalies at once",
        description="More than 20 figures of flows were unusual within an hour: look for a common cause.",
    ),
    Rule(
        alert="AnalystCausalSlow",
        severity="info",
        signal=_slow(QUERIES, '{source="GRAPH"}'),
        comparison=">",
        threshold=1,
        lasting="15m",
        reads=(f"{QUERIES}_bucket",),
        summary="Causes take long to find",
        description="One query of the graph in twenty takes more than 1 s: narrow its time or its flows.",
    ),
    Rule(
        alert="AnalystEmbeddingSlow",
        severity="info",
        signal=_slow(REQUESTS, '{route=~"/api/v1/semantics/.*"}'),
        comparison=">",
        threshold=1,
        lasting="15m",
        reads=(f"{REQUESTS}_bucket",),
        summary="Searches by meaning are slow",
        description="One request in twenty takes more than 1 s: many texts, or a slow server of embeddings.",
    ),
)
"""Four that are critical, five that warn, four that inform."""

MODEL_RULES: Sequence[Rule] = (
    Rule(
        alert="MLLearningDown",
        severity="critical",
        signal=_without("learn", f"{ROUNDS}{{{DONE}}}", "3h"),
        comparison=">",
        threshold=0,
        lasting="30m",
        reads=(ENABLED, ROUNDS),
        summary="Nobody learns from flows",
        description="FLOWC_LEARNING is on, and for 3 h no round of learn has ended well. The last model serves.",
    ),
    Rule(
        alert="MLPredictionHighErrorRate",
        severity="warning",
        signal=share_of(PREDICTIONS, 'status="error"', "5m"),
        comparison=">",
        threshold=0.2,
        lasting="5m",
        reads=(PREDICTIONS,),
        summary="Predictions cannot be used",
        description="More than one prediction in five was unusable, and estimates were taken instead.",
    ),
    Rule(
        alert="MLDurationPredictionInaccurate",
        severity="warning",
        signal=share_of(COVERAGE, 'within="beyond"', "6h"),
        comparison=">",
        threshold=0.3,
        lasting="1h",
        reads=(COVERAGE,),
        summary="Work takes longer than predicted",
        description="More than 30 % of the tickets took longer than nine of ten should. `flowc models` has more.",
    ),
    Rule(
        alert="MLTrainingFailed",
        severity="critical",
        signal=f'sum(increase({TRAININGS}{{status="failure"}}[1h]))',
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(TRAININGS,),
        summary="A training has failed",
        description="The model that serves stays. The log says why: learn.failed, and so does `flowc doctor`.",
    ),
    Rule(
        alert="MLTrainingStale",
        severity="warning",
        signal=f"((time() - max({TRAINED})) / 86400)",
        comparison=">",
        threshold=15,
        lasting="1h",
        reads=(TRAINED,),
        summary="The model that serves is old",
        description="It was trained more than 15 days ago: two trainings have failed, or made no better one.",
    ),
    Rule(
        alert="MLTrainingInsufficientSamples",
        severity="info",
        signal=f"min({SAMPLES})",
        comparison="<",
        threshold=100,
        lasting="6h",
        reads=(SAMPLES,),
        summary="A model was trained on few rows",
        description="It knows fewer than 100 tickets; the next training takes what has ended since.",
    ),
    Rule(
        alert="MLFeatureDriftSignificant",
        severity="warning",
        signal=f'max by (feature) ({DRIFT}{{drift_type="feature"}})',
        comparison=">",
        threshold=0.25,
        lasting="15m",
        reads=(DRIFT,),
        summary="Work is not what it was: {{ $labels.feature }}",
        description="Its distribution has moved since the training (population stability index over 0.25).",
    ),
    Rule(
        alert="MLPredictionDriftCritical",
        severity="critical",
        signal=f'max({DRIFT}{{drift_type="prediction"}})',
        comparison=">",
        threshold=2,
        lasting="30m",
        reads=(DRIFT,),
        summary="Predictions are twice as wrong as at training",
        description="Over the last 7 days the error is more than twice that of the training: train anew, or roll back.",
    ),
    Rule(
        alert="MLModelRolledBack",
        severity="warning",
        signal=f'sum(increase({PROMOTIONS}{{result="rolled_back"}}[1h]))',
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(PROMOTIONS,),
        summary="A model was rolled back",
        description="It was worse on new tickets than the estimates, or than the model before it, or a person did it.",
    ),
)

GROUPS: Mapping[str, tuple[Sequence[Rule], str]] = {
    "flow-c-insights": (ANALYST_RULES, INSIGHTS_DASHBOARD),
    "flow-c-models": (MODEL_RULES, MODELS_DASHBOARD),
}
"""The alerts by the names of their groups, each group with its dashboard."""

LEARNING_RULES: Sequence[Rule] = (*ANALYST_RULES, *MODEL_RULES)


def learning_rules_file() -> str:
    """Return the rule file of Prometheus."""
    lines = head_lines(METRICS)
    for name, (rules, dashboard) in GROUPS.items():
        lines += group_lines(name)
        for rule in rules:
            about = annotations_of(rule, dashboard)
            lines += alert_lines(rule.alert, rule.expr, rule.lasting, {"severity": rule.severity}, about)
    return "\n".join(lines) + "\n"
