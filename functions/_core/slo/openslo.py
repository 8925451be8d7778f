"""SLOs as OpenSLO v1 writes them, over Prometheus: read into our form, or refused with the place of what has none.

An objective over a ratio becomes the quotient of two queries; one over a threshold the share of the points in time at
which the value was good, a point a minute. A counter without a range gets the window of the SLO as its range.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, field_validator

from functions._core.records.models import Reason
from functions._core.records.values import JsonObject, Model, Number
from functions._core.slo.definition import MAX_WINDOW_DAYS, WINDOW, SloForm, SloType, check_query, type_of_name
from functions._core.slo.documents import NAME, OPENSLO_KIND, InvalidDocument, SloResource, place, read_as

OPENSLO_VERSION = "openslo/v1"

DURATION = re.compile(r"([1-9][0-9]{0,4})([hdw])", re.ASCII)
HOURS = {"h": 1, "d": 24, "w": 7 * 24}

SELECTOR = r"[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^{}\[\]]*\})?"
SUM_OF_COUNTER = re.compile(rf"\s*(?:sum\s*\(\s*(?P<summed>{SELECTOR})\s*\)|(?P<alone>{SELECTOR}))\s*")

STEP = "1m"
"""Distance of the points in time at which a value that is no counter is looked at."""

OPERATORS: Mapping[str, str] = {"lte": "<=", "gte": ">=", "lt": "<", "gt": ">"}

NOT_READ: Mapping[str, str] = {
    "indicatorRef": "an indicator of another document is not read; write it here, as indicator",
    "metricSourceRef": "there is one metrics server, that of FLOWC_PROMETHEUS_URL",
    "calendar": "windows are rolling",
    "timeSliceTarget": "the budgeting method is Occurrences",
    "timeSliceWindow": "the budgeting method is Occurrences",
    "compositeWeight": "an SLO has one objective",
}
"""Fields of OpenSLO that say something which an SLO of ours cannot, and why."""

PLACES: Mapping[str, str] = {
    "spec.sli_query": "spec.indicator",
    "spec.labels": "metadata.labels",
    "spec.metadata": "metadata.annotations",
}
"""Where a fault lies that was found in what the document makes."""

SPEC = ("spec",)
INDICATOR = (*SPEC, "indicator", "spec")


class OpenSloPart(Model):
    """A part of an OpenSLO document: a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenSloMetadata(OpenSloPart):
    """The names of a document or an indicator."""

    name: Annotated[str, Field(pattern=NAME)]
    displayName: Annotated[str, Field(max_length=200)] = ""  # noqa: N815 as it is written, as are those below
    namespace: Annotated[str, Field(pattern=NAME)] | None = None
    labels: Mapping[str, str | tuple[str, ...]] = {}
    annotations: Mapping[str, str] = {}


class PrometheusQuery(OpenSloPart):
    """What Prometheus is asked."""

    query: Annotated[str, Field(min_length=1, max_length=4000)]

    @field_validator("query")
    @classmethod
    def _balanced(cls, value: str) -> str:
        check_query(value)  # by itself: as a part of ours it could close what it has not opened
        return value


class MetricSource(OpenSloPart):
    """Where a value comes from."""

    type: Annotated[str, Field(pattern="^(?i:prometheus)$")]
    spec: PrometheusQuery


class OpenSloMetric(OpenSloPart):
    """A value over time."""

    metricSource: MetricSource  # noqa: N815


class RatioMetric(OpenSloPart):
    """Good or bad of all, or the ratio itself."""

    counter: StrictBool = False
    good: OpenSloMetric | None = None
    bad: OpenSloMetric | None = None
    total: OpenSloMetric | None = None
    rawType: Literal["success", "failure"] | None = None  # noqa: N815
    raw: OpenSloMetric | None = None


class IndicatorSpec(OpenSloPart):
    """What is measured."""

    description: Annotated[str, Field(max_length=2000)] = ""
    thresholdMetric: OpenSloMetric | None = None  # noqa: N815
    ratioMetric: RatioMetric | None = None  # noqa: N815


