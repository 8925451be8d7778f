"""SLOs that are made of alert rules."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.errors import Rejected
from functions._core.slo.alert_rules import MAX_RULES, slos_of_rules, split, windowed
from functions._core.slo.definition import SloType
from tests.conftest import ROOT

THREE = """
groups:
  - name: gateway
    rules:
      - record: job:requests:rate5m
        expr: sum(rate(requests_total[5m]))
      - alert: GatewayHighErrorRate
        expr: sum(rate(requests_total{code=~"5.."}[5m])) / sum(rate(requests_total[5m])) > 0.01
        for: 5m
        labels: {severity: critical, service: gateway}
        annotations: {summary: Errors, description: "Too many errors: {{ $value }}"}
      - alert: GatewayLatencyP95
        expr: |
          histogram_quantile(0.95, sum by (le) (rate(duration_seconds_bucket{job="gw"}[10m]))) > 0.5  # seconds
  - name: platform
    rules:
      - alert: LowAvailability
        expr: avg_over_time(up{job="api"}[5m]) < 0.99
"""


def test_three_rules_make_three_slos() -> None:
    errors, latency, availability = slos_of_rules(THREE)
    assert [form.kind for form in (errors, latency, availability)] == [
        SloType.ERROR_RATE,
        SloType.LATENCY,
        SloType.AVAILABILITY,
    ]
    assert [form.service_name for form in (errors, latency, availability)] == ["gateway", "gw", "api"]
    assert {(form.target, form.window_days, form.enabled) for form in (errors, latency, availability)} == {
        (0.999, 30, True)
    }
    assert errors.sli_query.query == (
        'sum(rate(requests_total{code=~"5.."}[{{window}}])) / sum(rate(requests_total[{{window}}]))'
    )
    assert latency.sli_query.query == (
        'sum(rate(duration_seconds_bucket{job="gw",le=~"0[.]5|0[.]5[.]0"}[{{window}}]))'
        ' / sum(rate(duration_seconds_count{job="gw"}[{{window}}]))'
    )
    assert availability.sli_query.query == 'avg_over_time(up{job="api"}[{{window}}])'
    assert errors.description == "Too many errors: {{ $value }}"
    assert errors.labels == {"severity": "critical", "service": "gateway"}
    assert errors.metadata["group"] == "gateway"


@pytest.mark.parametrize(
    ("name", "expr", "query"),
    [
        ("HighErrors", "e > 0.1", "e"),
        ("HighErrors", "success < 0.9", "1 - (success)"),
        ("LowAvailability", "down >= 0.1", "1 - (down)"),
        ("LowAvailability", "good <= .9", "good"),
        ("LowAvailability", "good == 0", "good == 0"),
        ("LowAvailability", "(good < 0.9)", "(good < 0.9)"),
        ("LowAvailability", 'good{a="x<1"} # < 2', 'good{a="x<1"}'),
        ("LowAvailability", "good < on (a) limits", "good < on (a) limits"),
        ("HighErrors", "e[1h:5m] offset 1d > 1e-3", "e[1h:5m] offset 1d"),
    ],
)
def test_what_is_left_of_a_comparison_is_the_indicator(name: str, expr: str, query: str) -> None:
    (form,) = slos_of_rules(json.dumps({"groups": [{"name": "g", "rules": [{"alert": name, "expr": expr}]}]}))
    assert form.sli_query.query == query


def test_rules_of_the_operator_and_several_documents_are_read() -> None:
    resource = {"kind": "PrometheusRule", "spec": {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "a"}]}]}}
    first, second = slos_of_rules(f"---\n{json.dumps(resource)}\n---\n{json.dumps(resource)}\n---\n")
    assert (first.name, second.name, first.service_name) == ("A", "A (2)", "g")


def test_our_own_rules_can_be_read() -> None:
    forms = slos_of_rules((ROOT / "infra" / "observability" / "alerts.yaml").read_text(encoding="utf-8"))
    assert len({(form.service_name, form.name) for form in forms}) == len(forms) > 20


MALFORMED = {
    "nothing": "",
    "a list": "[1, 2]",
    "a word": "groups",
    "no YAML": "groups: [",
    "another document": "kind: Service",
    "groups that are none": "groups: {a: 1}",
    "a group that is none": "groups: [1]",
    "rules that are none": "groups: [{name: a, rules: 1}]",
    "a rule that is none": "groups: [{name: a, rules: [1]}]",
    "no alert": "groups: [{name: a, rules: [{record: a, expr: b}]}]",
    "a tag": "groups: !!python/object/apply:os.system [ls]",
    "half a character": "groups: \ud800",
    "aliases without end": "a: &a [1,1,1,1,1,1,1,1,1]\n"
    "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c]\ngroups: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]",
    "depth": "groups: " + "[" * 5000,
    "too much": "groups: " + "x" * 1024 * 1024,
    "too many rules": json.dumps({"groups": [{"rules": [{"alert": "a", "expr": "b"}] * (MAX_RULES + 1)}]}),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_no_file_of_rules_is_refused(what: str) -> None:
    with pytest.raises(Rejected) as refused:
        slos_of_rules(MALFORMED[what])
    assert (refused.value.code, refused.value.status) == ("malformed_rules", 422)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"alert": "", "expr": "a"}, "name"),
        ({"alert": "a"}, "query"),
        ({"alert": "a", "expr": "sum("}, "query"),
        ({"alert": "a", "expr": "x" * 4001}, "query"),
        ({"alert": "a" * 201, "expr": "x"}, "name"),
        ({"alert": "a", "expr": "x", "labels": {"a": "v" * 201}}, "labels"),
        ({"alert": {"a": 1}, "expr": "x\x00"}, "query"),
    ],
)
def test_an_alert_that_makes_no_slo_is_named(rule: dict[str, object], place: str) -> None:
    with pytest.raises(Rejected) as refused:
        slos_of_rules(json.dumps({"groups": [{"name": "g", "rules": [{"alert": "fine", "expr": "x"}, rule]}]}))
    assert (refused.value.code, refused.value.status) == ("invalid_rules", 422)
    assert str(refused.value).startswith("groups[0].rules[1]: ")
    assert place in str(refused.value)


@pytest.mark.parametrize("part", ['"', "(", "'a", "[1", "#", "> ", '"\\', "[ ", "a_bucket", "histogram_quantile(", "{"])
def test_no_rule_takes_long(part: str) -> None:
    expr = "histogram_quantile(" + part * (3900 // len(part)) + " > 1"
    rules = [{"alert": f"a{number}", "expr": expr} for number in range(100)]
    begun = time.process_time()
    with pytest.raises(Rejected):
        slos_of_rules(json.dumps({"groups": [{"name": "g", "rules": rules}]}) + "\n")
    assert time.process_time() - begun < 3


def test_no_space_in_a_rule_takes_long() -> None:
    expr = f"histogram_quantile(0.9, sum by (le) (rate(a_bucket{' ' * 3900}x))) > 0.5"
    rules = [{"alert": f"a{number}", "expr": expr, "labels": {"service": "s"}} for number in range(100)]
    begun = time.process_time()
    assert len(slos_of_rules(json.dumps({"groups": [{"name": "g", "rules": rules}]}))) == 100
    assert time.process_time() - begun < 3


@given(st.text(max_size=200))
def test_any_expression_is_read_or_refused(expr: str) -> None:
    assert split(expr).value in expr
    assert windowed(expr).count('"') == expr.count('"')
    with suppress(Rejected):
        slos_of_rules(json.dumps({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": expr}]}]}))
