"""The alert rules and the dashboard read only what is there, and each rule fires when it should and not otherwise."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from functions._core.slo.rule_files import PAGE_ALERT, TICKET_ALERT
from functions._observability.catalogue import CATALOGUE
from functions._observability.executor_metrics import EXECUTOR_METRICS
from functions._observability.metric import OPEN, Kind, Metric
from infra.generate import observability as generate_observability
from infra.generate.alerts import NO_DATA, RULES, RUNBOOKS, Rule, rules_file
from infra.generate.dashboard import DASHBOARDS, dashboard, queries
from infra.generate.executor_alerts import EXECUTOR_RULES
from infra.generate.learning_alerts import LEARNING_RULES
from infra.generate.slo_alerts import SLA_RULES
from tests.conftest import ROOT
from tests.support.http_api import running_api
from tests.support.monitoring import promtool
from tests.support.promql import UNITS, Labels, Selector, Series, grouped, parse, selectors

BY_SERIES = {series: metric for metric in (*EXECUTOR_METRICS, *CATALOGUE) for series in metric.series}
BY_ALERT = {rule.alert: rule for rule in RULES}
MINUTE = 60.0

# What a platform that is up and idle reports of the metrics that rules read, in the notation of promtool.
IDLE = "0x120"
UNKNOWN = " ".join(["NaN"] * 121)
STEP_BUCKET = "neural_hive_flow_c_steps_duration_seconds_bucket"
FLOW_BUCKET = "neural_hive_flow_c_duration_seconds_bucket"
SUCCESS = "neural_hive_flow_c_success_total"
FAILED = 'neural_hive_flow_c_failures_total{reason="ticket_failed"}'
CANCELLED = 'neural_hive_flow_c_failures_total{reason="cancelled"}'
GENERATED = 'orchestration_tickets_generated_total{risk_band="low",task_type="BUILD"}'
HEALTHY = 'agents_active{status="HEALTHY",type="WORKER"}'
SILENT = 'agents_active{status="UNHEALTHY",type="WORKER"}'
HEALTHY_ELSEWHERE = 'agents_active{instance="another",status="HEALTHY",type="WORKER"}'
BUFFER = "neural_hive_flow_c_telemetry_buffer_size"
VIOLATIONS = "neural_hive_flow_c_sla_violations_total"
ASKED = 'neural_hive_service_registry_calls_total{operation="discover",status="ok"}'
AWAY = 'neural_hive_service_registry_calls_total{operation="discover",status="error"}'
STORED = 'neural_hive_service_registry_calls_total{operation="register",status="error"}'
DECISIONS = "flowc_decisions_total"
LETTERS = "ticket_dlq_total"
LEAKED = "flowc_jobs_leaked_total"
MADE = 'forge_pipelines_total{status="completed"}'
NOT_MADE = 'forge_pipelines_total{status="failed"}'
REJECTED = 'forge_pipelines_total{status="rejected"}'
AUTO = 'forge_approvals_total{class="auto"}'
REVIEWED = 'forge_approvals_total{class="reviewed"}'
FORGED = 'jwt_validation_failures_total{reason="bad_token"}'
EXPIRED = 'jwt_validation_failures_total{reason="expired_token"}'
SIGNATURES = 'signature_validation_failures_total{code="bad_signature"}'
DELIVERED = "flowc_webhooks_delivered_total"
UNDELIVERED = "flowc_webhooks_failed_total"
QUEUE = "flowc_queue_depth"
APPROVALS = "flowc_approvals_late"
WAITING = 'tickets_by_status{status="PENDING"}'
RUNNING = 'tickets_by_status{status="RUNNING"}'
DISCOVERY_BUCKET = "discovery_duration_seconds_bucket"
UNREADABLE = 'flowc_unreadable_records_total{kind="ticket"}'

GOOD, BAD, NOTHING = 0.0, 1.0, None


def buckets(name: str, status: str, **values: str) -> dict[str, str]:
    """Return series of a histogram: `le_60="0+1x120"`."""
    label = "step" if name == STEP_BUCKET else "status"
    return {f'{name}{{le="{bound[3:].replace("inf", "+Inf")}",{label}="{status}"}}': v for bound, v in values.items()}


@dataclass(frozen=True)
class Case:
    """What an alert does on some series after `minutes`; `state` is GOOD, BAD or NOTHING."""

    alert: str
    what: str
    fires: bool
    state: float | None
    series: Mapping[str, str] = field(default_factory=dict)
    minutes: int = 60
    labels: Mapping[str, str] = field(default_factory=dict)


def latency(slow: str) -> dict[str, str]:
    return buckets(FLOW_BUCKET, "COMPLETED", le_7200="0+9x120", le_14400="0+9x120", le_28800=slow, le_inf=slow)


def step(name: str, bound: str) -> dict[str, str]:
    return buckets(
        STEP_BUCKET, name, **{"le_300": IDLE, f"le_{bound}": "0+4x120", "le_3600": "0+4x120", "le_inf": "0+4x120"}
    )


def discovery(fast: str, every: str) -> dict[str, str]:
    return {f'{DISCOVERY_BUCKET}{{le="{le}"}}': v for le, v in (("1.0", fast), ("2.5", every), ("+Inf", every))}


CASES = (
    Case("FlowCHighLatency", "a tenth of the flows takes more than four hours", True, BAD, latency("0+10x120")),
    Case("FlowCHighLatency", "all flows are done in two hours", False, GOOD, latency("0+9x120")),
    Case(
        "FlowCHighLatency",
        "no flow has ended",
        False,
        NOTHING,
        buckets(FLOW_BUCKET, "COMPLETED", le_1=IDLE, le_inf=IDLE),
    ),
    Case(
        "FlowCHighLatency",
        "it has just begun",
        False,
        BAD,
        {k: v.replace("0+", "_x57 0+") for k, v in latency("0+10x60").items()},
    ),
    Case("FlowCForgeFailing", "one pipeline in five fails", True, BAD, {MADE: "0+4x120", NOT_MADE: "0+1x120"}),
    Case("FlowCForgeFailing", "one in twenty fails", False, GOOD, {MADE: "0+19x120", NOT_MADE: "0+1x120"}),
    Case("FlowCForgeFailing", "half are rejected", False, GOOD, {MADE: "0+1x120", REJECTED: "0+1x120", NOT_MADE: IDLE}),
    Case("FlowCForgeFailing", "there are none", False, NOTHING, {MADE: IDLE, NOT_MADE: IDLE}),
    Case("FlowCForgeReviews", "half are reviewed", True, BAD, {AUTO: "0+1x120", REVIEWED: "0+1x120"}),
    Case("FlowCForgeReviews", "one in ten is reviewed", False, GOOD, {AUTO: "0+9x120", REVIEWED: "0+1x120"}),
    Case("FlowCForgeReviews", "there are none", False, NOTHING, {AUTO: IDLE, REVIEWED: IDLE}),
    Case("FlowCLowSuccessRate", "one flow in ten fails", True, BAD, {SUCCESS: "0+9x120", FAILED: "0+1x120"}),
    Case("FlowCLowSuccessRate", "all flows complete", False, GOOD, {SUCCESS: "0+9x120", FAILED: IDLE}),
    Case("FlowCLowSuccessRate", "users cancel", False, GOOD, {SUCCESS: "0+9x120", FAILED: IDLE, CANCELLED: "0+9x120"}),
    Case("FlowCLowSuccessRate", "every flow fails", True, BAD, {SUCCESS: IDLE, FAILED: "0+1x120"}),
    Case("FlowCLowSuccessRate", "nothing happens", False, NOTHING, {SUCCESS: IDLE, FAILED: IDLE}),
    Case("FlowCStepTimeout", "C3 takes an hour", True, BAD, step("C3", "3600"), labels={"step": "C3"}),
    Case("FlowCStepTimeout", "C3 takes ten minutes at most", False, GOOD, step("C3", "600")),
    Case("FlowCStepTimeout", "C5 may take as long as the work does", False, NOTHING, step("C5", "3600")),
    Case("FlowCNoTicketsGenerated", "decisions lead to nothing", True, BAD, {DECISIONS: "0+2x120", GENERATED: IDLE}),
    Case(
        "FlowCNoTicketsGenerated",
        "decisions lead to tickets",
        False,
        GOOD,
        {DECISIONS: "0+2x120", GENERATED: "0+8x120"},
    ),
    Case("FlowCNoTicketsGenerated", "no decision came", False, NOTHING, {DECISIONS: IDLE, GENERATED: IDLE}),
    Case("FlowCNoTicketsGenerated", "it is too early to say", False, BAD, {DECISIONS: "0+2x120", GENERATED: IDLE}, 10),
    Case(
        "FlowCWorkersUnavailable", "the last worker fell silent", True, BAD, {HEALTHY: "1x50 0x60", SILENT: "0x50 1x60"}
    ),
    Case("FlowCWorkersUnavailable", "one worker is healthy", False, GOOD, {HEALTHY: "1x120", SILENT: "3x120"}),
    Case("FlowCWorkersUnavailable", "no worker has ever registered", True, BAD, {HEALTHY: IDLE, SILENT: IDLE}),
    Case("FlowCTelemetryBufferFull", "the sink is away", True, BAD, {BUFFER: "0+50x120"}),
    Case("FlowCTelemetryBufferFull", "a thousand wait", False, GOOD, {BUFFER: "1000x120"}),
    Case("FlowCSLAViolations", "a deadline was missed half an hour ago", True, BAD, {VIOLATIONS: "0x30 1x90"}),
    Case("FlowCSLAViolations", "a deadline was missed two hours ago", False, GOOD, {VIOLATIONS: "0x5 1x200"}, 120),
    Case("FlowCSLAViolations", "none was missed", False, GOOD, {VIOLATIONS: IDLE}),
    Case("FlowCSLAViolations", "the platform began again", False, GOOD, {VIOLATIONS: "0x70"}),
    Case(
        "FlowCWorkerDiscoveryFailures", "a tenth of the questions fails", True, BAD, {ASKED: "0+9x120", AWAY: "0+1x120"}
    ),
    Case("FlowCWorkerDiscoveryFailures", "one in fifty fails", False, GOOD, {ASKED: "0+49x120", AWAY: "0+1x120"}),
    Case(
        "FlowCWorkerDiscoveryFailures",
        "other calls fail",
        False,
        GOOD,
        {ASKED: "0+9x120", AWAY: IDLE, STORED: "0+9x120"},
    ),
    Case("FlowCWorkerDiscoveryFailures", "nobody asks", False, NOTHING, {ASKED: IDLE, AWAY: IDLE}),
    Case("FlowCUnreadableRecords", "a ticket was set aside half an hour ago", True, BAD, {UNREADABLE: "0x30 1x90"}),
    Case("FlowCUnreadableRecords", "one was set aside two hours ago", False, GOOD, {UNREADABLE: "0x5 1x200"}, 120),
    Case("FlowCUnreadableRecords", "all can be read", False, GOOD, {UNREADABLE: IDLE}),
    Case("FlowCDeadLetters", "an event was given up half an hour ago", True, BAD, {LETTERS: "0x30 1x90"}),
    Case("FlowCDeadLetters", "one was given up two hours ago", False, GOOD, {LETTERS: "0x5 1x200"}, 120),
    Case("FlowCDeadLetters", "none was given up", False, GOOD, {LETTERS: IDLE}),
    Case("FlowCJobsLeaked", "a job leaked half an hour ago", True, BAD, {LEAKED: "0x30 1x90"}),
    Case("FlowCJobsLeaked", "one leaked two hours ago", False, GOOD, {LEAKED: "0x5 1x200"}, 120),
    Case("FlowCJobsLeaked", "none leaked", False, GOOD, {LEAKED: IDLE}),
    Case("FlowCTokenFailures", "two forged tokens come each minute", True, BAD, {FORGED: "0+2x120", EXPIRED: IDLE}),
    Case("FlowCTokenFailures", "workers are late", False, GOOD, {FORGED: IDLE, EXPIRED: "0+9x120"}),
    Case("FlowCTokenFailures", "one was forged", False, GOOD, {FORGED: "0x57 1x60"}),
    Case("FlowCSignatureFailures", "two messages a minute are forged", True, BAD, {SIGNATURES: "0+2x120"}),
    Case("FlowCSignatureFailures", "one was forged", False, GOOD, {SIGNATURES: "0x57 1x60"}),
    Case("FlowCWebhookFailures", "one in ten is refused", True, BAD, {DELIVERED: "0+9x120", UNDELIVERED: "0+1x120"}),
    Case("FlowCWebhookFailures", "all are taken", False, GOOD, {DELIVERED: "0+9x120", UNDELIVERED: IDLE}),
    Case("FlowCWebhookFailures", "nobody subscribes", False, NOTHING, {DELIVERED: IDLE, UNDELIVERED: IDLE}),
    Case("FlowCQueueBacklog", "the queue grows", True, BAD, {QUEUE: "0+50x120"}),
    Case("FlowCQueueBacklog", "a burst has passed", False, GOOD, {QUEUE: "5000x50 10x70"}),
    Case("FlowCTicketBacklog", "more and more wait", True, BAD, {WAITING: "0+300x120", RUNNING: "9x120"}),
    Case("FlowCTicketBacklog", "many run", False, GOOD, {WAITING: "10x120", RUNNING: "20000x120"}),
    Case("FlowCApprovalsLate", "one has waited for half an hour", True, BAD, {APPROVALS: "0x30 1x90"}),
    Case("FlowCApprovalsLate", "each was decided in time", False, GOOD, {APPROVALS: "0x120"}),
    Case("FlowCHeartbeatDrop", "a third fell silent", True, BAD, {HEALTHY: "9x50 6x70", SILENT: "0x50 3x70"}),
    Case("FlowCHeartbeatDrop", "one of ten fell silent", False, GOOD, {HEALTHY: "9x120", SILENT: "1x120"}),
    Case("FlowCHeartbeatDrop", "there are no workers", False, NOTHING, {HEALTHY: IDLE, SILENT: IDLE}),
    Case("FlowCDiscoverySlow", "a tenth takes over a second", True, BAD, discovery("0+9x120", "0+10x120")),
    Case("FlowCDiscoverySlow", "all are fast", False, GOOD, discovery("0+9x120", "0+9x120")),
    Case("FlowCDiscoverySlow", "nobody asks", False, NOTHING, discovery(IDLE, IDLE)),
    Case("FlowCStoreErrors", "nothing can be stored", True, BAD, {ASKED: "0+9x120", STORED: "0+9x120"}),
    Case("FlowCStoreErrors", "one call in a hundred fails", False, GOOD, {ASKED: "0+99x120", STORED: "0+1x120"}),
    Case("FlowCWorkersUnavailable", "the store does not answer", False, NOTHING, {HEALTHY: UNKNOWN, SILENT: UNKNOWN}),
    Case("FlowCTelemetryBufferFull", "the store does not answer", False, NOTHING, {BUFFER: UNKNOWN}),
    Case("FlowCWorkersUnavailable", "who counted has gone", False, NOTHING, {HEALTHY: "1x20 _x100"}),
    Case("FlowCWorkersUnavailable", "two processes count", False, GOOD, {HEALTHY: "1x120", HEALTHY_ELSEWHERE: "1x120"}),
    Case("FlowCTelemetryBufferFull", "who counted has gone", False, NOTHING, {BUFFER: "2000x3 _x117"}),
    *(Case(rule.alert, "nothing is reported", False, NOTHING) for rule in RULES),
)


def expanded(notation: str) -> list[float | None]:
    """Return the values of promtool's notation, one a minute: `1+2x3` is 1 3 5 7, `_x2` two that are missing."""
    values: list[float | None] = []
    for part in notation.split():
        if part == "NaN":
            values.append(math.nan)
            continue
        match = re.fullmatch(r"(_|-?\d+)(?:([+-]\d+))?(?:x(\d+))?", part)
        assert match, part
        times = int(match[3] or 0)
        if match[1] == "_":
            values += [None] * max(1, times)
        else:
            values += [int(match[1]) + int(match[2] or 0) * number for number in range(times + 1)]
    return values


