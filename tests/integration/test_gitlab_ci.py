"""Pipelines of GitLab CI as jobs, against a contract server: what only GitLab has (see `test_ci_runs` for the rest)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from functions._executors import ci_runs
from functions._executors.gitlab_ci import GitlabCiExecutor
from functions._worker.jobs import JobsExecutor
from tests.support.ci import failure, run, settings_for
from tests.support.gitlab_api import TOKEN, GitlabServer
from tests.support.loopback import Answer, Request, until

TESTS = {"provider": "gitlab_ci", "project": "acme/web/shop", "ref": "main"}


@pytest.fixture
async def gitlab() -> AsyncIterator[GitlabServer]:
    async with GitlabServer() as server:
        yield server


@pytest.fixture
async def jobs(gitlab: GitlabServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:
    monkeypatch.setattr(ci_runs, "PATIENCE", (0.02,) * 5)
    made = JobsExecutor([GitlabCiExecutor(settings_for("GITLAB", gitlab.url, TOKEN))], pauses=(0.02, 0.02, 0.02))
    yield made
    await made.aclose()


def made_by_us(gitlab: GitlabServer) -> list[Request]:
    return [request for request in gitlab.requests if request.method == "POST" and request.path.endswith("/pipeline")]


async def test_a_pipeline_is_made_and_its_tests_and_coverage_are_outputs(
    gitlab: GitlabServer, jobs: JobsExecutor
) -> None:
    gitlab.coverage = "81.50"
    given = {**TESTS, "variables": {"BROWSER": "firefox"}, "min_coverage": 0.815}
    output = await run(jobs, given, extensions={"traceparent": "00-1-2-01"})
    [made] = gitlab.pipelines.values()
    assert made.variables == {"BROWSER": "firefox", "FLOWC_KEY": "t-1-0", "TRACEPARENT": "00-1-2-01"}
    assert made.ref == "main"
    assert output.pop("job")["id"] == str(made.id)
    [artifact] = output.pop("artifacts")
    assert artifact == {"name": "unit/artifacts.zip", "size": 7, "uri": "https://gitlab.test/jobs/2/artifacts/browse"}
    assert output == {
        "url": made.web_url,
        "conclusion": "success",
        "passed": 9,
        "failed": 0,
        "errors": 0,
        "skipped": 1,
        "failing": [],
        "coverage": 0.815,
    }


async def test_a_pipeline_that_fails_names_tests_and_jobs(gitlab: GitlabServer, jobs: JobsExecutor) -> None:
    gitlab.ends_as, gitlab.failing = "failed", 2
    failed = await failure(jobs, TESTS)
    assert (failed.kind, failed.retryable) == ("tests_failed", True)
    assert failed.message == (
        "the run ended as failed: 2 of 9 tests failed: Cart.t0, Cart.t1; jobs that did not succeed: unit; "
        "https://gitlab.test/acme/web/shop/-/pipelines/500"
    )


async def test_a_pipeline_that_waits_for_a_person_is_waited_for(gitlab: GitlabServer, jobs: JobsExecutor) -> None:
    gitlab.ends_as = "manual"
    running = asyncio.create_task(run(jobs, TESTS))
    await until(lambda: gitlab.pipelines and gitlab.pipelines[500].seen > 4, "more looks")
    gitlab.ends_as = "success"
    assert (await running)["conclusion"] == "success"


@pytest.mark.parametrize("named", [True, False], ids=["by name", "by variable"])
async def test_a_pipeline_of_an_earlier_attempt_is_found(gitlab: GitlabServer, jobs: JobsExecutor, named: bool) -> None:
    gitlab.named, gitlab.may_read_variables = named, not named
    await run(jobs, TESTS)
    for number in range(150 if named else 10):
        gitlab.add(FLOWC_KEY=f"t-1-0{number}")
    before = len(gitlab.requests)
    output = await run(jobs, TESTS, attempt=2)
    assert not named or len(gitlab.requests) - before < 20, "what it may not read it asks for once"
    assert (output["job"]["id"], output["job"]["adopted"]) == ("500", True)
    assert len(made_by_us(gitlab)) == 1
    gitlab.pipelines[500].status = "failed"
    assert not (await run(jobs, TESTS, attempt=3))["job"]["adopted"]
    await run(jobs, TESTS, attempt=4, retry_count=3)
    assert len(made_by_us(gitlab)) == 3


@pytest.mark.parametrize("said", [Answer(201, b"<html>"), Answer(200, b'[{"id": 1}]')], ids=repr)
async def test_one_whose_answer_nobody_understands_is_made_once(
    gitlab: GitlabServer, jobs: JobsExecutor, said: Answer
) -> None:
    answer = gitlab.answer

    async def lose(request: Request) -> Answer:
        told = await answer(request)
        return said if request.method == "POST" and len(made_by_us(gitlab)) == 1 else told

    gitlab.answer = lose
    assert (await run(jobs, TESTS))["job"]["adopted"]
    assert len(gitlab.pipelines) == 1


async def test_a_cancelled_job_cancels_its_pipeline_and_one_that_is_gone_is_lost(
    gitlab: GitlabServer, jobs: JobsExecutor
) -> None:
    gitlab.looks = None
    running = asyncio.create_task(run(jobs, TESTS))
    await until(lambda: gitlab.pipelines and gitlab.pipelines[500].seen, "the first look")
    running.cancel()
    await asyncio.wait({running})
    assert gitlab.pipelines[500].status == "canceled"
    lost = asyncio.create_task(failure(jobs, TESTS, ticket_id="t-2"))
    await until(lambda: 501 in gitlab.pipelines and gitlab.pipelines[501].seen, "the first look")
    del gitlab.pipelines[501]
    assert (await lost).kind == "lost"
