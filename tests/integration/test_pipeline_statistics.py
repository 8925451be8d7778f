"""`GET /api/v1/statistics`: the totals match, whatever has become of pipelines, and the cost is bounded."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.commands import CancelRequest
from functions._core.forge.progress import ForgeStatus
from functions._core.forge.statistics import CountedPipeline, numbers_of
from functions.api import pipeline_statistics
from tests.support.forge_pipelines import CAPABILITIES, does, failed, pipeline
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, task

PATH = "/api/v1/statistics"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        await running.world.register("forge-1", "python", *CAPABILITIES)
        yield running


async def statistics(api: Api, **parameters: Any) -> dict[str, Any]:
    answer = await api.client.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_without_pipelines_there_are_no_rates(api: Api) -> None:
    api.world.workers.behave = lambda _assignment: {"status": "COMPLETED"}
    await api.world.ended(await api.world.submit(decision(task("a"))))
    found = await statistics(api)
    assert (found["total"], found["complete"], found["window_hours"]) == (0, True, 24)
    assert set(found["by_status"].values()) == {0}
    names = ("success_rate", "mean_duration_ms", "p95_duration_ms", "mean_score")
    assert {found[name] for name in names} == {None}


async def test_the_totals_match(api: Api) -> None:
    world = api.world
    world.workers.behave = does()
    for number in range(3):
        await world.ended(await world.submit(pipeline(f"good-{number}")))
    world.workers.behave = does(failing={"gate": failed("rejected", "too low")})
    await world.ended(await world.submit(pipeline("rejected")))
    world.workers.behave = does(failing={"run_tests": failed("tests_failed", "3 failed")})
    await world.ended(await world.submit(pipeline("failed")))
    world.workers.behave = does("REVIEW", "merge_request")
    await world.ended(await world.submit(pipeline("reviewed")))
    world.workers.behave = does("REVIEW", "person")
    asked = await world.submit(pipeline("asked"))
    await world.ticket(asked, lambda one: one.task_id == "approve/person" and one.status == "WAITING", "it is asked")
    world.workers.behave = lambda _assignment: None
    for name in ("cancelled", "running"):
        flow_id = await world.submit(pipeline(name))
        await world.ticket(flow_id, lambda one: one.acknowledged_at is not None, "it has begun")
        if name == "cancelled":
            await world.platform.order(CancelRequest(flow_id=flow_id, requested_by="ada", reason="not now"))
            await world.ended(flow_id)
    found = await statistics(api)
    states = {name: number for name, number in found["by_status"].items() if number}
    assert states == {
        "COMPLETED": 4,
        "FAILED": 1,
        "REJECTED": 1,
        "CANCELLED": 1,
        "REQUIRES_APPROVAL": 1,
        "RUNNING": 1,
    }
    assert (found["total"], found["success_rate"]) == (9, pytest.approx(4 / 6))
    assert found["approvals"] == {"auto": 3, "reviewed": 1, "rejected": 1}
    assert found["mean_score"] == pytest.approx((3 * 0.93 + 2 * 0.7) / 5)
    assert 0 < found["mean_duration_ms"] <= found["p95_duration_ms"]


async def test_no_more_pipelines_are_read_than_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.world.workers.behave = does()
    for number in range(5):
        await api.world.ended(await api.world.submit(pipeline(f"k{number}")))
    monkeypatch.setattr(pipeline_statistics, "LOOKED_AT", 2)
    monkeypatch.setattr(pipeline_statistics, "PAGE", 2)
    found = await statistics(api, window_hours=0)
    assert (found["total"], found["complete"]) == (2, False)


@pytest.mark.parametrize("hours", ["-1", "99999999", "x", "1e3"])
async def test_a_window_that_is_none_is_refused(api: Api, hours: str) -> None:
    problem_of(await api.client.get(PATH, params={"window_hours": hours}), 422, "invalid_data")


def test_a_percentile_is_by_nearest_rank_and_who_cancels_is_no_failure() -> None:
    done, stopped = ForgeStatus.COMPLETED, ForgeStatus.CANCELLED
    some = [CountedPipeline(done, 10 * number, 0.9, "auto") for number in range(1, 21)]
    numbers = numbers_of([*some, CountedPipeline(stopped, None, None, None)])
    assert (numbers.total, numbers.success_rate, numbers.p95_duration_ms) == (21, 1.0, 190)
    assert numbers.mean_duration_ms == pytest.approx(105)
