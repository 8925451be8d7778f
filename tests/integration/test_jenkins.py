"""Builds of Jenkins as jobs, against a contract server: queued once, found, followed, judged, stopped."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from functions._executors import ci_runs
from functions._executors.jenkins import JenkinsExecutor
from functions._worker.jobs import JobsExecutor
from tests.support.ci import failure, run, settings_for
from tests.support.jenkins_api import TOKEN, USER, JenkinsServer
from tests.support.loopback import Answer, Request, until

TESTS = {"provider": "jenkins", "job": "acme/shop tests"}


@pytest.fixture
async def jenkins() -> AsyncIterator[JenkinsServer]:
    async with JenkinsServer() as server:
        yield server


@pytest.fixture
async def jobs(jenkins: JenkinsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:
    monkeypatch.setattr(ci_runs, "PATIENCE", (0.02,) * 5)
    made = JobsExecutor([executor_for(jenkins)], pauses=(0.02, 0.02, 0.02))
    yield made
    await made.aclose()


def executor_for(jenkins: JenkinsServer, token: str = TOKEN) -> JenkinsExecutor:
    return JenkinsExecutor(settings_for("JENKINS", jenkins.url, token, environment={"WORKER_JENKINS_USER": USER}))


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


@pytest.mark.parametrize("long_report", [False, True])
async def test_a_build_that_is_unstable_names_its_tests(
    jenkins: JenkinsServer, jobs: JobsExecutor, long_report: bool
) -> None:
    jenkins.ends_as, jenkins.failing, jenkins.long_report = "UNSTABLE", 2, long_report
    failed = await failure(jobs, TESTS)
    assert (failed.kind, failed.retryable) == ("tests_failed", True)
    names = "" if long_report else ": Cart.t0, Cart.t1"
    assert failed.message.startswith(f"the run ended as unstable: 2 of 9 tests failed{names}; http")


async def test_too_little_coverage_fails_the_task_and_so_does_none(jenkins: JenkinsServer, jobs: JobsExecutor) -> None:
    assert (await failure(jobs, {**TESTS, "min_coverage": 0.1})).kind == "coverage"
    jenkins.coverage = "9.99%"
    assert (await failure(jobs, {**TESTS, "min_coverage": 0.1}, ticket_id="t-2")).kind == "coverage"
    jenkins.coverage = "much"
    assert (await failure(jobs, TESTS, ticket_id="t-3")).kind == "report"


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


async def test_a_request_whose_answer_was_lost_is_made_once(jenkins: JenkinsServer, jobs: JobsExecutor) -> None:
    answer = jenkins.answer
    lost: list[Request] = []

    async def lose(request: Request) -> Answer:
        told = await answer(request)
        if request.path.endswith("/buildWithParameters") and not lost:
            lost.append(request)
            return Answer(502)
        return told

    jenkins.answer = lose
    assert (await run(jobs, TESTS))["job"]["adopted"]
    assert len(jenkins.items) == 1


async def test_a_server_in_trouble_is_asked_again_and_a_refusal_has_words(
    jenkins: JenkinsServer, jobs: JobsExecutor
) -> None:
    jenkins.faults.extend([Answer(503), Answer(429, b"", {"retry-after": "1"})])
    assert (await run(jobs, TESTS))["conclusion"] == "success"
    assert len(jenkins.items) == 1
    failed = await failure(jobs, {**TESTS, "job": "acme/none"}, ticket_id="t-2")
    assert (failed.kind, failed.retryable) == ("refused", False)
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


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"job": "evil/shop"}, "not_allowed"),
        ({"job": "acme/../evil"}, "bad_parameters"),
        ({"job": "acme//x"}, "bad_parameters"),
        ({"job": "acme/x?a=1"}, "bad_parameters"),
        ({"inputs": {"FLOWC_KEY": "mine"}}, "bad_parameters"),
        ({"inputs": {"A": "hunter2hunter2"}}, "secret_in_inputs"),
    ],
)
async def test_what_must_not_be_is_refused_before_any_call(
    jenkins: JenkinsServer, jobs: JobsExecutor, wrong: dict[str, Any], kind: str
) -> None:
    assert (await failure(jobs, {**TESTS, **wrong}, secrets=["/inputs/A"] if "secret" in kind else [])).kind == kind
    assert jenkins.requests == []


async def test_the_doctor_tries_the_token_and_a_server_that_nobody_named(jenkins: JenkinsServer) -> None:
    for token, ok in ((TOKEN, True), ("wrong", False)):
        executor = executor_for(jenkins, token)
        assert [check.ok for check in await executor.check()] == [ok, True, True]
        await executor.aclose()
    nowhere = JenkinsExecutor(settings_for("JENKINS", ""))
    [reach, *_] = await nowhere.check()
    assert "WORKER_JENKINS_URL" in reach.detail
    await nowhere.aclose()