def key_of(text: str) -> tuple[str, Labels]:
    node = parse(text)
    assert isinstance(node, Selector)
    return node.name, frozenset((label, value) for label, _, value in node.matchers)


def series_of(case: Case) -> Series:
    return Series(
        {
            key_of(name): [(n * MINUTE, v) for n, v in enumerate(expanded(notation)) if v is not None]
            for name, notation in case.series.items()
        }
    )


def fires(expr: str, lasting: str, series: Series, minutes: int) -> bool:
    """Tell whether a rule that is evaluated every minute fires, that is: has held for as long as it says."""
    held = int(int(lasting[:-1]) * UNITS[lasting[-1]] / MINUTE)
    node = parse(expr)
    return all(series.at(node, minute * MINUTE) != {} for minute in range(minutes - held, minutes + 1))


def known_labels(metric: Metric, series: str) -> set[str]:
    return {*metric.labels, *({"le"} if series.endswith("_bucket") and metric.kind is Kind.HISTOGRAM else ())}


def all_expressions() -> Iterator[str]:
    for rule in RULES:
        yield from (rule.expr, rule.state, rule.no_data)
    for query in queries():
        if not query.startswith("vector("):
            yield query.replace("$__rate_interval", "1m").replace("$__range", "6h")


@pytest.mark.parametrize("expression", [*all_expressions()])
def test_every_series_and_label_that_is_read_is_in_the_catalogue(expression: str) -> None:
    node = parse(expression)
    found = [*selectors(node)]
    assert found
    for selector in found:
        metric = BY_SERIES[selector.name]
        labels = known_labels(metric, selector.name)
        for label, sign, value in selector.matchers:
            assert label in labels, selector
            for word in value.split("|") if "~" in sign else [value]:
                assert word in metric.labels[label] or metric.labels[label] == OPEN, selector
    for label, selector in grouped(node):
        assert label in known_labels(BY_SERIES[selector.name], selector.name), (label, selector)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.alert)
