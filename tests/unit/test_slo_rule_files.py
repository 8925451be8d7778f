"""Alert rules that are made of SLOs: their numbers, beside those that Sloth makes, and what Prometheus says of them."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions._core.slo.definition import Slo
from functions._core.slo.rule_files import BURN_ALERTS, alert_query, quoted, rules_of, untemplated
from tests.support.monitoring import promtool

SLOTH = Path(__file__).parent / "data" / "sloth-getting-started.yaml"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ERRORS = (
    'sum(rate(http_request_duration_seconds_count{job="myservice",code=~"(5..|429)"}[{{window}}]))'
    ' / sum(rate(http_request_duration_seconds_count{job="myservice"}[{{window}}]))'
)
THRESHOLD = re.compile(r"ratio_rate(\w+)\{[^}]*\} > \(([0-9.]+) \* ([0-9.]+)\)")


def slo(**more: Any) -> Slo:
    """Return the SLO of Sloth's example: 99.9 % of the requests are no errors, over 30 days."""
    values: dict[str, Any] = {
        "slo_id": "slo-1",
        "name": "requests-availability",
        "slo_type": "ERROR_RATE",
        "service_name": "myservice",
        "target": 0.999,
        "sli_query": {"query": ERRORS, "aggregation": "ratio"},
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Slo.model_validate(values | more)


def thresholds(expression: str) -> list[tuple[str, float]]:
    """Return the windows of an alert, and the error rate above which each burns too fast."""
    return [(window, float(factor) * float(budget)) for window, factor, budget in THRESHOLD.findall(expression)]


def test_the_numbers_of_thirty_days_are_those_of_the_workbook() -> None:
    assert [(pair.short, pair.long, round(pair.factor(30), 9)) for pair in BURN_ALERTS] == [
        ("5m", "1h", 14.4),
        ("30m", "6h", 6),
        ("2h", "1d", 3),
        ("6h", "3d", 1),
    ]


def test_the_numbers_of_the_same_slo_are_those_of_sloth() -> None:
    theirs = {
        rule["labels"]["sloth_severity"]: rule["expr"]
        for group in yaml.safe_load(SLOTH.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    for severity in BOTH:
        ours = thresholds(alert_query(slo(), severity))
        assert len(ours) == 4
        assert dict(ours) == pytest.approx(dict(thresholds(theirs[severity])), rel=1e-9)


@pytest.mark.parametrize(
    ("days", "factors"),
    [
        (28, [13.44, 5.6, 2.8, 28 / 30]),  # as Sloth has them, from the same parts of the budget
        (90, [43.2, 18, 9, 3]),
        (7, [3.36, 1.4, 28 / 30, 28 / 30]),
        (1, [28 / 30] * 3),  # three days are no part of one
    ],
)
def test_other_windows_alert_at_the_same_parts_of_the_budget(days: int, factors: list[float]) -> None:
    text = "".join(alert_query(slo(window_days=days), severity) for severity in BOTH)
    assert [rate for _, rate in thresholds(text)][::2] == [pytest.approx(factor * 0.001) for factor in factors]


def minutes(*parts: tuple[int, int]) -> str:
    """Return a counter in promtool's notation, one sample a minute: so many minutes with so many errors in each."""
    value, text = 0, ["0"]
    for lasting, each in parts:
        text.append(f"{value + each}+{each}x{lasting - 1}")
        value += each * lasting
    return " ".join(text)


BOTH = ("page", "ticket")

COURSES: dict[str, tuple[list[tuple[int, int]], dict[int, tuple[str, ...]]]] = {
    "one error in ten thousand": ([(600, 1)], {590: ()}),
    "a fiftieth fails for an hour": ([(60, 1), (60, 200), (120, 0)], {70: ("ticket",), 110: BOTH, 230: ("ticket",)}),
    "seven in a thousand fail": ([(600, 0), (400, 70)], {660: (), 990: BOTH}),
    "four in a thousand fail": ([(30, 0), (800, 40)], {800: ("ticket",)}),
    "little more than is allowed": ([(600, 12)], {590: ("ticket",)}),
    "nobody asks": ([(300, 0)], {290: ()}),
}
"""Minutes and errors in each of them, of 10,000 requests; minutes, and which alerts fire then."""


@pytest.mark.slow
@pytest.mark.parametrize("course", COURSES)
def test_the_alerts_fire_when_those_of_sloth_do(course: str, tmp_path: Path) -> None:
    parts, expected = COURSES[course]
    (tmp_path / "ours.yaml").write_text(rules_of([slo()]))
    (tmp_path / "sloth.yaml").write_text(SLOTH.read_text())
    asked = 0 if course == "nobody asks" else 10_000
    lasting = sum(minutes for minutes, _ in parts)
    series = 'http_request_duration_seconds_count{job="myservice",code="'
    tests: list[dict[str, Any]] = []
    for severity in BOTH:
        ours = f'(count(ALERTS{{slo="slo-1",severity="{severity}"}}) or vector(0))'
        theirs = f'(count(ALERTS{{sloth_severity="{severity}"}}) or vector(0))'
        same = [{"expr": f"{ours} != {theirs}", "eval_time": f"{at}m"} for at in range(0, lasting, 10)]
        fires = [
            {
                "expr": ours,
                "eval_time": f"{at}m",
                "exp_samples": [{"labels": "{}", "value": int(severity in firing)}],
            }
            for at, firing in expected.items()
        ]
        tests += [*same, *fires]
    document = {
        "rule_files": ["ours.yaml", "sloth.yaml"],
        "evaluation_interval": "10m",
        # Each of Sloth's groups reads what the ones before it have recorded at the same moment.
        "group_eval_order": [group["name"] for group in yaml.safe_load(SLOTH.read_text())["groups"]],
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": f'{series}500"}}', "values": minutes(*parts)},
                    {"series": f'{series}200"}}', "values": f"0+{asked}x{lasting}"},
                ],
                "promql_expr_test": tests,
            }
        ],
    }
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    promtool(tmp_path, "test", "rules", "tests.yaml")


