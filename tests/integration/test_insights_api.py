"""Insights over HTTP: listed, filtered, counted; static paths win over ids; nobody reads them without a role."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.insights.analysis import AnalysisState, keep_domains, kept
from functions._core.insights.insight import InsightPriority, InsightType
from functions._core.insights.stored import EVERYTHING
from functions._core.insights.trail_rules import DomainStatistics
from functions._core.learning.registry import Pointer
from functions._core.records.record import encode
from functions.api import insights as routes
from functions.api import status
from functions.api.analyst_state import AnalystState
from tests.support.http_api import Api, problem_of, running_api
from tests.support.insights import insight, store_insights

PATH = "/api/v1/insights"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
SLA = insight("sla", at=NOW - HOUR, tags=("sla", "worker"), worker_id="w-1", flow_id="f-1")
LOAD = insight("load", InsightType.ANOMALY, InsightPriority.HIGH, at=NOW - 2 * HOUR, tags=("load",), flow_id="f/2")
OLD = insight("old", InsightType.STRATEGIC, at=NOW - 50 * HOUR, tags=("sla",))
GONE = insight("gone", at=NOW - 3 * HOUR, valid_for=HOUR, tags=("sla",))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        await store_insights(running.world.ports.key_values, SLA, LOAD, OLD, GONE)
        yield running


async def page(api: Api, path: str = "", **parameters: Any) -> dict[str, Any]:
    answer = await api.client.get(f"{PATH}{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def titles(found: dict[str, Any]) -> list[str]:
    return [one["title"].removeprefix("Finding ") for one in found["items"]]


async def test_the_newest_are_first_and_expired_ones_are_asked_for(api: Api) -> None:
    found = await page(api)
    assert (titles(found), found["total"]) == (["sla", "load", "old"], 3)
    assert found["items"][0] == SLA.model_dump(mode="json")
    assert titles(await page(api, include_expired=True)) == ["sla", "load", "gone", "old"]
    second = await page(api, limit=1, offset=1)
    assert (titles(second), second["total"], second["limit"], second["offset"]) == (["load"], 3, 1, 1)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"insight_type": "anomaly"}, ["load"]),
        ({"priority": "HIGH"}, ["load"]),
        ({"start_timestamp": (NOW - 2 * HOUR).isoformat()}, ["sla", "load"]),
        ({"end_timestamp": int((NOW - 3 * HOUR).timestamp() * 1000)}, ["old"]),
        ({"tags": "load, worker"}, ["sla", "load"]),
        ({"entity_id": "w-1"}, ["sla"]),
        ({"insight_type": "CAUSAL"}, []),
    ],
)
async def test_filters(api: Api, parameters: dict[str, Any], expected: list[str]) -> None:
    assert titles(await page(api, **parameters)) == expected


async def test_static_paths_win_over_ids(api: Api) -> None:
    numbers = await page(api, "/statistics")
    assert (numbers["total"], numbers["window_hours"]) == (3, 24)
    assert numbers["insights_by_type"]["OPERATIONAL"] == 2
    assert sum(numbers["insights_by_priority"].values()) == 3
    assert (await page(api, "/statistics", window_hours=0))["total"] == 4
    assert (numbers["domains"], numbers["domains_until"]) == ([], None)
    await keep_domains(api.world.ports.key_values, NOW, [DomainStatistics(domain="technical", signals=3, failures=1)])
    numbers = await page(api, "/statistics")
    assert [(one["domain"], one["signals"], one["failures"]) for one in numbers["domains"]] == [("technical", 3, 1)]
    assert datetime.fromisoformat(numbers["domains_until"]) == NOW
    ranged = await page(api, "/statistics", start_timestamp=(NOW - 2 * HOUR).isoformat())
    assert (ranged["total"], ranged["window_hours"]) == (2, 0)
    assert titles(await page(api, "/by-tags", tags="sla")) == ["sla", "old"]
    assert titles(await page(api, "/by-tags", tags=["sla", "worker"], match="all")) == ["sla"]
    assert titles(await page(api, "/by-tags", tags="load,worker")) == ["sla", "load"]


async def test_one_insight_and_those_of_an_entity(api: Api) -> None:
    answer = await api.client.get(f"{PATH}/{SLA.insight_id}")
    assert answer.json() == SLA.model_dump(mode="json")
    problem_of(await api.client.get(f"{PATH}/{GONE.insight_id}"), 404, "unknown_insight")
    problem_of(await api.client.get(f"{PATH}/nobody"), 404, "unknown_insight")
    assert titles(await page(api, "/by-entity/worker/w-1")) == ["sla"]
    assert titles(await page(api, "/by-entity/flow/f/2")) == ["load"]
    assert titles(await page(api, "/by-entity/nothing/w-1")) == []
    problem_of(await api.client.get(f"{PATH}/by-entity/worker/%00"), 404, "unknown_entity")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"query_type": "BY_ID", "insight_id": LOAD.insight_id}, ["load"]),
        ({"query_type": "by_type", "insight_type": "STRATEGIC"}, ["old"]),
        ({"query_type": "BY_PRIORITY", "priority": "HIGH"}, ["load"]),
        ({"query_type": "BY_TIME_RANGE", "start_timestamp": (NOW - 2 * HOUR).isoformat()}, ["sla", "load"]),
        ({"query_type": "BY_ENTITY", "entity_type": "flow", "entity_id": "f-1"}, ["sla"]),
        ({"query_type": "BY_TAG", "tags": ["sla"], "include_expired": True}, ["sla", "gone", "old"]),
        ({"query_type": "BY_TAG", "tags": ["sla", "worker"], "match_all": True}, ["sla"]),
        ({"query_type": "BY_TAG", "tags": ["sla"], "limit": 1, "offset": 1}, ["old"]),
    ],
)
async def test_queries_of_six_types(api: Api, query: dict[str, Any], expected: list[str]) -> None:
    answer = await api.client.post(f"{PATH}/query", json=query)
    assert answer.status_code == 200, answer.text
    assert titles(answer.json()) == expected


async def test_a_query_says_where_it_is_wrong(api: Api) -> None:
    document = problem_of(await api.client.post(f"{PATH}/query", json={"query_type": "BY_ID"}), 422, "invalid_data")
    assert "BY_ID needs insight_id" in document["detail"]
    document = problem_of(await api.client.post(f"{PATH}/query", json={"query_type": "X"}), 422, "invalid_data")
    assert document["errors"][0]["where"] == "body.query_type"
    problem_of(await api.client.get(PATH, params={"insight_typo": "CAUSAL"}), 400, "unknown_parameter")
    problem_of(await api.client.get(PATH, params={"limit": 1001}), 422, "invalid_data")
    problem_of(await api.client.get(f"{PATH}/by-tags"), 422, "invalid_data")


async def test_many_who_ask_cost_one_look_and_what_cannot_be_read_is_left_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = api.world.ports.key_values
    await entries.put("insights", "broken", b'{"insight_id": 7}', version=0)
    services = api.app.state.services
    looks: list[Any] = []
    state = AnalystState()
    monkeypatch.setattr(type(entries), "page", _counted(type(entries).page, looks))
    found = [await state.insights(services.ports).query(EVERYTHING) for _ in range(5)]
    assert [len(one) for one in found] == [3] * 5
    assert looks == [("insights", None)]
    problem_of(await api.client.get(f"{PATH}/broken"), 404, "unknown_insight")


def _counted(page_of: Any, looks: list[Any]) -> Any:
    async def counted(self: Any, space: str, after: str | None, limit: int) -> Any:
        looks.append((space, after))
        return await page_of(self, space, after, limit)

    return counted


async def test_a_store_that_takes_long_to_give_thousands_of_insights_is_not_away(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = type(api.world.ports.key_values)
    page = kept.page

    async def slow(self: Any, space: str, after: str | None, limit: int) -> Any:
        await asyncio.sleep(0.3)
        return await page(self, space, after, limit)

    monkeypatch.setattr(kept, "page", slow)
    monkeypatch.setattr(status, "PATIENCE_S", 0.2)
    found = (await api.client.get("/api/v1/status")).json()
    assert (found["status"], found["insights"]["kept"]) == ("ok", 3)


async def test_a_page_has_a_bound_in_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(SLA.model_dump_json().encode())
    monkeypatch.setattr(routes, "MAX_PAGE", size + 10)
    found = await page(api)
    assert (titles(found), found["total"]) == (["sla"], 3)
    monkeypatch.setattr(routes, "MAX_PAGE", 1)
    assert titles(await page(api, offset=1)) == ["load"]


async def test_live_says_that_the_process_answers_and_status_what_works(api: Api) -> None:
    assert (await api.client.get("/live")).json() == {"status": "live"}
    assert "metrics_server" not in (await api.client.get("/ready")).json()
    told = (await api.client.get("/api/v1/status")).json()
    assert told["status"] == "ok"
    assert {one["name"]: one["status"] for one in told["consumers"]} == {
        "flows": "running",
        "analyze": "off",
        "learn": "off",
    }
    assert {one["name"]: one["status"] for one in told["stores"]} == {
        "records": "answers",
        "metrics_server": "none",
        "embeddings": "none",
    }
    assert (told["models"], told["insights"]["kept"]) == ([], 3)
    assert datetime.fromisoformat(told["insights"]["newest"]) == SLA.created_at
    assert told["insights"]["looked_until"] is None
    await kept(api.world.ports.key_values, AnalysisState(closed_until=NOW), 0)
    told = (await api.client.get("/api/v1/status")).json()
    assert datetime.fromisoformat(told["insights"]["looked_until"]) == NOW
    entries, version = api.world.ports.key_values, 0
    for number, names in ((3, ["duration"]), (0, [])):
        pointer = encode(Pointer(number=number, since=SLA.created_at))
        version = (await entries.put("model-serving", "duration", pointer, version=version)).version
        assert (await api.client.get("/api/v1/status")).json()["models"] == names, "0: the estimates count"
