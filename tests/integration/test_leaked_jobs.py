"""Jobs that outlive their workers: the platform knows of them, and names those that nobody has ended."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Rejected
from functions._core.events.reports import Report
from functions._core.jobs.records import JobRecord, JobStatus, page_of_jobs
from functions._engine.dispatch import read
from functions._executors import own_jobs
from functions._executors.http import HttpExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from tests.support.job_service import JobService, job_parameters
from tests.support.loopback import Answer, until
from tests.support.ordering import silent, taken
from tests.support.stand_in_platform import StandIn, working
from tests.support.world import LocalWorld, decision, report_event, running_world, task

JOB = {"executor": "http", "job_id": "4711", "url": "https://ci.example/4711"}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalWorld]:
    monkeypatch.setattr(own_jobs, "GRACE", timedelta(0))
    async with running_world(tmp_path) as running:
        running.workers.behave = silent
        await running.register()
        yield running


async def records(world: LocalWorld) -> list[JobRecord]:
    return [job for job, _ in (await page_of_jobs(world.ports.key_values, None, 50))[0]]


async def says(world: LocalWorld, assignment: Any, status: str = "RUNNING", **job: Any) -> str:
    event = report_event(assignment, status=status, job=JOB | job)
    return (await world.platform.report(event)).result


async def begun(world: LocalWorld) -> tuple[str, Any]:
    """Return a flow and an assignment whose worker has named its job."""
    flow_id = await world.submit(decision(task("a")))
    assignment = await taken(world, "a")
    assert await says(world, assignment) == "recorded"
    return flow_id, assignment


async def looked(world: LocalWorld) -> list[JobRecord]:
    """Look twice, as a job is given up at the second look, and return what is left."""
    for _ in range(2):
        await world.platform.companions.jobs.look()
    return await records(world)


async def test_a_job_is_known_while_its_worker_has_it(world: LocalWorld) -> None:
    flow_id, assignment = await begun(world)
    [job] = await looked(world)
    assert (job.worker_id, job.executor, job.job_id, job.url) == ("w1", "http", "4711", JOB["url"])
    assert (job.status, job.key) == (JobStatus.RUNNING, assignment["idempotency_key"])
    assert await says(world, assignment, "COMPLETED", ended=True) == "recorded"
    assert await records(world) == []
    await world.ended(flow_id)


async def test_a_job_that_nobody_has_ended_is_named(world: LocalWorld) -> None:
    flow_id, _ = await begun(world)
    await world.cancel(flow_id)
    [job] = await looked(world)
    assert job.status is JobStatus.LEAKED
    assert job.why == "worker w1 has not said that it has ended it"
    assert world.platform.metrics.text().count(b"flowc_jobs_leaked_total 1") == 1
    assert await looked(world) == [job]  # it is told once


async def test_a_job_that_its_worker_has_cancelled_is_forgotten(world: LocalWorld) -> None:
    flow_id, assignment = await begun(world)
    await world.cancel(flow_id)
    assert await says(world, assignment, ended=True) == "superseded"
    assert await looked(world) == []


async def test_a_job_that_its_worker_could_not_end_is_named_with_that(world: LocalWorld) -> None:
    flow_id, assignment = await begun(world)
    await world.cancel(flow_id)
    await says(world, assignment, "FAILED", ended=False)
    [job] = await looked(world)
    assert (job.status, job.why) == (JobStatus.LEAKED, "its worker could not end it")


async def test_a_job_that_is_named_twice_is_not_one_of_an_earlier_attempt(world: LocalWorld) -> None:
    _, assignment = await begun(world)
    [job] = await records(world)
    await says(world, assignment)  # the first answer was lost
    [again] = await records(world)
    assert (again.adopted, again.begun_at) == (False, job.begun_at)


async def test_the_next_attempt_goes_on_with_the_job_of_a_lost_worker(world: LocalWorld) -> None:
    flow_id, assignment = await begun(world)
    await world.platform.deregister("w1", "killed")
    await world.register("w2")
    await until(lambda: len(world.workers.assignments) == 2, "the second assignment")
    again = world.workers.assignments[1]
    assert again["idempotency_key"] == assignment["idempotency_key"]
    [job] = await looked(world)
    assert (job.worker_id, job.status) == ("w1", JobStatus.RUNNING)
    await says(world, again)
    [job] = await records(world)
    assert (job.worker_id, job.attempt, job.adopted) == ("w2", 2, True)
    await says(world, again, "COMPLETED", ended=True)
    assert await records(world) == []
    await world.ended(flow_id)


class TestAttacks:
    @pytest.mark.parametrize(
        "job",
        [
            {"job_id": "x" * 513},
            {"executor": "x" * 101},
            {"url": "javascript:alert(1)"},
            {"url": f"https://x/{'y' * 2048}"},
            {"job_id": ""},
        ],
    )
    def test_what_is_no_job_is_refused(self, job: dict[str, str]) -> None:
        event = report_event({"ticket_id": "t", "attempt": 1, "flow_id": "f"}, status="RUNNING", job=JOB | job)
        with pytest.raises(Rejected) as refusal:
            read(Report, event)
        assert refusal.value.status == 422

    async def test_a_worker_writes_one_record_for_its_attempt_and_ends_no_job_of_others(
        self, world: LocalWorld
    ) -> None:
        _, assignment = await begun(world)
        for number in range(20):
            await says(world, assignment, job_id=f"job-{number}")
        [job] = await records(world)
        assert job.job_id == "job-19"
        await says(world, assignment, job_id="another", ended=True)
        assert await records(world) == [job]
        await says(world, {**assignment, "attempt": 7}, job_id="later")
        assert await records(world) == [job]


class TestWorker:
    @pytest.fixture
    async def service(self) -> AsyncIterator[JobService]:
        async with JobService() as served:
            served.looks = None
            yield served

    @pytest.fixture
    async def jobs(self) -> AsyncIterator[JobsExecutor]:
        settings = ExecutorSettings.model_validate({"networks": ["loopback"]})
        made = JobsExecutor([HttpExecutor(settings)], pauses=(0.0, 0.0, 0.0))
        yield made
        await made.aclose()

    async def test_it_names_its_job_and_says_that_it_has_ended(self, service: JobService, jobs: JobsExecutor) -> None:
        async with StandIn() as platform, working(platform, jobs) as desk:
            await desk.assign(parameters=job_parameters(service.url))
            await until(lambda: named(platform), "the name of the job")
            assert named(platform)[0] == {
                "executor": "http",
                "job_id": "job-1",
                "url": f"{service.url}/jobs/job-1",
                "ended": False,
            }
            service.looks = 1
            await until(lambda: "COMPLETED" in platform.statuses, "the end")
            last = named(platform)[-1]
            assert (last["job_id"], last["ended"]) == ("job-1", True)

    @pytest.mark.parametrize(("status", "ended"), [(202, True), (403, False)])
    async def test_it_says_whether_it_could_end_the_job_of_a_cancelled_ticket(
        self, service: JobService, jobs: JobsExecutor, status: int, ended: bool
    ) -> None:
        async with StandIn() as platform, working(platform, jobs) as desk:
            await desk.assign(parameters=job_parameters(service.url))
            await until(lambda: named(platform), "the name of the job")
            service.faults.append(Answer(status)) if status != 202 else None
            await desk.cancel()
            await until(lambda: len(named(platform)) == 2, "the last word")
            assert named(platform)[1]["ended"] is ended

    async def test_a_call_that_answers_at_once_is_no_job_to_name(self, service: JobService, jobs: JobsExecutor) -> None:
        async with StandIn() as platform, working(platform, jobs) as desk:
            await desk.assign(parameters={"provider": "http", "url": f"{service.url}/echo"})
            await platform.reported("COMPLETED")
            assert named(platform) == []


def named(platform: StandIn) -> list[dict[str, Any]]:
    return [report.data["job"] for report in platform.reports if report.data.get("job")]