HOSTILE = [
    '"}]: x\n- record: a',
    '{{ query "up" }} {{ . }} }}',
    "\x00\x07\x1b[31m\u2028\u0085\ufeff\u202e",
    "a: b # c",
    "%{x} ${y} 'z' \\",
    "\U0001f525 ü",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_changes_nothing_but_itself(name: str, tmp_path: Path) -> None:
    text = rules_of([slo().but(name=name, service_name=name)])  # no form takes all of these
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    assert {rule["labels"].get("slo_name", name) for rule in rules} == {name}
    assert [sorted(rule) for rule in rules if "alert" in rule] == [["alert", "annotations", "expr", "labels"]] * 2
    (tmp_path / "rules.yaml").write_text(text)
    assert "9 rules found" in promtool(tmp_path, "check", "rules", "rules.yaml")


@pytest.mark.slow
def test_prometheus_shows_a_name_as_it_is(tmp_path: Path) -> None:
    named = slo(name="{{ query `up` }}", service_name='{{ $labels.slo }} "x"', sli_query={"query": "vector(1) # {{}}"})
    (tmp_path / "rules.yaml").write_text(rules_of([named]))
    labels = {"severity": "page", "slo": "slo-1", "slo_name": named.name, "service": named.service_name}
    alert = yaml.safe_load(rules_of([named]))["groups"][0]["rules"][-2]["annotations"]
    summary = f"{named.service_name}: the error budget of {named.name} burns too fast"
    expected = {"exp_labels": labels, "exp_annotations": {**alert, "summary": summary}}
    test = {"eval_time": "10m", "alertname": "SloBurnsFast", "exp_alerts": [expected]}
    document = {"rule_files": ["rules.yaml"], "tests": [{"interval": "1m", "alert_rule_test": [test]}]}
    (tmp_path / "tests.yaml").write_text(json.dumps(document))
    promtool(tmp_path, "test", "rules", "tests.yaml")
    assert untemplated("a {{{ b") == 'a {{ "{{" }}{ b'


@pytest.mark.parametrize(
    ("kind", "aggregation", "begin"),
    [("AVAILABILITY", "min", "1 - min("), ("ERROR_RATE", "sum", "sum("), ("LATENCY", "ratio", "1 - avg(")],
)
def test_a_share_of_what_is_good_becomes_an_error_rate(kind: str, aggregation: str, begin: str) -> None:
    one = slo(slo_type=kind, sli_query={"query": "x[{{window}}]", "aggregation": aggregation})
    records = [rule["expr"] for rule in yaml.safe_load(rules_of([one]))["groups"][0]["rules"] if "record" in rule]
    assert [record.split("\n") for record in records] == [
        [begin, f"x[{window}]", ")"] for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    ]


@pytest.mark.slow
def test_slos_that_are_off_or_need_no_prometheus_have_no_rules(tmp_path: Path) -> None:
    own = slo(sli_query={"history": {"measure": "flow_success"}})
    text = rules_of([own, slo(enabled=False)])
    assert yaml.safe_load(text) == {"groups": []}
    (tmp_path / "rules.yaml").write_text(text)
    promtool(tmp_path, "check", "rules", "rules.yaml")


def test_what_nobody_sees_is_escaped() -> None:
    assert quoted("a\u2028\U000e0001\tb") == '"a\\U00002028\\U000e0001\\tb"'
