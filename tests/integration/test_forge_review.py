"""The last stage of a pipeline by real workers: the gate, and a merge request that people merge or close."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from functions._core.executors.execute import KeptFile
from functions._core.executors.forge import MODELS
from tests.support.code_hosts import CodeHostWorld, code_host
from tests.support.forge_stages import COMPOSED, VALIDATED
from tests.support.github_pulls import GithubPulls
from tests.support.gitlab_requests import GitlabRequests
from tests.support.loopback import until as until_true
from tests.support.pipelines import PIPELINES, ForgeWorker, forge_worker, seen
from tests.support.processes import Platform, running_platform, worker_process
from tests.support.world import until

LAST = {"forge_gate", "forge_merge_request"}
BUILD = {"artifact_id": "acme/shop", "parameters": {"language": "python"}}


class Review(NamedTuple):
    """A platform, a worker that stands for the first stages, and what real workers of the last one find."""

    platform: Platform
    client: httpx.AsyncClient
    stages: ForgeWorker
    world: CodeHostWorld
    folder: Path

    def hire(self, name: str, **changes: str) -> Any:
        """Start a worker of the last stage."""
        worker = worker_process(self.folder, self.platform.url, name, "--executor", ",".join(sorted(LAST)))
        settings = self.world.settings(**changes).environment
        worker.environment = {key: value for key, value in settings.items() if value}
        self.platform.hired.append(worker)
        worker.start()
        return worker

    async def begin(self) -> str:
        answer = await self.client.post(PIPELINES, json=BUILD)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["pipeline_id"])

    async def at(self, pipeline_id: str, *statuses: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            pipeline = await seen(self.client, pipeline_id)
            return pipeline if pipeline["status"] in statuses else None

        return await until(there, f"{pipeline_id} to be {statuses}")


@pytest.fixture
async def review(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Review]:
    async with (
        code_host(request.param, tmp_path) as world,
        running_platform(tmp_path, heartbeat_seconds=0.5, rate_limits="off") as platform,
        httpx.AsyncClient(base_url=platform.url) as client,
        forge_worker(client, sorted(MODELS.keys() - LAST)) as stages,
    ):
        kept = KeptFile.model_validate(world.parameters()["code"]["content"])
        stages.outputs["compose_code"] = COMPOSED.but(content=kept)
        stages.outputs["validate_code"] = VALIDATED.but(quality=0.7)
        yield Review(platform, client, stages, world, tmp_path)


@pytest.mark.parametrize("review", [GithubPulls, GitlabRequests], ids=["github", "gitlab"], indirect=True)
async def test_a_merge_request_outlives_its_worker_and_people_decide(review: Review) -> None:
    world = review.world
    doomed = review.hire("doomed")
    merged = await review.begin()
    await until_true(lambda: world.requests, "the merge request")
    await world.looked_at()
    doomed.kill()
    review.hire("other")
    await world.looked_at(3)
    waiting = await review.at(merged, "REQUIRES_APPROVAL")
    assert waiting["git_mr_url"].startswith("https://git")
    assert len(world.requests) == 1
    assert "Findings: 1 medium, 2 low" in world.text_of()
    world.merge()
    ended = await review.at(merged, "COMPLETED", "FAILED", "REJECTED")
    assert (ended["status"], ended["score"]) == ("COMPLETED", 0.81)
    assert (ended["git_mr_url"], ended["approval_required"]) == (waiting["git_mr_url"], True)

    rejected = await review.begin()
    await until_true(lambda: len(world.requests) == 2, "the second merge request")
    await world.looked_at()
    world.close(1)
    ended = await review.at(rejected, "COMPLETED", "FAILED", "REJECTED")
    assert ended["status"] == "REJECTED"
    assert "the merge request was closed without a merge: https://git" in ended["error"]
    await until_true(lambda: "compensate:package" in review.stages.order(rejected), "what was pushed to be taken away")


@pytest.mark.slow  # a worker lets tickets end for 30 s before it stops
@pytest.mark.parametrize("review", [GithubPulls, GitlabRequests], ids=["github", "gitlab"], indirect=True)
async def test_a_merge_request_stays_open_when_its_worker_is_stopped(review: Review) -> None:
    world = review.world
    worker = review.hire("restarted")
    pipeline_id = await review.begin()
    await until_true(lambda: world.requests, "the merge request")
    await world.looked_at()
    await asyncio.to_thread(worker.stop)  # the code host answers meanwhile
    assert (await seen(review.client, pipeline_id))["status"] == "REQUIRES_APPROVAL"
    assert world.comments() == []
    worker.start()
    await world.looked_at(2)
    world.merge()
    ended = await review.at(pipeline_id, "COMPLETED", "FAILED", "REJECTED")
    assert (ended["status"], len(world.requests)) == ("COMPLETED", 1)
    ticket = (await review.platform.tickets(pipeline_id))["approve/merge_request"]
    assert (ticket["attempt"], ticket["retry_count"]) == (2, 0)


@pytest.mark.parametrize("review", [GithubPulls], ids=["no-host"], indirect=True)
async def test_without_a_code_host_a_person_decides_and_bad_code_is_put_before_nobody(review: Review) -> None:
    review.hire("gate", FORGE_HOST="", FORGE_REPOSITORY="")
    waiting = await review.at(await review.begin(), "REQUIRES_APPROVAL")
    [asked] = (await review.client.get("/api/v1/inbox")).json()["items"]
    assert asked["ticket_id"] == waiting["review"]["ticket_id"]
    answer = await review.client.post(f"/api/v1/tickets/{asked['ticket_id']}/approve", json={"reason": "I looked"})
    assert answer.status_code == 202
    assert (await review.at(waiting["pipeline_id"], "COMPLETED"))["review"] is None
    review.stages.outputs["validate_code"] = VALIDATED.but(quality=0.1)
    ended = await review.at(await review.begin(), "REJECTED", "FAILED", "COMPLETED")
    assert (ended["status"], ended["stage"]) == ("REJECTED", "approve")
    assert "below 0.5 code is rejected" in ended["error"]
    assert review.world.requests == []
