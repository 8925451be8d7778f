"""Artifacts by a code forge, against a contract server: begun once, followed, waited for, ended, and refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._executors.code_forge import CodeForgeExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.forge_api import ForgeApi
from tests.support.jobs import assigned
from tests.support.loopback import Answer, Request, until
from tests.support.processes import Platform, running_platform, worker_process
from tests.support.world import decision, task
from tests.support.world import until as eventually

SHOP = {"provider": "code_forge", "artifact_id": "acme/shop", "template_id": "microservice", "language": "python"}


@pytest.fixture
async def forge() -> AsyncIterator[ForgeApi]:
    async with ForgeApi() as served:
        yield served


def executor_for(forge: ForgeApi, **changes: str) -> CodeForgeExecutor:
    environment = {"WORKER_CODE_FORGE_URL": forge.url, "WORKER_CODE_FORGE_TOKEN": forge.token}
    given = {"WORKER_REPOSITORIES": "acme/*", "WORKER_POLL_SECONDS": "0.05"}
    return CodeForgeExecutor(ExecutorSettings.from_environment(environment | given | changes))


@pytest.fixture
async def jobs(forge: ForgeApi) -> AsyncIterator[JobsExecutor]:
    made = JobsExecutor([executor_for(forge)], pauses=(0.0, 0.05, 0.1))
    yield made
    await made.aclose()


async def run(jobs: JobsExecutor, parameters: dict[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    output = await jobs.run(assigned(parameters or SHOP, task_type="BUILD", **about))
    assert isinstance(output, dict)
    return output


async def failure(jobs: JobsExecutor, parameters: dict[str, Any] | None = None, **about: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(jobs, parameters, **about)
    return failed.value


@pytest.mark.parametrize("begun", [201, 202])
async def test_a_ticket_leads_to_a_pipeline_and_its_artifacts(forge: ForgeApi, jobs: JobsExecutor, begun: int) -> None:
    forge.begun = begun
    given = {**SHOP, "commit_sha": "abc1234", "inputs": {"port": 8080, "language": "cobol"}}
    output = await run(jobs, given, plan_id="plan-1")
    [pipeline] = forge.pipelines.values()
    assert (pipeline.body["artifact_id"], pipeline.body["ticket_id"], pipeline.key) == ("acme/shop", "t-1", "t-1-0")
    said = pipeline.body["parameters"]
    assert (said["template_id"], said["language"], said["commit_sha"], said["port"], said["plan_id"]) == (
        "microservice",
        "python",
        "abc1234",
        8080,
        "plan-1",
    )
    [made] = output["artifacts"]
    assert (made["artifact_type"], made["location"]) == ("CONTAINER", "registry.example.com/acme/shop:1")
    assert (output["sbom"]["format"], output["signature"], output["pipeline_id"]) == ("CycloneDX", "MEUCIQ", "p-1")


async def test_a_pipeline_is_begun_once_for_a_key_whatever_gets_lost(forge: ForgeApi, jobs: JobsExecutor) -> None:
    answer = forge.answer
    lost: list[Request] = []

    async def lose_one(request: Request) -> Answer:
        told = await answer(request)
        if request.method == "POST" and not lost:
            lost.append(request)
            return Answer(504)
        return told

    forge.answer = lose_one
    assert (await run(jobs))["job"]["adopted"] is True
    assert (await run(jobs, attempt=2))["job"]["id"] == "p-1"
    assert len(forge.pipelines) == 1
    await run(jobs, attempt=3, retry_count=1)
    assert [one.key for one in forge.pipelines.values()] == ["t-1-0", "t-1-1"]


async def test_a_review_is_waited_for_and_named(forge: ForgeApi, jobs: JobsExecutor) -> None:
    forge.waits = True
    assert (await run(jobs))["pipeline_id"] == "p-1"
    assert forge.pipelines["p-1"].seen == 3


@pytest.mark.parametrize(
    ("ends_as", "kind", "retryable"),
    [
        ("FAILED", "build_failed", True),
        ("partial", "build_partial", True),
        ("REJECTED", "build_rejected", False),
        ("TIMED_OUT", "build_timed_out", True),
    ],
)
async def test_a_pipeline_that_ends_badly_says_why(
    forge: ForgeApi, jobs: JobsExecutor, ends_as: str, kind: str, retryable: bool
) -> None:
    forge.ends_as = ends_as
    failed = await failure(jobs)
    assert (failed.kind, failed.retryable, "4 tests failed" in failed.message) == (kind, retryable, True)


async def test_a_cancelled_ticket_ends_its_pipeline(forge: ForgeApi, jobs: JobsExecutor) -> None:
    forge.looks = None
    running = asyncio.create_task(run(jobs))
    await until(lambda: forge.pipelines and forge.pipelines["p-1"].seen, "the first look")
    running.cancel()
    await asyncio.wait({running})
    assert forge.pipelines["p-1"].cancelled


class TestRefused:
    async def test_an_artifact_that_the_owner_does_not_name(self, forge: ForgeApi, jobs: JobsExecutor) -> None:
        for artifact in ("other/shop", "acme/shop/more"):
            assert (await failure(jobs, {**SHOP, "artifact_id": artifact})).kind == "not_allowed"
        assert forge.requests == []

    async def test_a_secret_that_others_would_see(self, forge: ForgeApi, jobs: JobsExecutor) -> None:
        given = {**SHOP, "inputs": {"key": "hunter2-hunter2"}}
        assert (await failure(jobs, given, secrets=["/inputs/key"])).kind == "secret_in_inputs"
        assert forge.requests == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"artifact_id": "../x"},
            {"artifact_id": ""},
            {"branch": "-x"},
            {"branch": "a b"},
            {"commit_sha": "HEAD"},
            {"inputs": {"a": "x" * 70_000}},
            {"inputs": {"../a": 1}},
            {"url": "http://10.0.0.1"},
        ],
        ids=str,
    )
    async def test_parameters_that_make_no_sense(
        self, forge: ForgeApi, jobs: JobsExecutor, changes: dict[str, Any]
    ) -> None:
        assert (await failure(jobs, {**SHOP, **changes})).kind == "bad_parameters"
        assert forge.requests == []

    async def test_answers_that_make_no_sense(self, forge: ForgeApi, jobs: JobsExecutor) -> None:
        for body in (b"", b"<html>", b"[]", b'{"pipeline_id": 7}', b'{"status": "RUNNING"}'):
            forge.faults.extend([Answer(201, body)] * 4)
            assert (await failure(jobs)).kind in {"not_json", "not_understood"}
        forge.faults.append(Answer(401))
        failed = await failure(jobs)
        assert (failed.kind, failed.retryable) == ("unexpected_status", False)

    async def test_an_id_of_an_answer_does_not_change_the_path(self, forge: ForgeApi, jobs: JobsExecutor) -> None:
        forge.faults.append(Answer(201, json.dumps({"pipeline_id": "../x?y=1"}).encode()))
        assert (await failure(jobs)).kind == "lost"
        assert forge.requests[-1].raw_path == "/api/v1/pipelines/..%2Fx%3Fy%3D1"


async def test_the_doctor_asks_the_forge(forge: ForgeApi) -> None:
    for changes, ready in (
        ({}, True),
        ({"WORKER_CODE_FORGE_TOKEN": "wrong"}, False),
        ({"WORKER_REPOSITORIES": ""}, False),
    ):
        executor = executor_for(forge, **changes)
        assert all(check.ok for check in await executor.check()) is ready
        await executor.aclose()


def hire_two(folder: Path, platform: Platform, forge: ForgeApi) -> None:
    """Hire two workers with the executor, which are not started yet."""
    for name in ("doomed", "other"):
        worker = worker_process(folder, platform.url, name, "--executor", "code_forge")
        worker.environment = {
            "WORKER_CODE_FORGE_URL": forge.url,
            "WORKER_CODE_FORGE_TOKEN": forge.token,
            "WORKER_REPOSITORIES": "acme/*",
            "WORKER_POLL_SECONDS": "0.05",
        }
        platform.hired.append(worker)


async def test_the_pipeline_of_a_worker_that_is_killed_is_begun_once(tmp_path: Any, forge: ForgeApi) -> None:
    forge.looks = None
    async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
        hire_two(tmp_path, platform, forge)
        platform.hired[0].start()
        flow_id = await platform.submit(
            decision(task("a", task_type="BUILD", parameters=SHOP, required_capabilities=[]))
        )
        await until(lambda: forge.pipelines and forge.pipelines["p-1"].seen, "the first look at the pipeline")
        platform.hired[0].kill()
        platform.hired[1].start()
        seen = forge.pipelines["p-1"].seen
        await until(lambda: forge.pipelines["p-1"].seen > seen + 2, "looks of another worker")
        forge.looks = 1
        flow = await platform.ended(flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]
    assert len(forge.pipelines) == 1


async def test_a_pipeline_that_has_ended_before_another_worker_looks_is_known_to_be_over(
    tmp_path: Path, forge: ForgeApi
) -> None:
    forge.looks, forge.ends_as = None, "REJECTED"
    async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
        hire_two(tmp_path, platform, forge)
        platform.hired[0].start()
        build = task("a", task_type="BUILD", parameters=SHOP, required_capabilities=[])
        flow_id = await platform.submit(decision(build))

        async def named() -> bool | None:
            return bool((await platform.get("/api/v1/jobs"))["items"]) or None

        await eventually(named, "the platform to know of the job")
        platform.hired[0].kill()
        forge.looks = 0
        platform.hired[1].start()
        flow = await platform.ended(flow_id)
        assert (await platform.get("/api/v1/jobs"))["items"] == []
    assert flow["status"] == "FAILED", flow["reasons"]
