"""Insights over gRPC answer as their routes do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from functions._core.insights.insight import InsightPriority, InsightType
from tests.support.grpc_client import channel, modules, port_of, refusal
from tests.support.insights import insight, store_insights
from tests.support.one_machine import OneMachine, one_machine

messages, stubs = modules("analyst_agent")
Code = grpc.StatusCode
KEY = "the-key-of-the-first-administrator-0001"
NOW = datetime.now(UTC).replace(microsecond=0)
LATE = insight("late", at=NOW, worker_id="w-1")
OLD = insight("old", InsightType.ANOMALY, InsightPriority.HIGH, at=NOW - timedelta(hours=30))
SPIKE = ",".join(["10", "11", "9"] * 4 + ["90"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path, grpc_port=0, api_key=KEY, rate_limits="off") as running:
        running.client.headers["x-api-key"] = KEY
        await store_insights(running.running.ports.key_values, LATE, OLD)
        yield running


@pytest.fixture
async def stub(world: OneMachine) -> AsyncIterator[Any]:
    async with channel(port_of(world)) as opened:
        yield Keyed(stubs.AnalystAgentServiceStub(opened))


class Keyed:
    """A stub whose calls prove who asks."""

    def __init__(self, stub: Any) -> None:
        self.stub = stub

    def __getattr__(self, name: str) -> Any:
        return lambda asked: getattr(self.stub, name)(asked, metadata=(("x-api-key", KEY),))


async def test_an_insight_is_what_its_route_shows(world: OneMachine, stub: Any) -> None:
    answer = await stub.GetInsight(messages.GetInsightRequest(insight_id=LATE.insight_id))
    twin = (await world.client.get(f"/api/v1/insights/{LATE.insight_id}")).json()
    assert answer.found
    shown = answer.insight
    for name in ("insight_id", "version", "trace_id", "insight_type", "priority", "title", "summary", "hash"):
        assert getattr(shown, name) == twin[name]
    assert shown.created_at == NOW.timestamp() * 1000
    assert (dict(shown.metrics), list(shown.data_sources)) == (twin["metrics"], twin["data_sources"])
    assert [one.action for one in shown.recommendations] == ["Look at it"]
    absent = await stub.GetInsight(messages.GetInsightRequest(insight_id="nobody"))
    assert (absent.found, absent.HasField("insight")) == (False, False)
    assert (await refusal(stub.GetInsight(messages.GetInsightRequest()))).code() is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("asked", "titles"),
    [
        ({}, ["late", "old"]),
        ({"insight_type": "ANOMALY"}, ["old"]),
        ({"priority": "MEDIUM"}, ["late"]),
        ({"start_timestamp": int(NOW.timestamp() * 1000)}, ["late"]),
        ({"end_timestamp": int((NOW - timedelta(hours=1)).timestamp() * 1000)}, ["old"]),
        ({"related_entity_id": "w-1"}, ["late"]),
        ({"limit": 1, "offset": 1}, ["old"]),
    ],
)
async def test_queries_have_the_filters_of_the_route(stub: Any, asked: dict[str, Any], titles: list[str]) -> None:
    answer = await stub.QueryInsights(messages.QueryInsightsRequest(**asked))
    assert [one.title.removeprefix("Finding ") for one in answer.insights] == titles
    assert answer.total_count == (2 if "limit" in asked else len(titles))


async def test_statistics_and_health(world: OneMachine, stub: Any) -> None:
    answer = await stub.GetStatistics(messages.GetStatisticsRequest())
    twin = (await world.client.get("/api/v1/insights/statistics", params={"window_hours": 0})).json()
    assert dict(answer.insights_by_type) == twin["insights_by_type"]
    assert dict(answer.insights_by_priority) == twin["insights_by_priority"]
    assert (answer.avg_confidence, answer.avg_impact) == (pytest.approx(0.8), pytest.approx(0.5))
    since = messages.GetStatisticsRequest(start_timestamp=int(NOW.timestamp() * 1000))
    assert sum((await stub.GetStatistics(since)).insights_by_type.values()) == 1
    health = await stub.HealthCheck(messages.HealthCheckRequest())
    assert (health.healthy, health.status) == (True, "ok")


async def test_an_analysis_gives_the_numbers_of_its_route(stub: Any) -> None:
    def asked(kind: str, **parameters: str) -> Any:
        return stub.ExecuteAnalysis(messages.ExecuteAnalysisRequest(analysis_type=kind, parameters=parameters))

    spike = await asked("anomalies", values=SPIKE, method="zscore", threshold="3")
    assert (spike.results["count"], spike.confidence) == (1, 1)
    assert spike.results["score_12"] > 3
    assert (await asked("anomalies", values=SPIKE, method="zscore", threshold="3")).analysis_id == spike.analysis_id
    trend = await asked("trends", values="1,2,3,4,5.5")
    assert (trend.results["slope"], trend.confidence > 0.9) == (pytest.approx(1.1), True)
    found = await asked("correlation", x="1,2,3,4", y="2,4,6,8.1")
    assert found.results["coefficient"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("astrology", {}),
        ("trends", {"values": "1,2,3", "method": "x"}),
        ("trends", {"values": "1,two,3"}),
        ("trends", {"values": "1,inf,3"}),
        ("trends", {}),
        ("correlation", {"x": "1,2,3", "y": "1,2"}),
        ("anomalies", {"values": SPIKE, "threshold": "nan"}),
    ],
)
async def test_what_cannot_be_analysed_is_refused(stub: Any, kind: str, parameters: dict[str, str]) -> None:
    asked = messages.ExecuteAnalysisRequest(analysis_type=kind, parameters=parameters)
    assert (await refusal(stub.ExecuteAnalysis(asked))).code() is Code.INVALID_ARGUMENT


async def test_nobody_asks_without_a_key_and_what_is_not_there_is_said(stub: Any) -> None:
    calls = (
        stub.stub.GetInsight(messages.GetInsightRequest(insight_id="a")),
        stub.stub.QueryInsights(messages.QueryInsightsRequest()),
        stub.stub.ExecuteAnalysis(messages.ExecuteAnalysisRequest(analysis_type="trends")),
        stub.stub.GetStatistics(messages.GetStatisticsRequest()),
        stub.stub.HealthCheck(messages.HealthCheckRequest()),
    )
    for call in calls:
        assert (await refusal(call)).code() is Code.UNAUTHENTICATED
    graph = stub.QueryInsights(messages.QueryInsightsRequest(use_graph_enrichment=True))
    assert (await refusal(graph)).code() is Code.INVALID_ARGUMENT
