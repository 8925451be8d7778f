"""OpenSLO v1: what each form of an indicator becomes, and that what has no form of ours is refused with its place."""

from typing import Any

import pytest

from functions._core.slo.definition import SloForm, SloType
from functions._core.slo.documents import InvalidDocument
from functions._core.slo.reading import read_document
from tests.unit.test_slo_documents import faults

Tree = dict[str, Any]


def source(query: str, **more: Any) -> Tree:
    return {"metricSource": {"type": "Prometheus", "spec": {"query": query}, **more}}


GOOD = source('sum(requests_total{code=~"2.."})')
RATIO: Tree = {"ratioMetric": {"counter": True, "good": GOOD, "total": source("requests_total")}}
THRESHOLD: Tree = {"thresholdMetric": source("histogram_quantile(0.95, sum(rate(d_bucket[5m])) by (le))")}
LIMIT: Tree = {"op": "lte", "value": 0.2, "target": 0.99}


def openslo(indicator: Tree = RATIO, objective: Tree | None = None, metadata: Tree | None = None, **spec: Any) -> Tree:
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "web-availability", **(metadata or {})},
        "spec": {
            "service": "web",
            "indicator": {"metadata": {"name": "requests"}, "spec": indicator},
            "timeWindow": [{"duration": "28d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [objective or {"target": 0.999}],
            **spec,
        },
    }


def form(document: Tree) -> SloForm:
    found = read_document(document).form
    assert isinstance(found, SloForm)
    return found


def query(indicator: Tree, objective: Tree | None = None) -> str | None:
    return form(openslo(indicator, objective)).sli_query.query


def test_an_slo_over_a_ratio_has_every_field() -> None:
    names = {"displayName": "Web", "labels": {"team": ["a"], "tier": "1"}, "annotations": {"url": "x"}}
    found = form(openslo(metadata=names, description="d", objective={"displayName": "most", "targetPercent": 99.9}))
    assert (found.name, found.service_name, found.description, found.window_days) == ("Web", "web", "d", 28)
    assert (found.target, found.labels) == (0.999, {"team": "a", "tier": "1"})
    assert found.metadata == {"openslo": {"objective": "most", "annotations": {"url": "x"}}}
    good = 'sum(increase(requests_total{code=~"2.."}[{{window}}]))'
    assert found.sli_query.query == f"({good}) / (sum(increase(requests_total[{{{{window}}}}])))"
    assert found.sli_query.metric_name == "requests"
    assert form(openslo()).slo_type is SloType.AVAILABILITY


def test_a_query_that_gives_what_was_good_is_never_taken_for_an_error_rate() -> None:
    assert form(openslo(metadata={"name": "error-rate"})).slo_type is SloType.CUSTOM


def test_each_form_of_an_indicator_becomes_the_share_of_what_was_good() -> None:
    total = source("sum(rate(x[{{window}}]))")
    bad = {"ratioMetric": {"counter": True, "bad": source("failed_total"), "total": total}}
    assert query(bad) == "1 - (sum(increase(failed_total[{{window}}]))) / (sum(rate(x[{{window}}])))"
    gauges = {"ratioMetric": {"good": source("up_now"), "total": source("all_now")}}
    assert query(gauges) == "(sum_over_time((up_now)[{{window}}:1m])) / (sum_over_time((all_now)[{{window}}:1m]))"
    raw = source("availability")
    assert query({"ratioMetric": {"rawType": "success", "raw": raw}}) == "avg_over_time((availability)[{{window}}:1m])"
    failures = {"ratioMetric": {"rawType": "failure", "raw": source("errors[{{window}}]")}}
    assert query(failures) == "1 - (errors[{{window}}])"
    assert query({"thresholdMetric": source("lag")}, LIMIT) == "avg_over_time(((lag) <= bool 0.2)[{{window}}:1m])"
    assert query({"thresholdMetric": source("lag")}, {**LIMIT, "op": "gt"}) == (
        "avg_over_time(((lag) > bool 0.2)[{{window}}:1m])"
    )


@pytest.mark.parametrize(("duration", "days"), [("1d", 1), ("90d", 90), ("4w", 28), ("48h", 2)])
def test_windows_are_whole_days(duration: str, days: int) -> None:
    assert form(openslo(timeWindow=[{"duration": duration, "isRolling": True}])).window_days == days


def window(duration: str = "30d", **more: Any) -> Tree:
    return openslo(timeWindow=[{"duration": duration, "isRolling": True, **more}])


RATIO_AT, OBJECTIVE = "spec.indicator.spec.ratioMetric", "spec.objectives[0]"


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        (openslo(budgetingMethod="Timeslices"), "spec.budgetingMethod", "Occurrences"),
        (openslo(objective={"target": 0.9, "timeSliceTarget": 0.9}), f"{OBJECTIVE}.timeSliceTarget", "Occurrences"),
        (openslo(objective={"target": 0.9, "compositeWeight": 1}), f"{OBJECTIVE}.compositeWeight", "one objective"),
        (openslo(objectives=[{"target": 0.9}, {"target": 0.8}]), "spec.objectives", "1 item"),
        (openslo(objective={"target": 0.9, "targetPercent": 90}), OBJECTIVE, "exactly one"),
        (openslo(objective={"target": 1}), f"{OBJECTIVE}.target", "less than 1"),
        (openslo(objective={**LIMIT}), OBJECTIVE, "thresholdMetric"),
        (openslo(THRESHOLD), OBJECTIVE, "needs op and value"),
        (openslo(objective={**LIMIT, "op": "eq"}), f"{OBJECTIVE}.op", "lte"),
        (openslo(indicatorRef="other"), "spec.indicatorRef", "another document"),
        (openslo(alertPolicies=["page"]), "spec.alertPolicies", "0 items"),
        (window("1M"), "spec.timeWindow[0].duration", "90"),
        (window("91d"), "spec.timeWindow[0].duration", "90"),
        (window("25h"), "spec.timeWindow[0].duration", "whole days"),
        (window(isRolling=False), "spec.timeWindow[0].isRolling", "True"),
        (window(calendar={"startTime": "x"}), "spec.timeWindow[0].calendar", "rolling"),
        (openslo({"ratioMetric": {"good": GOOD}}), RATIO_AT, "good and total"),
        (openslo({"ratioMetric": {**RATIO["ratioMetric"], "bad": GOOD}}), RATIO_AT, "good and total"),
        (openslo({"ratioMetric": {"raw": GOOD}}), RATIO_AT, "rawType"),
        (openslo({"ratioMetric": {"counter": True, "rawType": "success", "raw": GOOD}}), f"{RATIO_AT}.counter", "no"),
        (openslo({**RATIO, **THRESHOLD}), "spec.indicator.spec", "exactly one"),
        (
            openslo({"ratioMetric": {**RATIO["ratioMetric"], "good": source("a_total + b_total")}}),
            f"{RATIO_AT}.good.metricSource.spec.query",
            "a counter is",
        ),
        (
            openslo({"thresholdMetric": source("x[{{window}}]")}, LIMIT),
            "spec.indicator.spec.thresholdMetric.metricSource.spec.query",
            "range of its own",
        ),
        (
            openslo({"ratioMetric": {**RATIO["ratioMetric"], "good": source("x", metricSourceRef="mine")}}),
            f"{RATIO_AT}.good.metricSource.metricSourceRef",
            "FLOWC_PROMETHEUS_URL",
        ),
        (
            openslo({"thresholdMetric": {"metricSource": {"type": "Datadog", "spec": {"query": "x"}}}}, LIMIT),
            "spec.indicator.spec.thresholdMetric.metricSource.type",
            "prometheus",
        ),
        (openslo(metadata={"labels": {"team": ["a", "b"]}}), "metadata.labels.team", "one value"),
        ({**openslo(), "kind": "Service"}, "kind", "openslo/v1 SLO"),
        (
            openslo({"thresholdMetric": source("x) or (y")}, LIMIT),
            "spec.indicator.spec.thresholdMetric.metricSource.spec.query",
            "closes nothing",
        ),
        (
            openslo({"ratioMetric": {"good": source("x" * 3000), "total": source("x" * 3000)}}),
            "spec.indicator",
            "4000 characters",
        ),
        (openslo(metadata={"labels": {f"n{n}": "" for n in range(17)}}), "metadata.labels", "16"),
        (openslo(metadata={"annotations": {"a": "x" * 9000}}), "metadata.annotations", "8192"),
    ],
)
def test_what_has_no_form_of_ours_is_refused_with_its_place(document: Tree, where: str, said: str) -> None:
    found = faults(document)
    assert said in found[where], found


def test_a_long_query_of_a_stranger_is_read_in_no_time() -> None:
    hostile = source("sum(" + "a" * 3900 + "{")
    with pytest.raises(InvalidDocument):
        read_document(openslo({"ratioMetric": {"counter": True, "good": hostile, "total": hostile}}))
