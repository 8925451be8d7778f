"""The alerts and the dashboards of insights and models: what they read is in the catalogue, and each fires."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions._core.insights.insight import InsightPriority, InsightType
from functions._core.learning.anomaly_kinds import AnomalyKind
from functions._observability.learning_catalogue import (
    ANALYSTS,
    ANOMALY_KINDS,
    INSIGHT_PRIORITIES,
    INSIGHT_TYPES,
    LEARNING,
    MODELS,
)
from functions._observability.metric import Kind
from infra.generate.alerts import RUNBOOKS, Rule, annotations_of
from infra.generate.dashboard import DASHBOARDS, dashboard
from infra.generate.learning_alerts import GROUPS, LEARNING_RULES, learning_rules_file
from tests.conftest import ROOT
from tests.infra.test_observability import Case, fires, rows_of, series_of
from tests.support.monitoring import promtool
from tests.support.promql import parse, selectors

BY_ALERT = {rule.alert: rule for rule in LEARNING_RULES}
IDLE, GROWS = "0x2000", "0+1x2000"
ML = "orchestration_ml"


def labelled(name: str, **labels: str) -> str:
    matchers = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{matchers}}}"


def on(function: str) -> dict[str, str]:
    return {labelled("flowc_learning_enabled", function=function): "1x2000"}


def looks(result: str) -> str:
    return labelled("analyst_rounds_total", result=result)


def rounds(result: str) -> str:
    return labelled(f"{ML}_rounds_total", result=result)


def stored(status: str) -> str:
    return labelled("neural_hive_service_registry_calls_total", operation="get", status=status)


def buckets(name: str, bound: str, fast: str, every: str, **labels: str) -> dict[str, str]:
    return {
        labelled(f"{name}_bucket", **labels, le=le): values
        for le, values in ((bound, fast), ("10.0", every), ("+Inf", every))
    }


def query(source: str, fast: str, every: str) -> dict[str, str]:
    return buckets("analyst_query_duration_seconds", "1.0", fast, every, source=source)


def request(route: str, fast: str, every: str) -> dict[str, str]:
    return buckets("api_request_duration_seconds", "1.0", fast, every, method="POST", route=route)


def read(result: str) -> str:
    return labelled("analyst_cache_operations_total", operation="get", result=result)


def predicted(status: str) -> str:
    return labelled(f"{ML}_predictions_total", model_type="duration", status=status)


def ended(within: str) -> str:
    return labelled(f"{ML}_prediction_coverage_total", within=within)


def training(status: str) -> str:
    return labelled(f"{ML}_training_jobs_total", status=status, trigger="schedule")


def drift(kind: str, feature: str) -> str:
    return labelled(f"{ML}_drift_score", drift_type=kind, feature=feature, model_name="duration")


WAITING, MEMORY, CPU = "analyst_windows_waiting", "analyst_peak_memory_bytes", "analyst_cpu_seconds_total"
MADE = labelled("analyst_insights_generated_total", insight_type="ANOMALY", priority="LOW")
FOUND = labelled("analyst_anomalies_detected_total", method="zscore", metric_name="failures")
TRAINED = labelled(f"{ML}_training_timestamp", model_name="duration")
SAMPLES = labelled(f"{ML}_training_samples_used", model_name="duration")
ROLLED_BACK = labelled(f"{ML}_model_promotion_total", model_name="duration", result="rolled_back")

CASES = (
    Case("AnalystsDown", "no look ends well", True, None, on("analyze") | {looks("success"): IDLE}),
    Case("AnalystsDown", "looks are counted by nobody", True, None, on("analyze")),
    Case("AnalystsDown", "looks end well", False, None, on("analyze") | {looks("success"): GROWS}),
    Case("AnalystsDown", "insights are off", False, None, {looks("success"): IDLE}),
    Case("AnalystErrorRateHigh", "half fail", True, None, {looks("success"): GROWS, looks("error"): GROWS}),
    Case("AnalystErrorRateHigh", "one in ten", False, None, {looks("success"): "0+9x2000", looks("error"): GROWS}),
    Case("AnalystErrorRateHigh", "insights are off", False, None, {looks("success"): IDLE, looks("error"): IDLE}),
    Case("AnalystLagCritical", "forty windows wait", True, None, {WAITING: "40x2000"}),
    Case("AnalystLagCritical", "ten wait", False, None, {WAITING: "10x2000"}),
    Case(
        "AnalystStoreUnavailable",
        "it is away",
        True,
        None,
        on("analyze") | {stored("ok"): IDLE, stored("error"): GROWS},
    ),
    Case("AnalystStoreUnavailable", "insights are off", False, None, {stored("ok"): IDLE, stored("error"): GROWS}),
    Case(
        "AnalystStoreUnavailable",
        "it answers",
        False,
        None,
        on("analyze") | {stored("ok"): GROWS, stored("error"): IDLE},
    ),
    Case("AnalystQueriesSlow", "half take longer", True, None, query("LOGS", "0+1x2000", "0+2x2000")),
    Case("AnalystQueriesSlow", "all are quick", False, None, query("LOGS", "0+2x2000", "0+2x2000")),
    Case("AnalystLagHigh", "ten windows wait", True, None, {WAITING: "10x2000"}),
    Case("AnalystLagHigh", "one waits", False, None, {WAITING: "1x2000"}),
    Case("AnalystMemoryHigh", "half a gigabyte", True, None, {MEMORY: "536870912x2000"}),
    Case("AnalystMemoryHigh", "a hundred megabytes", False, None, {MEMORY: "104857600x2000"}),
    Case("AnalystCpuHigh", "40 s of each minute", True, None, {CPU: "0+40x2000"}),
    Case("AnalystCpuHigh", "1 s of each minute", False, None, {CPU: "0+1x2000"}),
    Case("AnalystCacheMisses", "none is remembered", True, None, {read("hit"): IDLE, read("miss"): "0+60x2000"}, 120),
    Case("AnalystCacheMisses", "half are", False, None, {read("hit"): "0+60x2000", read("miss"): "0+60x2000"}, 120),
    Case("AnalystCacheMisses", "hardly any come", False, None, {read("hit"): IDLE, read("miss"): GROWS}, 120),
    Case("AnalystNoInsights", "none for a day", True, None, on("analyze") | {MADE: IDLE}, 1600),
    Case("AnalystNoInsights", "one was made", False, None, on("analyze") | {MADE: "0x1000 1x1000"}, 1600),
    Case("AnalystNoInsights", "insights are off", False, None, {MADE: IDLE}, 1600),
    Case("AnalystAnomalySpike", "one a minute", True, None, {FOUND: GROWS}, 90),
    Case("AnalystAnomalySpike", "one", False, None, {FOUND: "0x30 1x2000"}, 90),
    Case("AnalystCausalSlow", "half take longer", True, None, query("GRAPH", "0+1x2000", "0+2x2000")),
    Case("AnalystCausalSlow", "others do", False, None, query("LOGS", "0+1x2000", "0+2x2000")),
    Case("AnalystEmbeddingSlow", "half", True, None, request("/api/v1/semantics/search", "0+1x2000", "0+2x2000")),
    Case("AnalystEmbeddingSlow", "others are slow", False, None, request("/api/v1/flows", "0+1x2000", "0+2x2000")),
    Case("MLLearningDown", "no round ends well", True, None, on("learn") | {rounds("success"): IDLE}, 300),
    Case("MLLearningDown", "they do", False, None, on("learn") | {rounds("success"): "0x30 1x59 2x59 3x59 4x200"}, 300),
    Case("MLLearningDown", "learning is off", False, None, {rounds("success"): IDLE}, 300),
    Case("MLPredictionHighErrorRate", "half", True, None, {predicted("success"): GROWS, predicted("error"): GROWS}),
    Case("MLPredictionHighErrorRate", "none", False, None, {predicted("success"): GROWS, predicted("error"): IDLE}),
    Case("MLDurationPredictionInaccurate", "half", True, None, {ended("p50"): GROWS, ended("beyond"): GROWS}, 500),
    Case(
        "MLDurationPredictionInaccurate",
        "a tenth",
        False,
        None,
        {ended("p90"): "0+9x2000", ended("beyond"): GROWS},
        500,
    ),
    Case("MLTrainingFailed", "one has", True, None, {training("failure"): "0x30 1x2000"}),
    Case("MLTrainingFailed", "none has", False, None, {training("failure"): IDLE}),
    Case("MLTrainingStale", "sixteen days", True, None, {TRAINED: "-1400000x2000"}, 120),
    Case("MLTrainingStale", "a day", False, None, {TRAINED: "-86400x2000"}, 120),
    Case("MLTrainingInsufficientSamples", "fifty rows", True, None, {SAMPLES: "50x2000"}, 500),
    Case("MLTrainingInsufficientSamples", "a thousand", False, None, {SAMPLES: "1000x2000"}, 500),
    Case(
        "MLFeatureDriftSignificant",
        "one has moved",
        True,
        None,
        {drift("feature", "estimate"): "1x2000"},
        labels={"feature": "estimate"},
    ),
    Case("MLFeatureDriftSignificant", "only the error", False, None, {drift("prediction", "mae_ratio"): "1x2000"}),
    Case("MLPredictionDriftCritical", "three times", True, None, {drift("prediction", "mae_ratio"): "3x2000"}),
    Case("MLPredictionDriftCritical", "as ever", False, None, {drift("prediction", "mae_ratio"): "1x2000"}),
    Case("MLModelRolledBack", "one was", True, None, {ROLLED_BACK: "0x30 1x2000"}),
    Case("MLModelRolledBack", "none was", False, None, {ROLLED_BACK: IDLE}),
)


def test_there_are_thirteen_of_insights_and_each_is_seen_to_fire_and_not_to_fire() -> None:
    insights, models = (rules for rules, _ in GROUPS.values())
    severities = [rule.severity for rule in insights]
    assert [severities.count(one) for one in ("critical", "warning", "info")] == [4, 5, 4]
    assert len(models) == 9
    for how in (True, False):
        assert {case.alert for case in CASES if case.fires is how} == {*BY_ALERT}
    for rule in LEARNING_RULES:
        assert not fires(rule.expr, rule.lasting, series_of(Case(rule.alert, "nothing is reported", False, None)), 60)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_a_rule_fires_when_it_should(case: Case) -> None:
    rule = BY_ALERT[case.alert]
    assert fires(rule.expr, rule.lasting, series_of(case), case.minutes) is case.fires


@pytest.mark.slow
def test_prometheus_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(learning_rules_file())
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [*map(promtool_case, CASES)]}
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    promtool(tmp_path, "test", "rules", "tests.yaml")


def promtool_case(case: Case) -> dict[str, Any]:
    rule = BY_ALERT[case.alert]
    [board] = [board for rules, board in GROUPS.values() if rule in rules]
    told = {name: filled(text, case.labels) for name, text in annotations_of(rule, board).items()}
    expected = [{"exp_labels": {"severity": rule.severity, **case.labels}, "exp_annotations": told}]
    return {
        "name": f"{case.alert}: {case.what}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{case.minutes}m",
                "alertname": case.alert,
                "exp_alerts": expected if case.fires else [],
            }
        ],
    }


def filled(text: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)


@pytest.mark.parametrize("rule", LEARNING_RULES, ids=lambda rule: rule.alert)
def test_an_alert_says_what_to_do_and_reads_what_it_says(rule: Rule) -> None:
    page = (ROOT / RUNBOOKS / f"{rule.alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {rule.alert}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Meaning", "How to see it", "What to do"]
    assert f"({rule.alert}.md)" in (ROOT / RUNBOOKS / "README.md").read_text(encoding="utf-8")
    [name] = [name for name, (rules, _) in GROUPS.items() if rule in rules]
    shown = dashboard(name.removeprefix("flow-c-"))
    panels = {panel["title"] for panel in shown["panels"]}
    assert [title for title in re.findall(r"\*([A-Z][^*\n]+)\*", page) if title not in panels] == []
    made = [alert for group in yaml.safe_load(learning_rules_file())["groups"] for alert in group["rules"]]
    [said] = [alert["annotations"] for alert in made if alert["alert"] == rule.alert]
    assert {*said} == {"summary", "description", "runbook_url", "dashboard_url"}
    assert said["dashboard_url"] == f"/d/{shown['uid']}"
    assert {selector.name for selector in selectors(parse(rule.expr))} == {*rule.reads}


def test_the_dashboards_show_every_metric_and_have_their_groups() -> None:
    groups = ["Insights", "Windows", "Queries", "Analytics", "Performance", "Errors", "Cache"]
    assert rows_of("insights") == ["Overview", *groups, "Search by meaning", "Causes", "Resources"]
    assert sum(panel["type"] != "row" for panel in dashboard("insights")["panels"]) >= 20
    boards = [DASHBOARDS[name] for name in ("insights", "models")]
    queries = [query for board in boards for _, panels in board.rows for panel in panels for query, _ in panel.queries]
    names = {series: metric.name for metric in LEARNING for series in metric.series}
    found = {s.name for query in queries for s in selectors(parse(query.replace("$__rate_interval", "1m")))}
    assert {names[name] for name in found if name in names} == {metric.name for metric in LEARNING}


def test_the_names_of_the_origin_are_there_with_labels_that_code_bounds() -> None:
    assert tuple(InsightType) == INSIGHT_TYPES
    assert tuple(InsightPriority) == INSIGHT_PRIORITIES
    assert tuple(kind.lower() for kind in AnomalyKind) == ANOMALY_KINDS
    assert len([metric for metric in MODELS if metric.name.startswith(ML)]) >= 15
    families = {
        "predictions": "predictions_total",
        "anomalies": "anomalies_detected_total",
        "drift": "drift_score",
        "training": "training_jobs_total",
    }
    assert {f"{ML}_{name}" for name in families.values()} <= {metric.name for metric in MODELS}
    of_code = {"metric_name", "feature", "metric_type"}
    for metric in (*ANALYSTS, *MODELS):
        assert all(values or label in of_code for label, values in metric.labels.items()), metric.name
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
