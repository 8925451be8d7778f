"""Attacks on the doors of analysts: too much, too deep, too many at once, without a role; none holds up the others."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import pytest_asyncio

from functions.api import analyst_state
from functions.api.analyses import MAX_FORM
from functions.api.roles import ROLES
from functions.api.services import MAX_ANALYSES
from tests.support.http_api import running_api
from tests.support.insights import insight, store_insights
from tests.support.one_machine import OneMachine, one_machine
from tests.support.turns import measured_turns
from tests.support.world import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-key-of-the-first-administrator-0001"
LONGEST_TURN = 0.05
"""Seconds of CPU for which one request may keep the event loop."""

AREAS = ("insights", "analytics", "semantics")
ROUTES = [route.split(" ") for route in ROLES if any(f"/v1/{area}" in route for area in AREAS)]
JSON = {"content-type": "application/json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path_factory.mktemp("analysts"), api_key=KEY, rate_limits="off") as running:
        running.client.headers["x-api-key"] = KEY
        yield running


def texts(number: int, length: int) -> list[str]:
    chance = Random(3)
    words = ["".join(chance.choices("abcdefghij", k=6)) for _ in range(400)]
    return [" ".join(chance.choices(words, k=length // 7)) for _ in range(number)]


async def test_there_are_sixteen_routes_and_nobody_reads_them_without_a_role(machine: OneMachine) -> None:
    assert len(ROUTES) == 16
    made = await machine.client.post("/api/v1/keys", json={"name": "worker", "roles": ["worker"]})
    scoped = await machine.client.post("/api/v1/keys", json={"name": "s", "roles": ["viewer"], "scopes": ["metrics"]})
    viewer = await machine.client.post("/api/v1/keys", json={"name": "viewer", "roles": ["viewer"]})
    for method, path in [*ROUTES, ["GET", "/api/v1/status"]]:
        where = path.format(insight_id="a", entity_type="worker", entity_id="a")
        async with httpx.AsyncClient(base_url=machine.url, trust_env=False) as stranger:
            answer = await stranger.request(method, where, content=b"{", headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (401, "missing_key"), path
        for key, code in ((made, "insufficient_role"), (scoped, "insufficient_scope")):
            headers = {**JSON, "x-api-key": key.json()["key"]}
            answer = await machine.client.request(method, where, content=b"{", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, code), path
        answer = await machine.client.request(method, where, headers={"x-api-key": viewer.json()["key"]})
        assert answer.status_code in {200, 404, 422}, (path, answer.text)


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("semantics/cluster", {"texts": texts(1000, 400)}),
        (
            "analytics/anomalies",
            {"metric_name": "a", "method": "isolation_forest", "values": [float(n * n % 97) for n in range(10_000)]},
        ),
        ("analytics/trends", {"metric_name": "a", "time_series": [float(n) for n in range(10_000)]}),
    ],
)
async def test_the_largest_analysis_holds_up_nobody(machine: OneMachine, what: str, body: dict[str, Any]) -> None:
    await machine.client.post(f"/api/v1/{what}", json={})  # the route is read with its first request
    content = json.dumps(body).encode()
    assert len(content) < MAX_FORM
    answered = 0

    async def others() -> None:
        nonlocal answered
        while True:
            assert (await machine.client.get("/live")).status_code == 200
            answered += 1
            await asyncio.sleep(0.02)

    with measured_turns() as turns:
        beside = asyncio.create_task(others())
        answer = await machine.client.post(f"/api/v1/{what}", content=content, headers=JSON)
        beside.cancel()
    assert answer.status_code == 200, answer.text[:500]
    assert turns.longest < LONGEST_TURN
    assert answered > 0


@pytest.mark.parametrize(
    ("path", "content", "statuses"),
    [
        ("semantics/cluster", b'{"texts": ["' + b"a" * MAX_FORM + b'"]}', {413}),
        ("semantics/cluster", b'{"texts": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", {400, 422}),
        ("semantics/cluster", b'{"texts": [' + b"1," * 100_000 + b"1]}", {422}),
        ("semantics/similarity", b'{"text1": "\\ud800", "text2": "a"}', {400, 422}),
        ("semantics/similarity", b'{"text1": "a", "text2": NaN}', {400, 422}),
        ("analytics/trends", b'{"metric_name": "a", "time_series": [' + b"9" * 5000 + b"]}", {400, 422}),
        ("analytics/query", b'{"filters": {"text": "' + b"a" * 20_000 + b'"}}', {413}),
        ("analytics/query", b'{"metrics": ["up);drop"]}', {422}),
        ("insights/query", b'{"query_type": "BY_TAG", "tags": [' + b'"a",' * 3000 + b'"a"]}', {422}),
        ("insights/query", b"[]", {422}),
        ("insights/query", b"\xff", {400}),
    ],
)
async def test_what_is_too_much_or_no_question_is_refused(
    machine: OneMachine, path: str, content: bytes, statuses: set[int]
) -> None:
    answer = await machine.client.post(f"/api/v1/{path}", content=content, headers=JSON)
    assert answer.status_code in statuses, answer.text[:500]
    assert len(answer.content) < 64 * 1024
    assert answer.headers["content-type"] == "application/problem+json"


async def test_so_many_analyses_of_one_client_are_under_way_and_no_more(machine: OneMachine) -> None:
    body, go_on = {"text1": "a", "text2": "b"}, threading.Event()
    held = asyncio.create_task(analyst_state.beside(go_on.wait))  # the one thread is at work

    async def compared() -> httpx.Response:
        return await machine.client.post("/api/v1/semantics/similarity", json=body)

    waiting = [asyncio.create_task(compared()) for _ in range(MAX_ANALYSES // 2)]

    async def refused() -> httpx.Response | None:
        answer = asyncio.create_task(compared())
        done, _ = await asyncio.wait([answer], timeout=0.5)
        waiting.extend([] if done else [answer])
        return answer.result() if done else None

    try:
        answer = await until(refused, "the analyses to be as many as there may be")
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
        assert (await machine.client.get("/api/v1/insights")).status_code == 200
    finally:
        go_on.set()
        await held
    statuses = [(await answer).status_code for answer in waiting]  # one that was refused late is among them
    assert (statuses.count(200), {*statuses} - {200, 503}) == (MAX_ANALYSES // 2, set())
    assert (await compared()).status_code == 200


async def test_two_thousand_insights_are_listed_without_holding_up_anybody(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\u202e'; DROP TABLE insights; --"
    async with running_api(tmp_path) as api:
        many = [insight(f"{hostile} {n}", summary="s" * 1500, flow_id=hostile) for n in range(2000)]
        await store_insights(api.world.ports.key_values, *many)
        await api.client.get("/api/v1/insights", params={"limit": 1, "tags": "none"})  # the route is read
        api.app.state.services.analysts.forget()
        for _ in range(2):  # as it is read first, and as it is remembered
            with measured_turns() as turns:
                answer = await api.client.get("/api/v1/insights", params={"limit": 100})
            assert (answer.status_code, answer.json()["total"]) == (200, 2000)
            assert turns.longest < LONGEST_TURN
        assert answer.headers["content-type"] == "application/json"
        assert hostile in answer.json()["items"][0]["title"]
        found = await api.client.get("/api/v1/semantics/errors", params={"query": hostile, "limit": 3})
        assert (found.status_code, len(found.json()["items"])) == (200, 3)
