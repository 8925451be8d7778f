"""The door for workers that ask: nobody asks in another's name, and no request costs more than its bounds."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._engine import task_leases
from functions.api.leases import MAX_REQUEST
from tests.integration.test_worker_keys import KEY, key
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.pulling import LEASE, ask, leased, register_pulling
from tests.support.world import decision, task, until


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key=KEY) as running_one:
        running_one.client.headers["x-api-key"] = KEY
        yield running_one


async def test_a_worker_gets_the_tickets_of_no_other(api: Api) -> None:
    w1 = await key(api, "worker", worker_id="w1")
    await register_pulling(api, "w1")
    await register_pulling(api, "w2")
    assert (await api.client.post(LEASE, json={"worker_id": "w1"}, headers=w1)).status_code == 200
    problem_of(await api.client.post(LEASE, json={"worker_id": "w2"}, headers=w1), 403, "foreign_worker")
    viewer = await key(api, "viewer")
    problem_of(await api.client.post(LEASE, json={"worker_id": "w1"}, headers=viewer), 403, "insufficient_role")
    narrow = await key(api, "worker", scopes=["workers"])
    problem_of(await api.client.post(LEASE, json={"worker_id": "w1"}, headers=narrow), 403, "insufficient_scope")
    del api.client.headers["x-api-key"]
    problem_of(await api.client.post(LEASE, json={"worker_id": "w1"}), 401, "missing_key")


async def test_the_token_of_a_ticket_asks_for_no_other(api: Api) -> None:
    await register_pulling(api)
    await api.submit(decision(task("a"), task("b")))
    [a] = await leased(api, wait_seconds=30)
    del api.client.headers["x-api-key"]
    problem_of(await api.client.post(LEASE, json={"worker_id": "p1"}, headers=bearer(a["token"])), 403, "foreign_token")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("limit", [0, 101, -1, "many", 1.5, True, None]),
        ("wait_seconds", [-0.1, 30.1, 1e9, "long", True, None]),
        ("worker_id", ["", "x" * 256, None, 7]),
        ("running", ["x", [1], [{"ticket_id": "t"}], [{"ticket_id": "t", "attempt": 1}] * 1001]),
    ],
)
async def test_what_is_beyond_its_bounds_is_refused_by_name(api: Api, field: str, values: list[Any]) -> None:
    await register_pulling(api)
    for value in values:
        answer = await api.client.post(LEASE, json={"worker_id": "p1", field: value})
        assert f"body.{field}" in problem_of(answer, 422, "invalid_data")["detail"], value


async def test_a_body_is_read_only_as_far_as_a_worker_has_slots(api: Api) -> None:
    await register_pulling(api)
    full = [{"ticket_id": f"00000000-0000-5000-8000-{number:012}", "attempt": 1000} for number in range(1000)]
    assert (await ask(api, running=full)).status_code == 200
    content = b'{"worker_id": "p1", "running": [' + b" " * MAX_REQUEST + b"]}"
    answer = await api.client.post(LEASE, content=content, headers={"content-type": "application/json"})
    problem_of(answer, 413, "too_large")
    problem_of(await api.client.post(LEASE, content=b"{}"), 415, "not_json")


async def test_a_storm_of_requests_of_one_worker_leaves_one_that_waits(api: Api) -> None:
    await register_pulling(api)
    storm = [asyncio.create_task(leased(api, wait_seconds=30)) for _ in range(200)]

    async def one_is_left() -> bool | None:
        return sum(not one.done() for one in storm) == 1 or None

    await until(one_is_left, "all but one to be answered")
    assert api.world.platform.task_leases.waiting == 1
    await api.submit(decision(task("a")))
    given = [one for answer in await asyncio.gather(*storm) for one in answer]
    assert [one["task_id"] for one in given] == ["a"]


async def test_so_many_requests_wait_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_leases, "MOST_WAITING", 2)
    for number in range(3):
        await register_pulling(api, f"p{number}", slots=1)
    waiting = [asyncio.create_task(leased(api, f"p{number}", wait_seconds=30)) for number in range(2)]

    async def both() -> bool | None:
        return api.world.platform.task_leases.waiting == 2 or None

    await until(both, "two requests to wait")
    answer = await ask(api, "p2", wait_seconds=30)
    problem_of(answer, 503, "overloaded")
    assert answer.headers["retry-after"]
    assert await leased(api, "p2") == [], "who does not wait is answered"
    await api.submit(decision(*(task(f"t{number}") for number in range(3))))
    assert [len(answer) for answer in await asyncio.gather(*waiting)] == [1, 1]


async def test_a_platform_that_stops_lets_nobody_wait(api: Api) -> None:
    await register_pulling(api)
    waiting = asyncio.create_task(ask(api, wait_seconds=30))
    api.world.platform.flow_waiters.close()
    problem_of(await waiting, 503, "unavailable")


async def test_requests_count_against_the_limit_of_workers(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key=KEY, rate_limits="worker=1/3") as api:
        api.client.headers["x-api-key"] = KEY
        await register_pulling(api)
        answers = [(await ask(api)).status_code for _ in range(20)]
        assert answers[:2] == [200, 200]
        assert 429 in answers
