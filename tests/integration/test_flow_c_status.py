"""The numbers of all flows over HTTP."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Unavailable
from tests.support.builders import later, make_flow, make_step, seconds
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import task

STATUS = "/api/v1/flow-c/status"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def put(api: Api, number: int, took: float | None, *, ok: bool = True, ago: timedelta = timedelta()) -> None:
    """Store a flow that took so many seconds and ended so long ago; None has not ended."""
    end = api.world.ports.clock.now() - ago
    flow = make_flow(number, received_at=end - seconds(took or 0), next_wakeup_at=end + timedelta(hours=9))
    await api.world.ports.store.commit(make_step(flow))
    if took is not None:
        outcome = "COMPLETED" if ok else "FAILED"
        ended = later(flow, status=outcome, outcome=outcome, ended_at=end, next_wakeup_at=None)
        await api.world.ports.store.commit(make_step(ended))


async def test_ten_ended_flows_of_which_nine_completed_and_two_running(api: Api) -> None:
    for number in range(1, 11):
        await put(api, number, took=number, ok=number != 7)
    for number in (11, 12):
        await put(api, number, took=None)
    status = await api.get(STATUS)
    assert status.pop("generated_at").endswith("Z")
    assert status == {
        "total_processed": 10,
        "success_rate": 0.9,
        "average_latency_ms": 5500,
        "p95_latency_ms": 10_000,
        "active_executions": 2,
        "window_hours": 24,
        "consumer": {"status": "running", "lag": 0},
    }


async def test_a_window_looks_back_so_many_hours_and_none_at_everything(api: Api) -> None:
    await put(api, 1, took=1, ago=timedelta(hours=30))
    await put(api, 2, took=2, ago=timedelta(minutes=90))
    await put(api, 3, took=None, ago=timedelta(days=3))
    totals = {hours: (await api.get(STATUS, window_hours=hours))["total_processed"] for hours in (1, 2, 24, 31, 0)}
    assert totals == {1: 0, 2: 1, 24: 1, 31: 2, 0: 2}
    nothing = await api.get(STATUS, window_hours=1)
    assert (nothing["success_rate"], nothing["average_latency_ms"], nothing["p95_latency_ms"]) == (None, None, None)
    assert nothing["active_executions"] == 1
    for hours in (-1, "x", 10**9):
        problem_of(await api.client.get(STATUS, params={"window_hours": hours}), 422, "invalid_data")


async def test_a_flow_that_really_ran_is_counted(api: Api) -> None:
    await api.world.register()
    flow = await api.world.run(task("a"))
    status = await api.get(STATUS)
    assert flow.ended_at is not None
    took = (flow.ended_at - flow.received_at) // timedelta(milliseconds=1)
    assert (status["total_processed"], status["success_rate"], status["p95_latency_ms"]) == (1, 1.0, took)


async def test_the_status_is_given_even_where_events_are_not_handled(api: Api) -> None:
    async def stopped() -> dict[str, object]:
        return {"ready": False, "queue": 7}

    async def away() -> dict[str, object]:
        raise Unavailable("the store does not answer")

    services = api.app.state.services
    api.app.state.services = replace(services, ready=stopped)
    assert (await api.get(STATUS))["consumer"] == {"status": "stopped", "lag": 7}
    api.app.state.services = replace(services, ready=away)
    assert (await api.get(STATUS))["consumer"] == {"status": "unavailable", "lag": None}


async def test_each_flow_that_has_ended_is_one_document(api: Api) -> None:
    await put(api, 1, took=2)
    await put(api, 2, took=3, ok=False)
    await put(api, 3, took=None)
    page = await api.get("/api/v1/flow-c/executions")
    assert [(one["status"], one["duration_ms"]) for one in page["items"]] == [("FAILED", 3000), ("COMPLETED", 2000)]
    first = page["items"][0]
    assert await api.get(f"/api/v1/flow-c/executions/{first['flow_id']}") == first
    running = make_flow(3).flow_id
    problem_of(await api.client.get(f"/api/v1/flow-c/executions/{running}"), 404, "unknown_execution")


async def test_the_result_of_a_flow_counts_retries_and_violations(api: Api) -> None:
    await api.world.register()
    tries: list[str] = []

    def behave(assignment: Mapping[str, Any]) -> dict[str, str]:
        tries.append(assignment["task_id"])
        return {"status": "FAILED" if len(tries) == 1 else "COMPLETED"}

    api.world.workers.behave = behave
    flow = await api.world.run(task("a", retry={"initial_ms": 1}))
    result = await api.get(f"/api/v1/flows/{flow.flow_id}")
    assert (result["success"], result["retries"], result["reassignments"], result["sla_violations"]) == (True, 1, 0, 0)
