"""One machine that is its own forge: a BUILD ticket begins one pipeline, and no more are made than may be."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forge_pipelines import pipeline
from tests.support.forge_stages import BY_REQUEST, COMPOSED
from tests.support.http_workers import HttpWorkers
from tests.support.loopback import until as until_true
from tests.support.one_machine import OneMachine, one_machine
from tests.support.pipelines import PIPELINES, ForgeWorker, forge_worker, seen
from tests.support.processes import free_port
from tests.support.world import decision, task, until

SHOP = {"provider": "code_forge", "artifact_id": "acme/shop", "language": "python", "inputs": {"port": 8080}}


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    may = {"WORKER_REPOSITORIES": "acme/*", "WORKER_POLL_SECONDS": "0.1"}
    environment = {"WORKER_CODE_FORGE_URL": url, **may}
    own = {"executors": "code_forge", "executor_look_seconds": 0.1}
    async with one_machine(tmp_path, environment, port=port, **own) as running:
        yield running


@pytest.fixture
async def forge(platform: OneMachine) -> AsyncIterator[ForgeWorker]:
    async with forge_worker(platform.client) as worker:
        yield worker


def build(**more: Any) -> dict[str, Any]:
    return task("build", task_type="BUILD", parameters=SHOP, required_capabilities=[], **more)


async def pipelines(platform: OneMachine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await platform.get(PIPELINES))["items"]
    return found


async def test_a_build_ticket_begins_one_pipeline_and_ends_with_it(platform: OneMachine, forge: ForgeWorker) -> None:
    flow_id = await platform.submit(decision(build()))
    assert (await platform.ended(flow_id))["status"] == "COMPLETED"
    ticket = (await platform.tickets(flow_id))["build"]
    (made,) = await pipelines(platform)
    assert (made["ticket_id"], made["artifact_id"], made["status"]) == (ticket["ticket_id"], "acme/shop", "COMPLETED")
    output = ticket["output"]
    assert output["pipeline_id"] == made["pipeline_id"]
    assert [one["artifact_id"] for one in output["artifacts"]] == ["acme/shop:wheel"]
    composed = forge.parameters(made["pipeline_id"])["compose_code"]
    assert composed["inputs"] == {"port": 8080}


async def test_other_types_of_tickets_and_other_builds_begin_none(platform: OneMachine, forge: ForgeWorker) -> None:
    async with HttpWorkers() as workers:
        await platform.register("w1", "python", endpoint=f"{workers.url}/w1")
        others = [
            task("run", task_type="EXECUTE", parameters=SHOP),
            task("test", task_type="TEST", parameters=SHOP),
            task("own", task_type="BUILD", parameters={"make": "all"}),
        ]
        flow_id = await platform.submit(decision(*others))
        assert (await platform.ended(flow_id))["status"] == "COMPLETED"
    assert await pipelines(platform) == []
    assert forge.given == []


async def test_a_pipeline_that_is_rejected_fails_its_ticket(platform: OneMachine, forge: ForgeWorker) -> None:
    forge.failures["approve/gate"].append({"type": "rejected", "message": "the score is 0.3", "retryable": False})
    flow_id = await platform.submit(decision(build()))
    assert (await platform.ended(flow_id))["status"] == "FAILED"
    reason = (await platform.tickets(flow_id))["build"]["reason"]
    assert (reason["code"], "the score is 0.3" in reason["message"]) == ("build_rejected", True)
    assert len(await pipelines(platform)) == 1


@pytest.mark.parametrize("stage", ["compose_code", "approve/merge_request"])
async def test_a_build_ticket_that_is_cancelled_ends_its_pipeline(
    platform: OneMachine, forge: ForgeWorker, stage: str
) -> None:
    forge.outputs["approve/gate"] = BY_REQUEST
    forge.held.add(stage)
    flow_id = await platform.submit(decision(build()))
    await until_true(lambda: stage in forge.waiting, f"{stage} to begin")
    await platform.send(f"/api/v1/flows/{flow_id}/cancel", {"requested_by": "ada", "reason": "nobody wants it"})

    async def cancelled() -> dict[str, Any] | None:
        (made,) = await pipelines(platform)
        return made if made["status"] not in {"RUNNING", "REQUIRES_APPROVAL"} else None

    made = await until(cancelled, "the pipeline is cancelled")
    assert (made["status"], made["stage"]) == ("CANCELLED", stage.partition("/")[0])


async def test_the_third_of_three_pipelines_waits_where_two_may_be_made(
    platform: OneMachine, forge: ForgeWorker
) -> None:
    forge.held.add("compose_code")
    ids = [await platform.submit(pipeline(f"k{number}", at_once=2)) for number in range(3)]

    async def two_at_work() -> bool | None:
        begun = [one for one in ids if forge.order(one) == ["select_template", "compose_code"]]
        return len(begun) == 2 or None

    await until(two_at_work, "two pipelines are made")
    third = await until(lambda: _held_back(platform, ids), "one is held back")
    assert (await seen(platform.client, third))["status"] == "PENDING"
    assert forge.order(third) == []
    forge.held.clear()
    for assignment in [one for one in forge.given if one["task_id"] == "compose_code"][:1]:
        await forge.report(assignment, status="COMPLETED", output=COMPOSED.model_dump(mode="json"))
    assert (await platform.ended(third))["status"] == "COMPLETED"
    ended = [(await seen(platform.client, one))["status"] for one in ids]
    assert sorted(ended) == ["COMPLETED", "COMPLETED", "RUNNING"]


async def _held_back(platform: OneMachine, ids: list[str]) -> str | None:
    for one in ids:
        if any(entry["type"] == "flow.held_back" for entry in await platform.history(one)):
            return one
    return None


async def test_ten_that_are_asked_for_are_made_at_once_and_the_eleventh_waits(
    platform: OneMachine, forge: ForgeWorker
) -> None:
    forge.held.add("select_template")
    body = {"artifact_id": "acme/shop", "parameters": {"language": "python"}}
    asked = [{**body, "ticket_id": f"t-{number}"} for number in range(11)]
    ids = [(await platform.send(PIPELINES, one))["pipeline_id"] for one in asked]
    last = await until(lambda: _held_back(platform, ids), "one is held back")

    async def ten_at_work() -> bool | None:
        return len({one["flow_id"] for one in forge.given}) == 10 or None

    await until(ten_at_work, "ten pipelines are made")
    assert last not in {one["flow_id"] for one in forge.given}

    async def shown() -> bool | None:
        return "forge_pipelines_active 10.0" in (await platform.client.get("/metrics")).text or None

    await until(shown, "the metrics count them")
    first = forge.given[0]
    await platform.send(f"{PIPELINES}/{first['flow_id']}/cancel", {"requested_by": "ada", "reason": "make room"})

    async def eleventh() -> bool | None:
        return last in {one["flow_id"] for one in forge.given} or None

    await until(eleventh, "the place is given to the one that waits")
