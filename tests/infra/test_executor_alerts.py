"""The alerts and the dashboard of executors: what they read is in the catalogue of workers, and each fires."""

import json
import re
from pathlib import Path

import pytest
import yaml

from functions._observability.executor_metrics import BY, EXECUTOR_METRICS
from infra.generate.alerts import RUNBOOKS, Rule
from infra.generate.dashboard import DASHBOARDS, dashboard
from infra.generate.executor_alerts import EXECUTOR_RULES, executor_rules_file
from tests.conftest import ROOT
from tests.infra.test_observability import Case, fires, series_of
from tests.support.monitoring import promtool
from tests.support.promql import parse, selectors

BY_ALERT = {rule.alert: rule for rule in EXECUTOR_RULES}
BY_SERIES = {series: metric for metric in EXECUTOR_METRICS for series in metric.series}
OF = 'executor="jenkins",family="test"'


def tasks(status: str) -> str:
    return f'worker_tasks_total{{{OF},status="{status}"}}'


def calls(status: str) -> str:
    return f'worker_api_calls_total{{{OF},status="{status}"}}'


def one(name: str) -> str:
    return f"worker_{name}_total{{{OF}}}"


CASES = (
    Case("ExecutorJobLeaked", "a job was leaked", True, 1.0, {one("jobs_leaked"): "0x30 1x90"}),
    Case("ExecutorJobLeaked", "none was", False, 0.0, {one("jobs_leaked"): "0x120"}),
    Case(
        "ExecutorFailing", "two of three fail", True, 1.0, {tasks("completed"): "0+1x120", tasks("failed"): "0+2x120"}
    ),
    Case(
        "ExecutorFailing", "all take too long", True, 1.0, {tasks("completed"): "0x120", tasks("timed_out"): "0+1x120"}
    ),
    Case("ExecutorFailing", "one in ten", False, 0.0, {tasks("completed"): "0+9x120", tasks("failed"): "0+1x120"}),
    Case(
        "ExecutorFailing", "people cancel", False, 0.0, {tasks("completed"): "0+1x120", tasks("cancelled"): "0+9x120"}
    ),
    Case("ExecutorFailing", "nothing happens", False, None, {tasks("completed"): "0x120", tasks("failed"): "0x120"}),
    Case("ExecutorCallsFailing", "half has no answer", True, 1.0, {calls("200"): "0+1x120", calls("none"): "0+1x120"}),
    Case("ExecutorCallsFailing", "half is 503", True, 1.0, {calls("200"): "0+1x120", calls("503"): "0+1x120"}),
    Case("ExecutorCallsFailing", "all are refused", False, None, {calls("200"): "0+1x120", calls("404"): "0+9x120"}),
    Case("ExecutorSimulated", "one was simulated", True, 1.0, {one("simulated"): "0x30 1x90"}),
    Case("ExecutorSimulated", "none was", False, 0.0, {one("simulated"): "0x120"}),
)


def test_each_alert_is_seen_to_fire_and_not_to_fire() -> None:
    for how in (True, False):
        assert {case.alert for case in CASES if case.fires is how} == {*BY_ALERT}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_a_rule_fires_when_it_should(case: Case) -> None:
    rule = BY_ALERT[case.alert]
    assert fires(rule.expr, rule.lasting, series_of(case), case.minutes) is case.fires


@pytest.mark.slow
def test_prometheus_reads_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(executor_rules_file())
    promtool(tmp_path, "check", "rules", "rules.yaml")


def test_every_series_and_label_that_is_read_is_in_the_catalogue() -> None:
    shown = [query for _, panels in DASHBOARDS["executors"].rows for panel in panels for query, _ in panel.queries]
    for expression in [*(rule.expr for rule in EXECUTOR_RULES), *shown]:
        found = [*selectors(parse(expression.replace("$__rate_interval", "1m")))]
        assert found
        for selector in found:
            labels = BY_SERIES[selector.name].labels
            assert {label for label, _, _ in selector.matchers} <= labels.keys(), selector
    read = {
        BY_SERIES[s.name].name for query in shown for s in selectors(parse(query.replace("$__rate_interval", "1m")))
    }
    assert read == {metric.name for metric in EXECUTOR_METRICS if BY.keys() <= metric.labels.keys()}


@pytest.mark.parametrize("rule", EXECUTOR_RULES, ids=lambda rule: rule.alert)
def test_an_alert_says_what_to_do_and_has_a_runbook_with_its_three_parts(rule: Rule) -> None:
    page = (ROOT / RUNBOOKS / f"{rule.alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {rule.alert}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Meaning", "How to see it", "What to do"]
    assert f"({rule.alert}.md)" in (ROOT / RUNBOOKS / "README.md").read_text(encoding="utf-8")
    panels = {panel["title"] for panel in dashboard("executors")["panels"]}
    assert [title for title in re.findall(r"\*([A-Z][^*\n]+)\*", page) if title not in panels] == []
    [group] = yaml.safe_load(executor_rules_file())["groups"]
    [made] = [alert for alert in group["rules"] if alert["alert"] == rule.alert]
    assert json.dumps(made["annotations"]["runbook_url"]) == f'"{RUNBOOKS}/{rule.alert}.md"'
    assert made["annotations"]["dashboard_url"] == f"/d/{dashboard('executors')['uid']}"
