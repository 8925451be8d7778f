"""Figures analysed over HTTP, and questions to several sources at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Unavailable
from functions._core.slo.definition import Aggregation
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, task

PATH = "/api/v1/analytics"
FOREST = "isolation_forest"
SPIKE = [10.0, 11, 10, 9, 10, 11, 10, 9, 10, 90]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def asked(api: Api, what: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.client.post(f"{PATH}/{what}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("method", ["zscore", "iqr", "isolation_forest"])
async def test_each_method_finds_the_spike_and_is_quiet_about_a_flat_series(api: Api, method: str) -> None:
    series = SPIKE if method != "isolation_forest" else [*SPIKE[:9] * 4, 90]
    found = await asked(api, "anomalies", {"metric_name": "ms", "values": series, "method": method})
    assert [(one["index"], one["value"]) for one in found["items"]] == [(len(series) - 1, 90)]
    assert found["items"][0]["expected_high"] < 90
    assert (await asked(api, "anomalies", {"metric_name": "ms", "values": [5] * 30, "method": method}))["items"] == []


async def test_a_trend_and_a_correlation(api: Api) -> None:
    line = [float(n) for n in range(20)]
    trend = await asked(api, "trends", {"metric_name": "load", "time_series": line})
    assert (trend["direction"], trend["slope"], trend["r_squared"]) == ("up", pytest.approx(1), pytest.approx(1))
    two = {"series1": {"metric_name": "x", "values": line}, "series2": {"metric_name": "y", "values": line[::-1]}}
    found = await asked(api, "correlation", two)
    assert (found["coefficient"], found["metric1"], found["metric2"]) == (pytest.approx(-1), "x", "y")
    assert (await asked(api, "correlation", {**two, "method": "spearman"}))["coefficient"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("what", "body", "code"),
    [
        ("anomalies", {"metric_name": "a", "values": [1.0] * 9}, "unusable_series"),
        ("anomalies", {"metric_name": "a", "values": [1e300] * 20}, "unusable_series"),
        ("anomalies", {"metric_name": "a", "values": [1.0] * 10_001}, "invalid_data"),
        ("anomalies", {"metric_name": "a", "values": ["1"] * 10}, "invalid_data"),
        ("anomalies", {"metric_name": "a", "values": SPIKE, "threshold": 0}, "invalid_data"),
        (
            "anomalies",
            {"metric_name": "a", "values": SPIKE, "threshold": 1, "method": FOREST},
            "invalid_data",
        ),
        ("trends", {"metric_name": "a", "time_series": [1.0]}, "unusable_series"),
        (
            "correlation",
            {"series1": {"metric_name": "x", "values": [1, 2, 3]}, "series2": {"metric_name": "y", "values": [1, 2]}},
            "unusable_series",
        ),
        (
            "correlation",
            {
                "series1": {"metric_name": "x", "values": [1, 1, 1]},
                "series2": {"metric_name": "y", "values": [1, 2, 3]},
            },
            "unusable_series",
        ),
        ("query", {"sources": []}, "invalid_data"),
        ("query", {"sources": ["ASTROLOGY"]}, "invalid_data"),
        ("query", {"metrics": ["up{job='x'}"]}, "invalid_data"),
        ("query", {"timeout_seconds": 6}, "invalid_data"),
        ("query", {"time_window": {"start": 0, "end": 0}}, "invalid_data"),
        ("query", {"time_window": {"start": 0, "end": 2_678_400_001}}, "invalid_data"),
        ("query", {"filters": {"entity": {"entity_type": "ghost", "entity_id": "a"}}}, "invalid_data"),
    ],
)
async def test_what_cannot_be_analysed_is_refused(api: Api, what: str, body: dict[str, Any], code: str) -> None:
    problem_of(await api.client.post(f"{PATH}/{what}", json=body), 422, code)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-1e999"])
async def test_what_is_not_finite_is_refused(api: Api, number: str) -> None:
    body = f'{{"metric_name": "a", "values": [{",".join(["1"] * 10)}, {number}]}}'
    answer = await api.client.post(
        f"{PATH}/anomalies", content=body.encode(), headers={"content-type": "application/json"}
    )
    assert answer.status_code in {400, 422}, answer.text


class TestSources:
    async def worked(self, api: Api) -> dict[str, str]:
        await api.world.register("w-1")
        failing = {"error": {"type": "broken", "message": "disk 7 is full", "retryable": False}, "status": "FAILED"}
        api.world.workers.behave = lambda one: failing if one["task_id"] == "bad" else {"status": "COMPLETED"}
        flows = {
            "good": await api.world.submit(decision(task("a"), task("b", "a"), correlation_id="c-good")),
            "bad": await api.world.submit(decision(task("a"), task("bad", "a"), correlation_id="c-bad")),
        }
        for flow_id in flows.values():
            await api.world.ended(flow_id)
        return flows

    async def test_each_source_says_what_it_knows(self, api: Api) -> None:
        flows = await self.worked(api)
        filters = {"correlation_id": "c-bad", "entity": {"entity_type": "worker", "entity_id": "w-1"}}
        found = await asked(api, "query", {"filters": filters, "use_cache": False})
        assert (found["partial"], found["completeness"], found["missing"]) == (False, 1.0, [])
        said = {name: one["data"] for name, one in found["sources"].items()}
        assert said["HISTORICAL"]["flows"] == 1
        assert said["HISTORICAL"]["outcomes"]["FAILED"] == 1
        assert said["HISTORICAL"]["duration_ms"]["by_worker"]["w-1"]["count"] == 1
        assert sum(one["ended"] for one in said["TELEMETRY"]["buckets"]) == 2
        assert said["LOGS"]["patterns"][0]["flows"] == [flows["bad"]]
        assert "disk 7 is full" in said["LOGS"]["patterns"][0]["text"]
        assert said["LOGS"]["courses"][flows["bad"]][0]["type"] == "decision.consolidated"
        assert said["GRAPH"]["intent_flow"][0]["entity_type"] == "decision"
        assert {one["entity_id"] for one in said["GRAPH"]["related"]} >= {flows["bad"]}
        assert said["GRAPH"]["causal_chains"][0]["flows"] == [flows["bad"]]
        everything = await asked(api, "query", {"sources": ["HISTORICAL"]})
        assert everything["sources"]["HISTORICAL"]["data"]["flows"] == 2

    async def test_one_source_that_is_slow_leaves_the_answer_partial_and_in_time(self, api: Api) -> None:
        await self.worked(api)
        services = api.app.state.services
        slow = replace(services.ports, metrics_server=Never())
        api.app.state.services = replace(services, ports=slow)
        begun = asyncio.get_running_loop().time()
        body = {"sources": ["METRICS", "HISTORICAL"], "metrics": ["up"], "timeout_seconds": 0.5}
        found = await asked(api, "query", body)
        assert asyncio.get_running_loop().time() - begun < 4
        assert (found["partial"], found["completeness"]) == (True, 0.5)
        assert (found["answered"], found["missing"]) == (["HISTORICAL"], ["METRICS"])
        assert found["sources"]["METRICS"]["status"] == "timeout"
        assert found["sources"]["HISTORICAL"]["data"]["flows"] == 2

    async def test_a_source_that_is_away_says_why(self, api: Api) -> None:
        found = await asked(api, "query", {"sources": ["METRICS"], "metrics": ["up"]})
        assert found["sources"]["METRICS"]["status"] == "refused"
        assert "FLOWC_PROMETHEUS_URL" in found["sources"]["METRICS"]["detail"]
        services = api.app.state.services
        api.app.state.services = replace(services, ports=replace(services.ports, metrics_server=Away()))
        found = await asked(api, "query", {"sources": ["METRICS"], "metrics": ["up"]})
        assert found["sources"]["METRICS"] == {
            **found["sources"]["METRICS"],
            "status": "unavailable",
            "detail": "it is away",
            "data": {},
        }

    async def test_metrics_have_a_current_value_and_statistics(self, api: Api) -> None:
        services = api.app.state.services
        asked_for: list[str] = []
        api.app.state.services = replace(services, ports=replace(services.ports, metrics_server=Rising(asked_for)))
        found = await asked(api, "query", {"sources": ["METRICS"], "metrics": ["up", "down"]})
        said = found["sources"]["METRICS"]["data"]["up"]
        assert (said["minimum"], said["maximum"], said["current"]) == (1, 12, 12)
        assert (said["mean"], len(said["points"])) == (6.5, 12)
        assert set(asked_for) == {"sum(up)", "sum(down)"}

    async def test_an_answer_is_kept_for_a_minute_unless_it_is_partial(self, api: Api) -> None:
        body = {"sources": ["HISTORICAL"]}
        assert [(await asked(api, "query", body))["cached"] for _ in range(2)] == [False, True]
        assert (await asked(api, "query", {**body, "use_cache": False}))["cached"] is False
        partial = {"sources": ["METRICS"], "metrics": ["up"]}
        assert [(await asked(api, "query", partial))["cached"] for _ in range(2)] == [False, False]

    async def test_each_source_is_counted(self, api: Api) -> None:
        told: list[tuple[str, str]] = []
        services = api.app.state.services
        api.app.state.services = replace(services, source_asked=lambda name, _s, status: told.append((name, status)))
        await asked(api, "query", {"sources": ["HISTORICAL", "METRICS", "HISTORICAL"], "metrics": ["up"]})
        assert sorted(told) == [("HISTORICAL", "ok"), ("METRICS", "refused")]


class Never:
    """A server of metrics that does not answer."""

    async def value(self, query: str, aggregation: Aggregation, at: datetime | None = None) -> float | None:
        await asyncio.sleep(60)
        raise AssertionError((query, aggregation, at))


class Away:
    """A server of metrics that is away."""

    async def value(self, query: str, aggregation: Aggregation, at: datetime | None = None) -> float | None:
        raise Unavailable("it is away" if query and aggregation and at else "")


class Rising:
    """A server of metrics whose values rise."""

    def __init__(self, asked_for: list[str]) -> None:
        self.asked_for = asked_for
        self.counts: dict[str, int] = {}

    async def value(self, query: str, aggregation: Aggregation, at: datetime | None = None) -> float | None:
        assert (aggregation, at is not None) == (Aggregation.SUM, True)
        self.asked_for.append(query)
        self.counts[query] = self.counts.get(query, 0) + 1
        return float(self.counts[query])
