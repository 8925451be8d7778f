"""The calls of `analyst_agent.AnalystAgentService`."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from math import isfinite
from typing import Any

from functions._core.records.values import NAMESPACE, name_uuid
from functions._hosts.grpc.calls import Caller, RefusedCall
from functions._hosts.grpc.methods import Asked, Method, invalid, millis, segment

INSIGHTS = "/api/v1/insights"
ANALYTICS = "/api/v1/analytics"

SERIES = {"anomalies": ("values",), "trends": ("values",), "correlation": ("x", "y")}
"""Analyses, and the series that each is given."""

OTHERS = {"anomalies": ("method", "threshold"), "trends": (), "correlation": ("method",)}
"""What else each may be given."""

NUMBERS = ("slope", "intercept", "relative_change", "r_squared", "coefficient", "p_value", "points")


def insight_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return an insight of the API in the form of `Insight`."""
    return {**view, "created_at": millis(view["created_at"])}


async def get_insight(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/insights/{insight_id}; one that is not there is no error here."""
    try:
        view = await caller.get(f"{INSIGHTS}/{segment('insight_id', asked.insight_id)}")
    except RefusedCall as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return {"found": False}
    return {"insight": insight_of(view), "found": True}


async def query_insights(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/insights."""
    if asked.use_graph_enrichment:
        raise invalid("use_graph_enrichment: POST /api/v1/analytics/query tells what is connected with something")
    page = await caller.get(
        INSIGHTS,
        insight_type=asked.insight_type,
        priority=asked.priority,
        start_timestamp=asked.start_timestamp or None,
        end_timestamp=asked.end_timestamp or None,
        limit=asked.limit or None,
        offset=asked.offset or None,
        entity_id=asked.related_entity_id,
    )
    return {"insights": [insight_of(view) for view in page["items"]], "total_count": page["total"]}


async def execute_analysis(asked: Asked, caller: Caller) -> dict[str, Any]:
    """POST /api/v1/analytics/{anomalies,trends,correlation}."""
    kind, given = asked.analysis_type, dict(asked.parameters)
    if kind not in SERIES:
        raise invalid(f"analysis_type: {kind[:50]!r} is none of {', '.join(SERIES)}")
    unknown = sorted(given.keys() - {*SERIES[kind], *OTHERS[kind]})
    if unknown:
        raise invalid(f"parameters: {kind} takes no {unknown[0][:50]!r}")
    answer = await caller.send("POST", f"{ANALYTICS}/{kind}", lambda: _body(kind, given))
    request = json.dumps([kind, sorted(given.items())])
    if kind == "anomalies":
        scores = {f"score_{one['index']}": one["score"] for one in answer["items"]}
        results, confidence = {"count": len(answer["items"]), **scores}, 1.0
    else:
        results = {name: answer[name] for name in NUMBERS if name in answer}
        confidence = 1 - answer["p_value"]
    return {"analysis_id": name_uuid(str(NAMESPACE), request), "results": results, "confidence": confidence}


async def get_statistics(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/insights/statistics."""
    found = await caller.get(
        f"{INSIGHTS}/statistics",
        window_hours=0,
        start_timestamp=asked.start_timestamp or None,
        end_timestamp=asked.end_timestamp or None,
    )
    means = {name: found[name] or 0.0 for name in ("avg_confidence", "avg_impact")}
    return {name: found[name] for name in ("insights_by_type", "insights_by_priority")} | means


async def health_check(_asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/status."""
    status = (await caller.get("/api/v1/status"))["status"]
    return {"healthy": status == "ok", "status": status}


def _body(kind: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of a route."""
    series = {name: _series(given.get(name, "")) for name in SERIES[kind]}
    more: dict[str, Any] = {"method": given["method"]} if "method" in given else {}
    if "threshold" in given:
        more["threshold"] = _number(given["threshold"])
    if kind == "correlation":
        named = [{"metric_name": name, "values": values} for name, values in series.items()]
        return {"series1": named[0], "series2": named[1], **more}
    key = "time_series" if kind == "trends" else "values"
    return {"metric_name": "values", key: series["values"], **more}


def _series(text: str) -> list[float | str]:
    return [_number(part) for part in text.split(",")] if text.strip() else []


def _number(text: str) -> float | str:
    """Return a number; what is none stays as it is, for the route to refuse once it knows who asks."""
    try:
        number = float(text)
    except ValueError:
        return text[:50]
    return number if isfinite(number) else text[:50]


METHODS: Mapping[str, Method] = {
    "GetInsight": get_insight,
    "QueryInsights": query_insights,
    "ExecuteAnalysis": execute_analysis,
    "GetStatistics": get_statistics,
    "HealthCheck": health_check,
}