class InlineIndicator(OpenSloPart):
    """An indicator inside of its SLO."""

    metadata: OpenSloMetadata
    spec: IndicatorSpec


class RollingWindow(OpenSloPart):
    """The time over which an objective is kept."""

    duration: str
    isRolling: Literal[True]  # noqa: N815


class OpenSloObjective(OpenSloPart):
    """What is good, and how much of it there has to be."""

    displayName: Annotated[str, Field(max_length=200)] = ""  # noqa: N815
    op: Literal["lte", "gte", "lt", "gt"] | None = None
    value: Number | None = None
    target: Annotated[Number, Field(gt=0, lt=1)] | None = None
    targetPercent: Annotated[Number, Field(gt=0, lt=100)] | None = None  # noqa: N815


class OpenSloSpec(OpenSloPart):
    """An SLO."""

    description: Annotated[str, Field(max_length=2000)] = ""
    service: Annotated[str, Field(min_length=1, max_length=200)]
    indicator: InlineIndicator
    timeWindow: Annotated[tuple[RollingWindow, ...], Field(min_length=1, max_length=1)]  # noqa: N815
    budgetingMethod: Literal["Occurrences"]  # noqa: N815
    objectives: Annotated[tuple[OpenSloObjective, ...], Field(min_length=1, max_length=1)]
    alertPolicies: Annotated[tuple[Any, ...], Field(max_length=0)] = ()  # noqa: N815


class OpenSloDocument(OpenSloPart):
    """An SLO of OpenSLO v1."""

    apiVersion: Literal["openslo/v1"]  # noqa: N815
    kind: Literal["SLO"]
    metadata: OpenSloMetadata
    spec: OpenSloSpec


def read_openslo(document: JsonObject, where: str = "") -> SloResource:
    """Return what an OpenSLO document makes; raise `InvalidDocument`, `where` naming it among others."""
    try:
        form = _form(read_as(OpenSloDocument, document, ""))
    except InvalidDocument as invalid:
        raise InvalidDocument([_said(fault) for fault in invalid.faults], where) from None
    return SloResource(OPENSLO_KIND, document["metadata"]["name"], form, document)


def _form(one: OpenSloDocument) -> SloForm:
    spec, metadata, indicator = one.spec, one.metadata, one.spec.indicator
    objective = spec.objectives[0]
    labels = {name: _label(name, value) for name, value in metadata.labels.items()}
    query = _query(indicator.spec, objective)
    name = metadata.displayName or metadata.name
    kind = type_of_name(name)
    form = {
        "name": name,
        "description": spec.description,
        # The query gives what was good, also where it is made of what was bad.
        "slo_type": SloType.CUSTOM if kind is SloType.ERROR_RATE else kind,
        "service_name": spec.service,
        "target": _target(objective),
        "window_days": _days(spec.timeWindow[0].duration),
        "sli_query": {"metric_name": indicator.metadata.displayName or indicator.metadata.name, "query": query},
        "labels": {**({"namespace": metadata.namespace} if metadata.namespace else {}), **labels},
        "metadata": {"openslo": told} if (told := _told(one)) else {},
    }
    return read_as(SloForm, form, "", SPEC)


def _told(one: OpenSloDocument) -> Mapping[str, Any]:
    """Return what people are told in a document, and no field of ours has."""
    texts = {
        "indicatorDescription": one.spec.indicator.spec.description,
        "objective": one.spec.objectives[0].displayName,
        "annotations": dict(one.metadata.annotations),
    }
    return {name: text for name, text in texts.items() if text}


def _target(objective: OpenSloObjective) -> float:
    if (objective.target is None) == (objective.targetPercent is None):
        raise _fault("exactly one of target and targetPercent is given", *SPEC, "objectives", 0)
    return objective.target if objective.target is not None else round((objective.targetPercent or 0) / 100, 9)


def _days(duration: str) -> int:
    """Return the whole days of a duration."""
    path = (*SPEC, "timeWindow", 0, "duration")
    found = DURATION.fullmatch(duration)
    hours = int(found[1]) * HOURS[found[2]] if found else 0
    if hours % 24 or not 1 <= hours // 24 <= MAX_WINDOW_DAYS:
        raise _fault(f"is no rolling window of 1 to {MAX_WINDOW_DAYS} whole days, such as 30d or 4w", *path)
    return hours // 24


