"""Workflows of GitHub Actions as jobs, against a contract server: what only GitHub has (see `test_ci_runs`)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._executors import ci_runs, github_actions
from functions._executors.github_actions import GithubActionsExecutor
from functions._executors.port import JobFailed, JobHandle, JobRunning, JobState
from functions._worker.jobs import JobsExecutor
from tests.support.ci import COVERAGE, GREEN, JUNIT, failure, run, settings_for
from tests.support.github_api import TOKEN, GithubServer, rate_limited, zipped
from tests.support.jobs import assigned
from tests.support.loopback import Answer, Request, until
from tests.support.processes import running_platform, worker_process
from tests.support.stand_in_platform import StandIn, working
from tests.support.world import decision, task

TESTS = {"provider": "github_actions", "repository": "acme/shop", "workflow": "test.yml", "ref": "main"}


@pytest.fixture
async def github() -> AsyncIterator[GithubServer]:
    async with GithubServer() as server:
        yield server


@pytest.fixture
async def jobs(github: GithubServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JobsExecutor]:
    monkeypatch.setattr(ci_runs, "PATIENCE", (0.02,) * 5)
    made = jobs_for(github)
    yield made
    await made.aclose()


def jobs_for(github: GithubServer, **changes: Any) -> JobsExecutor:
    settings = settings_for("GITHUB", github.url, TOKEN, **changes)
    return JobsExecutor([GithubActionsExecutor(settings)], pauses=(0.02, 0.02, 0.02))


def dispatches(github: GithubServer) -> list[Request]:
    return [request for request in github.requests if request.path.endswith("/dispatches")]


class TestRun:
    async def test_a_workflow_is_dispatched_followed_and_its_reports_are_outputs(self, github: GithubServer) -> None:
        github.artifacts = {"other": b"x", "reports": zipped({"a/junit.xml": GREEN, "b/coverage.xml": COVERAGE})}
        given = {**TESTS, "inputs": {"browser": "firefox"}, "artifact": "reports", "min_coverage": 0.8}
        async with StandIn() as platform, working(platform, jobs_for(github)) as desk:
            await desk.assign(parameters=given, task_type="TEST", ticket_id="t-1")
            await until(lambda: "COMPLETED" in platform.statuses, "the end")
            output, log = (platform.reports[-1].data[name] for name in ("output", "log"))
        [made] = github.runs.values()
        assert made.inputs == {"browser": "firefox", "flowc_key": "t-1-0"}
        assert (made.ref, log) == ("main", f"the run: {made.html_url}\nin_progress\n")
        job = output.pop("job")
        assert (job["executor"], job["id"], job["url"]) == ("github_actions", str(made.id), made.html_url)
        kept = [(one["name"], one["sha256"]) for one in output.pop("artifacts")]
        assert kept == [("other", "ab12"), ("reports", "ab12")]
        assert output == {
            "url": made.html_url,
            "conclusion": "success",
            "passed": 2,
            "failed": 0,
            "errors": 0,
            "skipped": 0,
            "failing": [],
            "coverage": 0.8,
        }

    async def test_a_run_that_fails_says_which_tests_and_jobs_did(
        self, github: GithubServer, jobs: JobsExecutor
    ) -> None:
        github.ends_as, github.artifacts = "failure", {"reports": zipped({"junit.xml": JUNIT})}
        failed = await failure(jobs, {**TESTS, "artifact": "reports"})
        assert (failed.kind, failed.retryable) == ("tests_failed", True)
        assert failed.message == (
            "the run ended as failure: 1 of 3 tests failed: shop.Cart.ships; jobs that did not succeed: unit; "
            "https://github.test/acme/shop/actions/runs/1000"
        )

    @pytest.mark.parametrize("conclusion", ["cancelled", "timed_out", "action_required", "startup_failure", "skipped"])
    async def test_only_success_is_success(self, github: GithubServer, jobs: JobsExecutor, conclusion: str) -> None:
        github.ends_as = conclusion
        assert (await failure(jobs, TESTS)).kind == f"run_{conclusion}"

    async def test_too_little_coverage_fails_the_task_and_so_does_none(
        self, github: GithubServer, jobs: JobsExecutor
    ) -> None:
        github.artifacts = {"reports": zipped({"coverage.xml": COVERAGE}), "bare": zipped({"junit.xml": GREEN})}
        failed = await failure(jobs, {**TESTS, "artifact": "reports", "min_coverage": 0.81})
        assert (failed.kind, failed.retryable) == ("coverage", False)
        assert failed.message.startswith("80.00% is covered, 81.00% is asked for")
        given = {**TESTS, "artifact": "bare", "min_coverage": 0}
        assert (await failure(jobs, given, ticket_id="t-2")).message.startswith("nobody knows how much is covered")

    async def test_a_report_that_is_wanted_and_cannot_be_read_fails_a_run_that_succeeded(
        self, github: GithubServer, jobs: JobsExecutor
    ) -> None:
        bomb = zipped({"junit.xml": b"<testsuite>" + b" " * (40 * 1024 * 1024)})
        assert len(bomb) < 100_000
        github.artifacts = {"bomb": bomb, "garbage": b"PK no zip", "page": zipped({"a.xml": "<html>"})}
        github.artifacts["cut"] = zipped({"a.xml": "<testsuite><testcase>"})
        github.artifacts["entities"] = zipped({"a.xml": '<!DOCTYPE t [<!ENTITY a "a">]><testsuite>&a;</testsuite>'})
        for number, (artifact, words) in enumerate(
            {
                "bomb": "junit.xml is too large",
                "garbage": "the archive is broken",
                "page": "the artifact page has no report",
                "cut": "a.xml is no XML",
                "entities": "a.xml has declarations of its own",
                "none": "the run has no artifact none",
            }.items()
        ):
            failed = await failure(jobs, {**TESTS, "artifact": artifact}, ticket_id=f"t-{number}")
            assert (failed.kind, failed.retryable) == ("report", False)
            assert words in failed.message
        github.ends_as = "failure"
        failed = await failure(jobs, {**TESTS, "artifact": "bomb"}, ticket_id="t-9")
        assert (failed.kind, failed.retryable) == ("run_failure", True)

    async def test_an_artifact_is_found_behind_many_others(self, github: GithubServer, jobs: JobsExecutor) -> None:
        github.artifacts = {**{f"shard-{n}": b"x" for n in range(120)}, "reports": zipped({"junit.xml": GREEN})}
        output = await run(jobs, {**TESTS, "artifact": "reports"})
        assert (output["passed"], len(output["artifacts"])) == (2, 100)

    async def test_an_artifact_that_is_too_large_is_not_fetched(
        self, github: GithubServer, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        github.artifacts = {"reports": zipped({"junit.xml": GREEN})}
        monkeypatch.setattr(github_actions, "ARCHIVE_BYTES", 100)
        assert "more than 100 bytes" in (await failure(jobs, {**TESTS, "artifact": "reports"})).message
        assert not [request for request in github.requests if request.path.startswith("/store/")]

    async def test_an_artifact_is_fetched_where_the_owner_lets_calls_go_and_without_the_token(
        self, github: GithubServer
    ) -> None:
        github.artifacts = {"reports": zipped({"junit.xml": GREEN})}
        jobs = jobs_for(github, networks=["public"])
        message = (await failure(jobs, {**TESTS, "artifact": "reports"})).message
        assert message.startswith(
            "the artifact is where no call goes: 127.0.0.1 is a loopback address; WORKER_NETWORKS"
        )
        await jobs.aclose()
        assert not [request for request in github.requests if request.path.startswith("/store/")]


class TestOnce:
    async def test_the_new_one_is_waited_for_and_not_taken_for_the_one_before(
        self, github: GithubServer, jobs: JobsExecutor
    ) -> None:
        github.tells_runs, github.late, github.ends_as = False, 3, "failure"
        await failure(jobs, TESTS)
        github.ends_as = "success"
        answer = github.answer

        async def lose(request: Request) -> Answer:
            told = await answer(request)
            return Answer(504) if told.status == 204 and len(github.runs) == 2 else told

        github.answer = lose
        assert (await run(jobs, TESTS, attempt=2))["url"].endswith("/1001")
        assert len(github.runs) == 2
        github.answer, github.runs[1001].conclusion = answer, "failure"
        assert (await run(jobs, TESTS, attempt=3))["url"].endswith("/1002")
        assert len(github.runs) == 3

    async def test_an_attempt_that_hedges_another_one_looks_once_for_a_run_and_begins_its_own(
        self, github: GithubServer, jobs: JobsExecutor
    ) -> None:
        github.add("Tests t-1-0")
        await run(jobs, TESTS, attempt=2, idempotency_key="t-1-0-h2")
        methods = [request.method for request in github.requests]
        assert methods[:2] == ["GET", "POST"]
        assert github.runs[1001].inputs["flowc_key"] == "t-1-0-h2"

    async def test_a_title_with_a_longer_key_is_another_job(self, github: GithubServer, jobs: JobsExecutor) -> None:
        for title in ("Tests t-1-01", "Tests at-1-0", "t-1-0-extra"):
            github.add(title, status="completed", conclusion="success")
        assert not (await run(jobs, TESTS))["job"]["adopted"]
        assert len(dispatches(github)) == 1

    async def test_runs_of_which_little_is_said_are_passed_over(self, github: GithubServer, jobs: JobsExecutor) -> None:
        github.add(None, status=None)  # type: ignore[arg-type] # as GitHub's description of its API permits
        assert (await run(jobs, TESTS))["conclusion"] == "success"

    async def test_it_is_found_behind_many_runs_of_others(self, github: GithubServer, jobs: JobsExecutor) -> None:
        mine = github.add("Tests t-1-0")
        for number in range(250):
            github.add(f"Tests {number}")
        assert (await run(jobs, TESTS, attempt=2))["job"]["id"] == str(mine.id)
        assert dispatches(github) == []

    async def test_a_run_that_is_to_be_seen_late_is_begun_once(self, github: GithubServer, jobs: JobsExecutor) -> None:
        github.tells_runs, github.late = False, 3
        output = await run(jobs, TESTS)
        assert len(dispatches(github)) == 2, "the first one was refused, as it asked which run it is"
        assert len(github.runs) == 1
        assert (output["job"]["id"], output["url"]) == ("t-1-0", "https://github.test/acme/shop/actions/runs/1000")
        github.runs[1000].lists = 0
        assert (await run(jobs, TESTS, attempt=2))["job"]["adopted"]
        assert len(github.runs) == 1

    async def test_a_dispatch_whose_answer_is_lost_is_not_made_twice(
        self, github: GithubServer, jobs: JobsExecutor
    ) -> None:
        github.late = 2
        answer = github.answer

        async def lose(request: Request) -> Answer:
            told = await answer(request)
            return Answer(502) if request.path.endswith("/dispatches") and len(dispatches(github)) == 1 else told

        github.answer = lose
        assert (await run(jobs, TESTS))["job"]["adopted"]
        assert len(github.runs) == 1

    async def test_a_run_that_is_never_to_be_seen_fails_with_the_reason(
        self, github: GithubServer, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ci_runs, "UNSEEN_SECONDS", 0.1)
        github.tells_runs = github.titled = False
        failed = await failure(jobs, TESTS)
        assert (failed.kind, failed.retryable) == ("run_not_found", False)
        assert "run-name" in failed.message

    async def test_how_long_it_is_not_to_be_seen_is_known_to_every_process(
        self, github: GithubServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ci_runs, "UNSEEN_SECONDS", 0.2)
        github.tells_runs = github.titled = False

        async def looked_at(handle: JobHandle | None) -> tuple[JobHandle, JobState]:
            executor = GithubActionsExecutor(settings_for("GITHUB", github.url, TOKEN))
            context = ci_context(executor)
            handle = JobHandle.model_validate_json((handle or await executor.start(context)).model_dump_json())
            state = await executor.poll(context, handle)
            await executor.aclose()
            return handle, state

        handle, state = await looked_at(None)
        async with asyncio.timeout(30):
            while isinstance(state, JobRunning):
                handle, state = await looked_at(handle)
        assert isinstance(state, JobFailed)
        assert state.kind == "run_not_found"


class TestTrouble:
    @pytest.mark.parametrize("limit", [rate_limited(429, 1), rate_limited(403, 1), rate_limited(403, 1, reset=True)])
    async def test_a_limit_of_the_rate_is_waited_for(
        self, github: GithubServer, jobs: JobsExecutor, limit: Answer
    ) -> None:
        github.faults.append(limit)
        assert (await run(jobs, TESTS))["conclusion"] == "success"
        assert len(github.runs) == 1

    async def test_a_limit_while_a_run_is_followed_says_when_to_look_again(self, github: GithubServer) -> None:
        [executor] = jobs_for(github)._executors.values()  # noqa: SLF001 - to see what it says of one look
        context = ci_context(executor)
        handle = await executor.start(context)
        github.faults.append(rate_limited(403, 40, reset=True))
        state = await executor.poll(context, handle)
        assert isinstance(state, JobRunning)
        assert 30 < state.pause_seconds <= 40
        await executor.aclose()

    async def test_looks_become_rarer(self, github: GithubServer) -> None:
        github.looks = None
        [executor] = jobs_for(github, poll_seconds=10)._executors.values()  # noqa: SLF001 - likewise
        context = ci_context(executor)
        handle = await executor.start(context)
        states = [await executor.poll(context, handle) for _ in range(8)]
        pauses = [state.pause_seconds for state in states if isinstance(state, JobRunning)]
        assert (pauses[0], pauses[-1]) == (10, 30)
        assert pauses == sorted(pauses)
        await executor.aclose()

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Answer(403), "unexpected_status"),
            (Answer(401), "unexpected_status"),
            (Answer(200, b"x" * 5_000_000), "answer_too_large"),
        ],
    )
    async def test_a_refusal_is_not_repeated(
        self, github: GithubServer, jobs: JobsExecutor, fault: Answer, kind: str
    ) -> None:
        github.faults.append(fault)
        failed = await failure(jobs, TESTS)
        assert (failed.kind, failed.retryable) == (kind, False)
        assert github.runs == {}

    @pytest.mark.parametrize(
        "garbage", [b"<html>", b'{"workflow_runs": 7}', b"[]", b'{"workflow_runs": [{"id": "x"}]}']
    )
    async def test_garbage_is_asked_for_again(self, github: GithubServer, jobs: JobsExecutor, garbage: bytes) -> None:
        github.faults.extend([Answer(200, garbage), Answer(500)])
        assert (await run(jobs, TESTS))["conclusion"] == "success"

    async def test_a_workflow_without_the_input_is_refused_with_words(
        self, github: GithubServer, jobs: JobsExecutor
    ) -> None:
        github.declared = frozenset()
        failed = await failure(jobs, TESTS)
        assert (failed.kind, failed.retryable) == ("refused", False)
        assert "workflow_dispatch with flowc_key" in failed.message
        assert (await failure(jobs, {**TESTS, "workflow": "none.yml"})).kind == "unexpected_status"

    async def test_a_run_that_is_deleted_is_lost(self, github: GithubServer, jobs: JobsExecutor) -> None:
        github.looks = None
        running = asyncio.create_task(failure(jobs, TESTS))
        await until(lambda: any(made.seen for made in github.runs.values()), "the first look")
        github.runs.clear()
        assert (await running).kind == "lost"


class TestCancel:
    @pytest.mark.parametrize("late", [0, 3], ids=["seen", "not seen yet"])
    async def test_a_cancelled_job_ends_its_run(self, github: GithubServer, jobs: JobsExecutor, late: int) -> None:
        github.looks, github.late, github.tells_runs = None, late, late == 0
        running = asyncio.create_task(run(jobs, TESTS))
        await until(lambda: github.runs, "the run")
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait({running})
        assert github.runs[1000].conclusion == "cancelled"

    async def test_one_that_has_ended_is_no_error(self, github: GithubServer, jobs: JobsExecutor) -> None:
        await run(jobs, TESTS)
        [executor] = jobs._executors.values()  # noqa: SLF001 - the port's own call
        context = ci_context(executor)
        await executor.cancel(context, await executor.start(context))
        assert github.runs[1000].conclusion == "success"


async def test_the_doctor_says_that_there_is_no_token(github: GithubServer) -> None:
    executor = GithubActionsExecutor(settings_for("GITHUB", github.url))
    assert [check.ok for check in await executor.check()] == [True, False, True]
    await executor.aclose()


class TestKill:
    async def test_the_run_of_a_worker_that_is_killed_is_begun_once(self, tmp_path: Path, github: GithubServer) -> None:
        github.looks, github.late, github.tells_runs = None, 2, False
        plan = decision(task("a", task_type="TEST", parameters=TESTS, required_capabilities=[]))
        async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
            for name in ("doomed", "other"):
                worker = worker_process(tmp_path, platform.url, name, "--executor", "github_actions")
                worker.environment = {
                    "WORKER_GITHUB_URL": github.url,
                    "WORKER_GITHUB_TOKEN": TOKEN,
                    "WORKER_REPOSITORIES": "acme/*",
                    "WORKER_POLL_SECONDS": "0.1",
                }
                platform.hired.append(worker)
            platform.hired[0].start()
            flow_id = await platform.submit(plan)
            await until(lambda: github.runs, "the dispatch")
            platform.hired[0].kill()
            github.runs[1000].lists = 0
            platform.hired[1].start()
            seen = github.runs[1000].seen
            await until(lambda: github.runs[1000].seen > seen + 2, "looks of another worker at the same run")
            github.looks = 1
            flow = await platform.ended(flow_id)
            tickets = await platform.tickets(flow_id)
        assert flow["status"] == "COMPLETED", flow["reasons"]
        assert len(github.runs) == 1
        assert (tickets["a"]["worker_id"], tickets["a"]["retry_count"]) == ("other", 0)
        assert tickets["a"]["output"]["job"] | {"url": ""} == {
            "executor": "github_actions",
            "id": "1000",
            "adopted": True,
            "url": "",
        }


def ci_context(executor: Any) -> Any:
    """Return the context of one attempt."""
    from functions._worker.jobs import _context

    return _context(executor, assigned(TESTS, task_type="TEST"))