async def test_what_a_rule_reads_is_reported_from_the_start(rule: Rule, tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        shown = (await api.client.get("/metrics")).text
    read = {selector.name for selector in selectors(parse(rule.expr))}
    assert read == set(rule.reads)
    for name in read:
        assert re.search(rf"^{name}[{{ ]", shown, re.MULTILINE), f"{name} is not there before something happens"


def test_each_alert_of_flow_c_is_seen_to_fire_and_not_to_fire() -> None:
    assert len(BY_ALERT) == len(RULES)
    assert {case.alert for case in CASES if case.fires} == set(BY_ALERT) == {c.alert for c in CASES if not c.fires}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_a_rule_fires_when_it_should(case: Case) -> None:
    rule, series = BY_ALERT[case.alert], series_of(case)
    assert fires(rule.expr, rule.lasting, series, case.minutes) is case.fires


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_no_data_is_a_state_of_its_own(case: Case) -> None:
    rule, series = BY_ALERT[case.alert], series_of(case)
    states = series.at(parse(rule.state), case.minutes * MINUTE)
    assert isinstance(states, dict)
    assert [*states.values()] == ([] if case.state is NOTHING else [case.state])
    unknown = all(value == UNKNOWN or re.search(r"_x\d{2,}$", value) for value in case.series.values())
    assert fires(rule.no_data, "5m", series, case.minutes) is unknown


@pytest.mark.slow
def test_prometheus_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(rules_file())
    document = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": [_promtool_case(c) for c in CASES]}
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    promtool(tmp_path, "test", "rules", "tests.yaml")


def _promtool_case(case: Case) -> dict[str, Any]:
    rule = BY_ALERT[case.alert]
    labels = {"severity": rule.severity, **case.labels}
    summary = rule.summary.replace("{{ $labels.step }}", case.labels.get("step", ""))
    told = {"summary": summary, "description": rule.description, "runbook_url": rule.runbook}
    expected = [{"exp_labels": labels, "exp_annotations": told}]
    time = f"{case.minutes}m"
    states = [] if case.state is NOTHING else [{"labels": _braces(case, rule), "value": case.state}]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": time, "alertname": case.alert, "exp_alerts": expected if case.fires else []},
        ],
        "promql_expr_test": [{"expr": rule.state, "eval_time": time, "exp_samples": states}],
    }