def _label(name: str, value: str | Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    if len(value) != 1:
        raise _fault("a label has one value", "metadata", "labels", name)
    return value[0]


def _query(indicator: IndicatorSpec, objective: OpenSloObjective) -> str:
    """Return the query of the share of what was good."""
    threshold, ratio = indicator.thresholdMetric, indicator.ratioMetric
    if (threshold is None) == (ratio is None):
        raise _fault("exactly one of thresholdMetric and ratioMetric is given", *INDICATOR)
    if threshold is not None:
        return _of_threshold(threshold, objective)
    if objective.op is not None or objective.value is not None:
        raise _fault("op and value are for thresholdMetric", *SPEC, "objectives", 0)
    return _of_ratio(ratio or RatioMetric())


def _of_threshold(metric: OpenSloMetric, objective: OpenSloObjective) -> str:
    if objective.op is None or objective.value is None:
        raise _fault("a thresholdMetric needs op and value", *SPEC, "objectives", 0)
    query = metric.metricSource.spec.query
    if WINDOW in query:
        text = f"the value at a point in time is compared, so its query has a range of its own and no {WINDOW}"
        raise _fault(text, *INDICATOR, "thresholdMetric", "metricSource", "spec", "query")
    good = f"({query}) {OPERATORS[objective.op]} bool {objective.value!r}"
    return f"avg_over_time(({good})[{WINDOW}:{STEP}])"


def _of_ratio(ratio: RatioMetric) -> str:
    given = {name: getattr(ratio, name) for name in ("good", "bad", "total", "raw") if getattr(ratio, name) is not None}
    path = (*INDICATOR, "ratioMetric")
    if set(given) == {"raw"}:
        if ratio.rawType is None:
            raise _fault("raw needs rawType", *path)
        if ratio.counter:
            raise _fault("a ratio is no counter", *path, "counter")
        query = given["raw"].metricSource.spec.query
        share = query if WINDOW in query else f"avg_over_time(({query})[{WINDOW}:{STEP}])"
        return share if ratio.rawType == "success" else f"1 - ({share})"
    if set(given) not in ({"good", "total"}, {"bad", "total"}) or ratio.rawType is not None:
        raise _fault("good and total, bad and total, or raw and rawType are given", *path)
    parts = {
        name: _counted(metric.metricSource.spec.query, (*path, name), counter=ratio.counter)
        for name, metric in given.items()
    }
    if "good" in parts:
        return f"({parts['good']}) / ({parts['total']})"
    return f"1 - ({parts['bad']}) / ({parts['total']})"


def _counted(query: str, path: Sequence[str], *, counter: bool) -> str:
    """Return the query of how many there were in the window."""
    if WINDOW in query:
        return query
    if not counter:
        return f"sum_over_time(({query})[{WINDOW}:{STEP}])"
    found = SUM_OF_COUNTER.fullmatch(query)
    if found is None:
        text = f"a counter is a metric or its sum, such as sum(requests_total{{code='200'}}), or has {WINDOW} as range"
        raise _fault(text, *path, "metricSource", "spec", "query")
    return f"sum(increase({found['summed'] or found['alone']}[{WINDOW}]))"


def _fault(message: str, *path: str | int) -> InvalidDocument:
    return InvalidDocument([Reason(code="not_expressible", message=message, where=place(path))])


def _said(fault: Reason) -> Reason:
    """Return a fault at its place in the document, with what is known of a field that is not read."""
    fault = fault.but(where=next((theirs for ours, theirs in PLACES.items() if _below(fault, ours)), fault.where))
    field = (fault.where or "").rpartition(".")[2]
    if fault.code == "extra_forbidden" and field in NOT_READ:
        return fault.but(code="not_expressible", message=f"is not read: {NOT_READ[field]}")
    return fault


def _below(fault: Reason, path: str) -> bool:
    return (fault.where or "").startswith(path)
