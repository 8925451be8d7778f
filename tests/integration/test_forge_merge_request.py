"""Merge requests of the forge on GitHub and on GitLab, against contract servers over real repositories of git."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._executors.forge.merge_request import MergeRequestExecutor
from functions._executors.port import JobFailed, JobSucceeded
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.code_hosts import CodeHostWorld, began, code_host, context_of, ended, failure
from tests.support.github_api import rate_limited
from tests.support.github_pulls import GithubPulls
from tests.support.gitlab_requests import GitlabRequests
from tests.support.loopback import Answer


@pytest.fixture(params=[GithubPulls, GitlabRequests], ids=["github", "gitlab"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CodeHostWorld]:
    async with code_host(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def jobs(world: CodeHostWorld) -> AsyncIterator[JobsExecutor]:
    made = world.jobs()
    yield made
    await made.aclose()


class TestDecision:
    async def test_a_project_is_put_before_people_and_the_merge_completes(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        files: dict[str, str | bytes] = {
            "README.md": "# Shop\n",
            "src/shop.py": "'ä'\n",
            "logo.png": b"\x00\xff",
            "run.sh": "true\n",
        }
        running = began(jobs, world.parameters(files))
        await world.opened(running)
        head = world.repository.head(world.branch())
        assert head is not None
        assert world.repository.files(head) == {
            "README.md": "100644",
            "acme/shop/README.md": "100644",
            "acme/shop/logo.png": "100644",
            "acme/shop/run.sh": "100755",
            "acme/shop/src/shop.py": "100644",
        }
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            assert world.repository.content(head, f"acme/shop/{path}") == data
        assert world.requests[0].title == "Flow C: acme/shop"
        output = await ended(world, running, world.merge)
        job = output.pop("job")
        output.pop("logs_uri")
        assert output == {
            "url": job["url"],
            "branch": world.branch(),
            "commit": world.repository.head("main"),
            "merged_by": "alice",
        }
        assert job["url"].endswith(f"/{job['id']}")

    async def test_the_text_says_what_people_need(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        running = began(jobs, world.parameters(), flow_id="flow-1")
        await ended(world, running, world.merge)
        text = world.text_of()
        for words in (
            "made `acme/shop`",
            "Score: **0.85**",
            "Reason: `the score is 0.85; below 0.9 somebody has to decide`",
            "Template: `python-library`",
            "Flow: `flow-1`",
            "## Findings: 2 low",
            "`bandit` (SAST): FAILED",
            "10 passed, 0 failed, 0 skipped; 90.00% is covered, 80.00% is asked for.",
            "Merge into `main` to approve",
            "Close without a merge to reject",
        ):
            assert words in text

    async def test_a_request_that_is_closed_rejects_for_good(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        running = began(jobs, world.parameters())
        with pytest.raises(TaskFailed) as failed:
            await ended(world, running, world.close)
        assert (failed.value.kind, failed.value.retryable) == ("rejected", False)
        assert failed.value.message.startswith("the merge request was closed without a merge: https://")
        assert world.branch() in world.branches

    async def test_a_merge_into_another_branch_is_none(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        world.repository.move("mine", world.repository.head("main"))
        running = began(jobs, world.parameters())

        def merge_elsewhere() -> None:
            one = world.requests[0]
            setattr(one, "base" if hasattr(one, "base") else "target_branch", "mine")
            world.merge()

        with pytest.raises(TaskFailed) as failed:
            await ended(world, running, merge_elsewhere)
        assert (failed.value.kind, failed.value.retryable) == ("rejected", False)
        assert "was merged, but not into main" in failed.value.message

    async def test_a_conflict_is_said_and_waited_for(self, world: CodeHostWorld) -> None:
        executor = MergeRequestExecutor(world.settings())
        context = context_of(world)
        handle = await executor.start(context)
        world.repository.add("main", {"acme/shop/README.md": "somebody else's"})
        state = await executor.poll(context, handle)
        assert "it has conflicts with the branch that it goes to" in str(getattr(state, "message", ""))
        await executor.aclose()

    async def test_a_branch_that_was_changed_before_the_merge_is_named_in_the_log(self, world: CodeHostWorld) -> None:
        lines: list[bytes] = []
        executor = MergeRequestExecutor(world.settings())
        context = context_of(world, write=lines.append)
        handle = await executor.start(context)
        world.repository.add(world.branch(), {"acme/shop/logo.svg": "better"})
        world.merge()
        assert isinstance(await executor.poll(context, handle), JobSucceeded)
        assert b"the branch was changed before the merge" in b"".join(lines)
        await executor.aclose()

    async def test_the_owner_says_where_a_project_lies_and_what_it_is_merged_into(self, world: CodeHostWorld) -> None:
        world.repository.add("next/one", {"a": "b"})
        jobs = world.jobs(FORGE_FOLDER="services/{name}", FORGE_BASE="next/one")
        running = began(jobs, world.parameters({"a.txt": "a"}))
        await world.opened(running)
        head = world.repository.head(world.branch())
        assert head is not None
        assert world.repository.files(head) == {"a": "100644", "services/shop/a.txt": "100644"}
        await ended(world, running, world.merge)
        await jobs.aclose()

    async def test_many_files_of_text_cost_few_calls(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        files = {f"src/{number}.py": "x = 1\n" * (number % 9) for number in range(1_000)}
        running = began(jobs, world.parameters(files))
        await world.opened(running)
        assert sum(one.method == "POST" for one in world.server.requests) < 8
        await ended(world, running, world.merge)
        assert len(world.repository.files(str(world.repository.head("main")))) == 1_001


class TestAgain:
    async def test_whoever_begins_again_finds_the_request(self, world: CodeHostWorld) -> None:
        given = world.parameters()
        first, second = world.jobs(), world.jobs()
        running = began(first, given)
        await world.opened(running)
        output = began(second, given, attempt=2, idempotency_key="t-1-0")
        await world.looked_at(4)
        world.merge()
        done = [await running, await output]
        assert [one["job"]["adopted"] for one in done] == [False, True]
        assert done[0]["job"]["id"] == done[1]["job"]["id"]
        assert len(world.requests) == 1
        await first.aclose()
        await second.aclose()

    async def test_a_worker_that_dies_anywhere_leaves_nothing_that_the_next_one_cannot_go_on_with(
        self, world: CodeHostWorld
    ) -> None:
        given = world.parameters()
        for calls in range(2, 12):
            about = {"ticket_id": f"t-{calls}"}
            first, second = world.jobs(), world.jobs()
            world.server.faults.extend([None] * calls)
            world.server.faults.append(Answer(400, b"{}"))  # nobody repeats this: the attempt is over
            await failure(first, given, **about)
            world.server.faults.clear()
            running = began(second, given, attempt=2, idempotency_key=f"t-{calls}-0", **about)
            await world.looked_at()
            [still_open] = [number for number, one in enumerate(world.requests) if one.state in {"open", "opened"}]
            world.merge(still_open)
            assert (await running)["merged_by"] == "alice"
            await first.aclose()
            await second.aclose()
        assert world.branches == ["main"]
        assert "acme/shop/src/shop/__init__.py" in world.repository.files(str(world.repository.head("main")))

    async def test_what_was_decided_while_no_worker_was_there_holds(self, world: CodeHostWorld) -> None:
        executor = MergeRequestExecutor(world.settings())
        context = context_of(world)
        await executor.start(context)
        world.close()
        state = await executor.poll(context, await executor.start(context))
        assert isinstance(state, JobFailed)
        assert (state.kind, state.retryable, len(world.requests)) == ("rejected", False, 1)
        await executor.aclose()

    async def test_another_key_is_another_request(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        given = world.parameters()
        first = began(jobs, given)
        await world.opened(first)
        second = began(jobs, given, ticket_id="t-2")
        await world.opened(second, 2)
        assert world.branch(0) != world.branch(1)
        world.close(0)
        with pytest.raises(TaskFailed):
            await first
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second

    async def test_a_lost_answer_opens_no_second_request(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        server = world.server
        lost = 0

        async def forgetful(request: Any) -> Answer:
            nonlocal lost
            answer = await server.api(request)
            if request.method == "POST" and request.path.endswith(("/pulls", "/merge_requests")) and not lost:
                lost += 1
                return Answer(502, b"<html>")
            return answer

        server.answer = forgetful
        output = await ended(world, began(jobs, world.parameters()), world.merge)
        assert (lost, len(world.requests), output["job"]["adopted"]) == (1, 1, True)


class TestCancel:
    async def test_a_request_that_nobody_waits_for_is_closed_with_a_word_and_its_branch_deleted(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        given = world.parameters()
        running = began(jobs, given)
        await world.opened(running)
        await world.looked_at(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert world.requests[0].state == "closed"
        assert world.comments()[0].startswith("Flow C does not wait for a decision about this any more")
        assert world.branches == ["main"]
        again = began(jobs, given)  # the flow goes on: people have rejected nothing
        await world.opened(again, 2)
        await world.looked_at()
        world.merge(1)
        assert (await again)["job"]["adopted"] is False

    async def test_what_people_have_decided_stays(self, world: CodeHostWorld) -> None:
        executor = MergeRequestExecutor(world.settings())
        context = context_of(world)
        handle = await executor.start(context)
        world.merge()
        await executor.cancel(context, handle)
        assert world.comments() == []
        foreign = handle.but(data={**handle.data, "branch": "main"})
        await executor.cancel(context, foreign)
        assert "main" in world.branches
        await executor.aclose()


class TestRefusals:
    async def test_limits_of_the_rate_are_waited_out(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        world.server.faults.extend([rate_limited(429, 0), None, Answer(503, b"")])
        running = began(jobs, world.parameters())
        await world.opened(running)
        world.server.faults.append(rate_limited(429, 1))
        assert (await ended(world, running, world.merge))["merged_by"] == "alice"

    async def test_a_branch_that_is_protected_is_named(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        world.server.forbidden = ("flowc-forge/",)
        failed = await failure(jobs, world.parameters())
        assert (failed.kind, failed.retryable) == ("branch_refused", False)
        assert "the token may not write the branch flowc-forge/acme-shop-" in failed.message

    async def test_an_empty_repository_needs_a_commit(self, world: CodeHostWorld, jobs: JobsExecutor) -> None:
        world.repository.move("main", None)
        failed = await failure(jobs, world.parameters())
        assert (failed.kind, failed.retryable) == ("empty_repository", False)

    @pytest.mark.parametrize(
        ("changes", "kind", "words"),
        [
            ({"REPOSITORIES": "other/*"}, "not_allowed", "WORKER_REPOSITORIES"),
            ({"FORGE_BASE": "nowhere"}, "no_base_branch", "the repository has no branch nowhere"),
            ({"FORGE_HOST_TOKEN": "wrong"}, "refused", "the token is not taken"),
            ({"FORGE_HOST": "", "FORGE_REPOSITORY": ""}, "not_configured", "WORKER_FORGE_HOST"),
            ({"LOGS": ""}, "not_configured", "WORKER_LOGS"),
        ],
    )
    async def test_what_the_owner_has_not_set_right_is_said(
        self, world: CodeHostWorld, changes: dict[str, str], kind: str, words: str
    ) -> None:
        jobs = world.jobs(**changes)
        failed = await failure(jobs, world.parameters())
        assert (failed.kind, failed.retryable) == (kind, False)
        assert words in failed.message
        assert world.requests == []
        await jobs.aclose()

    async def test_a_repository_that_is_not_there_is_named(self, world: CodeHostWorld) -> None:
        name = "acme/none" if isinstance(world.server, GithubPulls) else "acme/web/none"
        jobs = world.jobs(FORGE_REPOSITORY=name)
        failed = await failure(jobs, world.parameters())
        assert (failed.kind, failed.retryable) == ("refused", False)
        assert f"in {name}: there is no such thing, or the token may not see it" in failed.message
        await jobs.aclose()

    async def test_the_doctor_looks_at_the_repository(self, world: CodeHostWorld) -> None:
        good, bad = MergeRequestExecutor(world.settings()), MergeRequestExecutor(world.settings(FORGE_HOST_TOKEN="x"))
        none = MergeRequestExecutor(world.settings(FORGE_HOST="", FORGE_REPOSITORY=""))
        assert [one.ok for one in await good.check()] == [True, True]
        assert [one.ok for one in await bad.check()] == [False, True]
        assert [(one.ok, one.required) for one in await none.check()] == [(False, False)]
        for executor in (good, bad, none):
            await executor.aclose()