def _braces(case: Case, rule: Rule) -> str:
    return f'{{step="{case.what[:2]}"}}' if "by (le, step)" in rule.signal else "{}"


def rows_of(name: str) -> list[str]:
    return [panel["title"] for panel in dashboard(name)["panels"] if panel["type"] == "row"]


def test_the_dashboard_of_the_orchestration_has_the_nine_rows_of_the_original() -> None:
    rows = ["Overview", "Duration", "Tickets", "SLA", "Retry", "Broker", "Validation", "Consolidation", "Telemetry"]
    assert rows_of("orchestration") == rows  # the broker stands where Kafka stood
    assert dashboard("orchestration")["refresh"] == "10s"
    assert sum(panel["type"] != "row" for panel in dashboard("orchestration")["panels"]) >= 21


def test_the_dashboards_of_tickets_and_registry_have_their_groups() -> None:
    assert rows_of("registry") == ["State", "Workers", "Health", "Discovery", "Heartbeat", "Store"]
    assert {"Tickets", "API", "Webhooks", "Tokens and signatures"} <= {*rows_of("tickets")}


@pytest.mark.parametrize("alert", [*BY_ALERT, NO_DATA])
def test_every_alert_has_a_runbook_with_its_three_parts(alert: str) -> None:
    page = (ROOT / RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Meaning", "How to see it", "What to do"]
    assert f"({alert}.md)" in (ROOT / RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert f'runbook_url: "{RUNBOOKS}/{alert}.md"' in rules_file()
    panels = {panel["title"] for name in DASHBOARDS for panel in dashboard(name)["panels"]}
    named = re.findall(r"\*([A-Z][^*\n]+)\*", page)
    assert [title for title in named if title not in panels] == []


def test_no_runbook_is_left_of_an_alert_that_is_gone() -> None:
    pages = {path.stem for path in (ROOT / RUNBOOKS).glob("*.md")}
    of_slos = {*(rule.alert for rule in SLA_RULES), PAGE_ALERT, TICKET_ALERT}
    others = {rule.alert for rule in (*EXECUTOR_RULES, *LEARNING_RULES)}
    assert pages == {*BY_ALERT, *of_slos, *others, NO_DATA, "README"}


def test_every_alert_says_what_to_do_and_has_a_no_data_alert_beside_it() -> None:
    text = rules_file()
    assert text.count(f"alert: {NO_DATA}") == len(RULES)
    for rule in RULES:
        assert f"concerns: {json.dumps(rule.alert)}" in text
        assert rule.severity in {"warning", "critical"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_has_places_that_do_not_overlap_and_a_text_for_no_data(name: str) -> None:
    panels = dashboard(name)["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["noValue"] == "no data"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_files_are_as_the_catalogue_makes_them(capsys: pytest.CaptureFixture[str]) -> None:
    status = generate_observability.main(["--check"])
    assert capsys.readouterr().err == ""
    assert status == 0


def test_a_difference_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_observability, "FOLDER", tmp_path)
    assert generate_observability.main([]) == 0
    (tmp_path / "alerts.yaml").write_text("groups: []\n")
    assert generate_observability.main(["--check"]) == 1
    assert capsys.readouterr().err == "infra/observability/alerts.yaml differs; run `make observability`\n"
