"""Builds of Jenkins as jobs, against a contract server: what only Jenkins has (see `test_ci_runs` for the rest)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from functions._executors import ci_runs
from functions._executors.jenkins import JenkinsExecutor
from functions._worker.jobs import JobsExecutor
from tests.support.ci import failure, run, settings_for
from tests.support.jenkins_api import TOKEN, USER, JenkinsServer
from tests.support.loopback import Answer, until

TESTS = {"provider": "jenkins", "job": "acme/shop tests"}


@pytest.fixture
async def jenkins() -> AsyncIterator[JenkinsServer]:
    async with JenkinsServer() as server:
        yield server


@pytest.fixture
async def jobs(jenkins: JenkinsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:
    monkeypatch.setattr(ci_runs, "PATIENCE", (0.02,) * 5)
    settings = settings_for("JENKINS", jenkins.url, TOKEN, environment={"WORKER_JENKINS_USER": USER})
    made = JobsExecutor([JenkinsExecutor(settings)], pauses=(0.02, 0.02, 0.02))
    yield made
    await made.aclose()


@pytest.mark.parametrize("crumbs", [True, False])
async def test_a_build_waits_is_built_and_its_tests_and_coverage_are_outputs(
    jenkins: JenkinsServer, jobs: JobsExecutor, crumbs: bool
) -> None:
    jenkins.coverage, jenkins.crumbs = "81.50%", crumbs
    output = await run(jobs, {**TESTS, "inputs": {"BROWSER": "fire & fox"}, "min_coverage": 0.815})
    [item] = jenkins.items.values()
    assert item.parameters == {"BROWSER": "fire & fox", "FLOWC_KEY": "t-1-0"}
    assert output.pop("job")["id"] == f"queue-{item.id}"
    url = f"{jenkins.url}/job/acme/job/shop tests/1/"
    assert output == {
        "url": url,
        "conclusion": "success",
        "passed": 9,
        "failed": 0,
        "errors": 0,
        "skipped": 1,
        "failing": [],
        "coverage": 0.815,
        "artifacts": [{"name": "target/app.war", "uri": f"{url}artifact/target/app.war"}],
    }


@pytest.mark.parametrize("result", ["UNSTABLE", "FAILURE", "NOT_BUILT", "ABORTED"])
async def test_only_success_is_success(jenkins: JenkinsServer, jobs: JobsExecutor, result: str) -> None:
    jenkins.ends_as, jenkins.tested = result, False
    assert (await failure(jobs, TESTS)).kind == f"run_{result.lower()}"


@pytest.mark.parametrize("state", ["waiting", "building", "built"])
async def test_one_that_an_earlier_attempt_asked_for_is_found_in_the_queue_and_among_builds(
    jenkins: JenkinsServer, jobs: JobsExecutor, state: str
) -> None:
    jenkins.waits, jenkins.looks = (10**6 if state == "waiting" else 1), (1 if state == "built" else None)
    lost = asyncio.create_task(run(jobs, TESTS))
    await until(lambda: jenkins.items and (state == "waiting" or jenkins.items[70].seen), "the first look")
    jenkins.items[70].forgotten = state != "waiting"
    again = asyncio.create_task(run(jobs, TESTS, attempt=2))
    await asyncio.sleep(0.1)
    jenkins.items[70].waits, jenkins.looks = 1, 1
    output = await again
    assert output["job"]["adopted"]
    assert await lost
    assert len(jenkins.items) == 1
    jenkins.items[70].result, jenkins.waits = "FAILURE", 1
    assert not (await run(jobs, TESTS, attempt=3))["job"]["adopted"]


async def test_one_that_left_the_queue_long_ago_is_followed_by_its_key(
    jenkins: JenkinsServer, jobs: JobsExecutor
) -> None:
    jenkins.waits = 10**6
    running = asyncio.create_task(run(jobs, TESTS))
    await until(lambda: jenkins.items and jenkins.items[70].waits < 10**6, "the first look")
    jenkins.begin(jenkins.items[70])
    jenkins.items[70].forgotten = True
    assert (await running)["conclusion"] == "success"


async def test_a_crumb_that_is_none_is_asked_for_again(jenkins: JenkinsServer, jobs: JobsExecutor) -> None:
    for garbage in (b"<html>", b'{"crumb": "c", "crumbRequestField": "Host\\r\\nX"}'):
        jenkins.faults.append(Answer(200, garbage))
        await run(jobs, TESTS, ticket_id=f"t-{len(garbage)}")


@pytest.mark.parametrize("waits", [10**6, 1], ids=["waiting", "building"])
async def test_a_cancelled_job_leaves_the_queue_or_is_stopped(
    jenkins: JenkinsServer, jobs: JobsExecutor, waits: int
) -> None:
    jenkins.waits, jenkins.looks = waits, None
    running = asyncio.create_task(run(jobs, TESTS))
    await until(lambda: jenkins.items and (waits > 1 or jenkins.items[70].seen), "the first look")
    running.cancel()
    await asyncio.wait({running})
    assert (jenkins.items[70].cancelled, jenkins.items[70].result) == (
        (True, None) if waits > 1 else (False, "ABORTED")
    )


async def test_one_that_somebody_takes_out_of_the_queue_has_failed(jenkins: JenkinsServer, jobs: JobsExecutor) -> None:
    jenkins.waits = 10**6
    running = asyncio.create_task(failure(jobs, TESTS))
    await until(lambda: jenkins.items, "the item")
    jenkins.items[70].cancelled = True
    assert (await running).kind == "run_cancelled"


async def test_a_job_without_the_parameter_is_followed_by_its_number(
    jenkins: JenkinsServer, jobs: JobsExecutor
) -> None:
    jenkins.declared, jenkins.waits = frozenset(), 1
    running = asyncio.create_task(run(jobs, TESTS))
    await until(lambda: jenkins.items and jenkins.items[70].seen, "the build")
    jenkins.items[70].forgotten = True
    assert (await running)["conclusion"] == "success"


async def test_the_doctor_names_the_variable_of_a_server_that_nobody_named() -> None:
    nowhere = JenkinsExecutor(settings_for("JENKINS", ""))
    [reach, *_] = await nowhere.check()
    assert "WORKER_JENKINS_URL" in reach.detail
    await nowhere.aclose()
