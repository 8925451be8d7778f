"""The fifteen alerts of budgets and freezes, their route, their dashboard: what they read is there, and each fires."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions._core.slo.rule_files import PAGE_ALERT, TICKET_ALERT
from functions._observability.catalogue import CATALOGUE
from infra.generate.alerts import RUNBOOKS, Rule, annotations_of
from infra.generate.dashboard import DASHBOARDS, dashboard
from infra.generate.slo_alerts import DASHBOARD, GROUPS, SLA_RULES, alertmanager_file, labels_of, sla_rules_file
from tests.conftest import ROOT
from tests.support.http_api import running_api
from tests.support.monitoring import alertmanager, promtool
from tests.support.promql import grouped, parse, selectors

BY_SERIES = {series: metric for metric in CATALOGUE for series in metric.series}
BY_ALERT = {rule.alert: rule for rule in SLA_RULES}
IDLE = "0x240"
DONE, FAILED = 'sla_calculations_total{status="success"}', 'sla_calculations_total{status="error"}'
BUCKET = "sla_calculation_duration_seconds_bucket"
STORED, LOST = (f'neural_hive_service_registry_calls_total{{operation="get",status="{s}"}}' for s in ("ok", "error"))
ASKED, UNANSWERED = 'sla_prometheus_queries_total{status="success"}', 'sla_prometheus_queries_total{status="error"}'
SAME, BROKEN = 'sla_reconcile_total{result="unchanged"}', 'sla_reconcile_total{result="failed"}'
BEGUN = 'sla_freezes_activated_total{scope="SERVICE"}'
UP = {DONE: "0+1x240", SAME: "0+1x240"}
"""What a platform reports in any case."""


def budget(number: int) -> str:
    return f'sla_budget_status{{slo_id="s{number}",service_name="shop",slo_type="AVAILABILITY"}}'


def burn(hours: str) -> str:
    return f'sla_burn_rate{{slo_id="s1",window_hours="{hours}"}}'


def freeze(service: str) -> str:
    return f'sla_freezes_active{{service_name="{service}",scope="SERVICE"}}'


@dataclass(frozen=True)
class Case:
    """What an alert does on some series after `minutes`; `labels` are those that it has beside its own."""

    alert: str
    what: str
    fires: bool
    series: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    minutes: int = 180


SLO = {"slo_id": "s1", "slo": "s1"}
SHOP = {"service_name": "shop"}
SLOW = {
    f'{BUCKET}{{le="{le}"}}': values for le, values in (("5.0", "0+8x240"), ("10.0", "0+9x240"), ("+Inf", "0+10x240"))
}
FAST = {f'{BUCKET}{{le="{le}"}}': "0+10x240" for le in ("5.0", "10.0", "+Inf")}
CASES = (
    Case("SLAManagementSystemDown", "nothing is reported", True, {SAME: "0+1x240"}),
    Case("SLAManagementSystemDown", "nothing is to be calculated", False, {DONE: IDLE, SAME: IDLE}),
    Case("HighErrorRate", "one calculation in ten fails", True, {DONE: "0+9x240", FAILED: "0+1x240"}),
    Case("HighErrorRate", "one in a hundred fails", False, {DONE: "0+99x240", FAILED: "0+1x240"}),
    Case("HighErrorRate", "there are no SLOs", False, {DONE: IDLE, FAILED: IDLE}),
    Case("SlowCalculations", "one in ten takes longer than ten seconds", True, SLOW),
    Case("SlowCalculations", "all are quick", False, FAST),
    Case("StoreDown", "nothing can be stored", True, {STORED: IDLE, LOST: "0+9x240"}),
    Case("StoreDown", "one call in ten fails", False, {STORED: "0+9x240", LOST: "0+1x240"}),
    Case("MetricsServerDown", "Prometheus is away", True, {ASKED: IDLE, UNANSWERED: "0+3x240"}),
    Case("MetricsServerDown", "one query is wrong", False, {ASKED: "0+9x240", UNANSWERED: "0+1x240"}),
    Case("MetricsServerDown", "no SLO asks it", False, {ASKED: IDLE, UNANSWERED: IDLE}),
    Case("CriticalBudgetExhausted", "a budget is spent", True, {budget(1): "3x240"}, SLO | SHOP),
    Case("CriticalBudgetExhausted", "little is left", False, {budget(1): "2x240"}),
    Case("CriticalBudgetExhausted", "there are no SLOs", False),
    Case("MultipleCriticalBudgets", "three have little left", True, {budget(n): "2x240" for n in range(3)}),
    Case("MultipleCriticalBudgets", "two have", False, {budget(1): "2x240", budget(2): "3x240", budget(3): "1x240"}),
    Case("HighBurnRateFast", "it burns at 14.4", True, {burn("1"): "14.4x240"}, SLO),
    Case("HighBurnRateFast", "it burns at 14", False, {burn("1"): "14x240", burn("6"): "15x240"}),
    Case("HighBurnRateSlow", "it burns at 6", True, {burn("6"): "6x240"}, SLO),
    Case("HighBurnRateSlow", "it has burnt for a while", False, {burn("6"): "0x170 7x70", burn("24"): "7x240"}),
    Case("FreezeActivated", "one has begun", True, {BEGUN: "0x175 1x65"}, {"scope": "SERVICE"}),
    Case("FreezeActivated", "one began an hour ago", False, {BEGUN: "0x120 1x120"}),
    Case("LongRunningFreeze", "for three hours", True, {freeze("shop"): "1x240"}, SHOP | {"scope": "SERVICE"}),
    Case("LongRunningFreeze", "for one hour", False, {freeze("shop"): "_x120 1x120"}),
    Case("MultipleActiveFreezes", "three services", True, {freeze(name): "1x240" for name in "abc"}),
    Case("MultipleActiveFreezes", "two services", False, {freeze(name): "1x240" for name in "ab"}),
    Case("OperatorDown", "nothing is reported", True, {DONE: "0+1x240"}),
    Case("OperatorDown", "there are no documents", False, {DONE: IDLE, SAME: IDLE}),
    Case("ReconciliationErrors", "one document fails", True, {SAME: "0+9x240", BROKEN: "0+1x240"}),
    Case("ReconciliationErrors", "all are as they should be", False, {SAME: "0+9x240", BROKEN: IDLE}),
    Case("CRDSyncFailures", "most documents fail", True, {SAME: "0+1x240", BROKEN: "0+9x240"}),
    Case("CRDSyncFailures", "one document fails", False, {SAME: "0+9x240", BROKEN: "0+1x240"}),
)


def test_there_are_fifteen_in_four_groups_and_each_is_seen_to_fire_and_not_to_fire() -> None:
    assert [len(rules) for rules in GROUPS.values()] == [5, 4, 3, 3]
    assert len(BY_ALERT) == 15
    assert (
        {case.alert for case in CASES if case.fires} == {case.alert for case in CASES if not case.fires} == {*BY_ALERT}
    )


@pytest.mark.slow
def test_prometheus_fires_each_when_it_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(sla_rules_file())
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [*map(promtool_case, CASES)]}
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    promtool(tmp_path, "test", "rules", "tests.yaml")


def promtool_case(case: Case) -> dict[str, Any]:
    rule = BY_ALERT[case.alert]
    own = {name: text for name, text in labels_of(rule).items() if name != "slo"}
    told = {name: filled(text, case.labels) for name, text in annotations_of(rule, DASHBOARD).items()}
    expected = [{"exp_labels": {**own, **case.labels}, "exp_annotations": told}] if case.fires else []
    series = case.series if case.alert in {"SLAManagementSystemDown", "OperatorDown"} else {**UP, **case.series}
    return {
        "name": f"{case.alert}: {case.what}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": expected}],
    }


def filled(text: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)


def all_expressions() -> list[str]:
    shown = [query for _, panels in DASHBOARDS["sla"].rows for panel in panels for query, _ in panel.queries]
    queries = [query.replace("$__rate_interval", "1m") for query in shown if not query.startswith("vector(")]
    return [*(rule.expr for rule in SLA_RULES), *(rule.state for rule in SLA_RULES), *queries]


@pytest.mark.parametrize("expression", all_expressions())
def test_every_series_and_label_that_is_read_is_in_the_catalogue(expression: str) -> None:
    node = parse(expression)
    for selector in selectors(node):
        labels = BY_SERIES[selector.name].labels
        assert all(value in labels[label] for label, _, value in selector.matchers), selector
    for label, selector in grouped(node):
        assert label == "le" or label in BY_SERIES[selector.name].labels, (label, selector)


async def test_what_is_missed_when_it_is_not_reported_is_reported_from_the_start(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        shown = (await api.client.get("/metrics")).text
    for name in ("sla_calculations_total", "sla_reconcile_total"):
        assert f"\n{name}{{" in shown


@pytest.mark.parametrize("rule", SLA_RULES, ids=lambda rule: rule.alert)
def test_an_alert_says_what_to_do(rule: Rule) -> None:
    made = [alert for group in yaml.safe_load(sla_rules_file())["groups"] for alert in group["rules"]]
    [said] = [alert["annotations"] for alert in made if alert["alert"] == rule.alert]
    assert {*said} == {"summary", "description", "runbook_url", "dashboard_url"}
    assert said["dashboard_url"] == f"/d/{dashboard('sla')['uid']}"
    assert rule.severity in {"warning", "critical"}


@pytest.mark.parametrize("alert", [*BY_ALERT, PAGE_ALERT, TICKET_ALERT])
def test_every_alert_has_a_runbook_with_its_three_parts(alert: str) -> None:
    page = (ROOT / RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Meaning", "How to see it", "What to do"]
    assert f"({alert}.md)" in (ROOT / RUNBOOKS / "README.md").read_text(encoding="utf-8")
    panels = {panel["title"] for panel in dashboard("sla")["panels"]}
    assert [title for title in re.findall(r"\*([A-Z][^*\n]+)\*", page) if title not in panels] == []


def test_the_dashboard_has_the_seven_rows_of_the_original_and_twenty_one_panels() -> None:
    panels = dashboard("sla")["panels"]
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        "Overview",
        "Budgets",
        "Burn rates",
        "Freezes",
        "SLOs",
        "Integrations",
        "Health",
    ]
    assert sum(panel["type"] != "row" for panel in panels) >= 21


def test_alerts_about_an_slo_carry_its_label() -> None:
    rules = [rule for group in yaml.safe_load(sla_rules_file())["groups"] for rule in group["rules"]]
    named = {rule["alert"] for rule in rules if "slo" in rule["labels"]}
    assert named == {"CriticalBudgetExhausted", "HighBurnRateFast", "HighBurnRateSlow"}


@pytest.mark.slow
async def test_a_real_alertmanager_reads_the_route_and_only_alerts_with_the_label_fit(tmp_path: Path) -> None:
    config = yaml.safe_load(alertmanager_file())
    route, people = config["route"]["routes"]
    assert (route["receiver"], route["matchers"]) == ("sla-management-system-webhook", ['slo!=""'])
    assert (route["group_by"], people) == (["slo", "service"], {"receiver": "people"})
    webhook = config["receivers"][1]["webhook_configs"][0]
    assert webhook["send_resolved"] is True
    webhook["http_config"]["authorization"] = {"type": "Bearer", "credentials": "x"}
    async with alertmanager(tmp_path, config):
        pass  # it has read the configuration
