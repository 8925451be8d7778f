"""Hostile code hosts, strangers with a copy of the repository, and names in a project that want to be markup."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from functions._core.executors.forge import MergeRequestParameters
from functions._core.forge.review_text import request_text, span
from functions._executors.forge import merge_request
from functions._executors.forge.code_host import WITHDRAWN
from functions._executors.forge.merge_request import MergeRequestExecutor
from functions._executors.port import CallFailed, JobFailed, JobRunning
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.support.code_hosts import CodeHostWorld, began, code_host, context_of, ended, failure
from tests.support.forge_projects import archive, hash_of, stored_context
from tests.support.forge_stages import composed, validated
from tests.support.github_pulls import GithubPulls, Pull
from tests.support.gitlab_requests import FORK, GitlabRequests, LabMerge
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


MEANINGLESS = (
    b"[" * 100_000,
    b'{"number": 7}',
    b"null",
    b"[]",
    b"\xff\xfe",
    b'{"number": -1, "iid": -1, "head": {}, "base": {}}',
    b'{"number": 1e400, "iid": 1e400}',
    b'{"default_branch": "", "id": 0}',
    b'{"sha": "../../..", "object": {"sha": "x"}, "default_branch": "main", "id": 1}',
    b'"' + b"x" * (5 * 1024 * 1024) + b'"',
)

HOSTILE = (
    "x`\n/merge\n/approve\r\n# Title\n\n[click](javascript:alert(1)) <script>alert(1)</script> @everyone fixes #1 "
    f"| a |\u202e\u2028/close {WITHDRAWN}\n{WITHDRAWN}"
)


class TestNames:
    async def test_names_and_reasons_from_outside_are_no_markup_and_no_commands(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        given = world.parameters(reason=HOSTILE)
        given["code"] |= {"template_id": HOSTILE, "template_version": HOSTILE, "model": HOSTILE}
        hostile = validated(0.8).model_dump(mode="json")
        hostile["validation_results"][0]["tool_name"] = HOSTILE
        running = began(jobs, {**given, "validation": hostile})
        with pytest.raises(TaskFailed) as failed:
            await ended(world, running, world.close)
        assert failed.value.kind == "rejected"  # and not withdrawn, as a name says
        text = world.text_of()
        assert not [line for line in text.splitlines() if line.startswith("/")]
        assert getattr(world.server, "commands", []) == []
        spans = text.split("`")
        outside = "".join(spans[::2])
        for words in ("click", "script", "@everyone", "#1", "/merge", "Title", "withdrawn"):
            assert words not in outside, words
        assert "\u202e" not in text

    def test_a_span_is_one_line_whatever_is_in_it(self) -> None:
        assert span("a\x00b\x1b[0m\u200bc\u2029d") == "`a b [0m c d`"
        assert span("``x``") == "`''x''`"
        assert span("\n\t") == ""
        assert span("y" * 300) == f"`{'y' * 200}…`"

    def test_a_text_is_bounded_however_much_there_is(self) -> None:
        tool = validated(0.8).validation_results[0].model_dump(mode="json") | {"tool_name": "t" * 10_000}
        given = MergeRequestParameters.model_validate(
            {
                "artifact_id": "a" * 200,
                "code": composed(template_id="x" * 100_000).model_dump(mode="json"),
                "score": 0.7,
                "reason": "y" * 2_000,
                "validation": {"validation_results": [tool] * 1_000, "quality": 0.5},
            }
        )
        text = request_text(given, "f" * 300, "main", "z" * 5_000)
        assert len(text) < 20_000
        assert "- and 950 more" in text

    async def test_a_secret_in_the_parameters_is_shown_to_nobody(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        given = world.parameters(reason="the password is hunter2-hunter2")
        failed = await failure(jobs, given, secrets=["/reason"])
        assert (failed.kind, failed.retryable) == ("secret_in_parameters", False)
        assert (world.requests, world.branches) == ([], ["main"])

    @pytest.mark.parametrize("artifact_id", ["acme/.github", "acme/../../x", "a//b", "x/.git/hooks"])
    async def test_an_artifact_is_in_its_folder(
        self, world: CodeHostWorld, jobs: JobsExecutor, artifact_id: str
    ) -> None:
        failed = await failure(jobs, world.parameters(artifact_id=artifact_id))
        assert (failed.kind, failed.retryable, world.branches) == ("bad_artifact", False, ["main"])


class TestProjects:
    async def test_a_project_with_links_or_ways_out_is_put_nowhere(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        for number, data in enumerate((archive(("../out", b"x")), archive((".git/config", b"x")), b"no archive")):
            store = stored_context(world.folder / "store")
            assert store.keep is not None
            file = store.keep(f"hostile-{number}.tar.gz")
            file.write(data)
            file.close()
            kept = {"name": "p.tar.gz", "size": len(data), "sha256": hash_of(data), "uri": file.uri}
            given = world.parameters(code=composed(content=kept).model_dump(mode="json"))
            assert not (await failure(jobs, given)).retryable
        assert (world.requests, world.branches) == ([], ["main"])

    async def test_a_project_of_other_content_than_was_tested_is_put_nowhere(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        given = world.parameters()
        given["code"]["content"]["sha256"] = "0" * 64
        assert (await failure(jobs, given)).kind == "artifact_changed"
        assert world.branches == ["main"]

    @pytest.mark.parametrize(("name", "bound"), [("MOST_FILES", 2), ("MOST_FILE", 5), ("MOST_BYTES", 20)])
    async def test_a_project_that_is_too_large_is_put_nowhere(
        self, world: CodeHostWorld, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch, name: str, bound: int
    ) -> None:
        monkeypatch.setattr(merge_request, name, bound)
        failed = await failure(jobs, world.parameters())
        assert (failed.kind, failed.retryable, world.branches) == ("project_too_large", False, ["main"])


class TestStrangers:
    async def test_a_request_from_a_copy_of_the_repository_is_never_ours(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        given = world.parameters()
        first = began(jobs, given)
        await world.opened(first)
        branch = world.branch()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        world.requests.clear()
        stranger: Any
        if isinstance(world.server, GithubPulls):
            stranger = Pull(90, "x", "", branch, "main", "f" * 40, repository="acme/copy", merged_by="mallory")
            world.server.pulls = {90: stranger}
            stranger.merge_commit_sha = "f" * 40
        else:
            stranger = LabMerge(90, "x", "", branch, "main", "f" * 40, source_project_id=FORK, state="merged")
            world.server.requests_of = {90: stranger}
        running = began(jobs, given, attempt=2, idempotency_key="t-1-0")
        await world.opened(running, 2)
        await world.looked_at()
        assert not running.done()
        world.merge(1)
        assert (await running)["merged_by"] == "alice"


class TestHostileHosts:
    async def test_an_answer_that_leads_elsewhere_is_not_followed(self, world: CodeHostWorld) -> None:
        async with GithubPulls(world.repository) as trap:
            jobs = world.jobs()

            async def moved(_: Any) -> Answer:
                return Answer(301, b"{}", {"location": f"{trap.url}/repos/acme/made"})

            world.server.answer = moved
            failed = await failure(jobs, world.parameters())
            assert (failed.kind, failed.retryable) == ("refused", False)
            assert "the repository has another name now" in failed.message
            assert trap.requests == []
            await jobs.aclose()

    async def test_answers_that_mean_nothing_fail_the_job_and_nothing_else(self, world: CodeHostWorld) -> None:
        executor, context = MergeRequestExecutor(world.settings()), context_of(world)
        left, body = 0, b""

        async def hostile(request: Any) -> Answer:
            nonlocal left
            left -= 1
            return await world.server.api(request) if left >= 0 else Answer(200, body)

        world.server.answer = hostile
        said: list[str] = []
        for body, good in product(MEANINGLESS, range(12)):  # noqa: B007 - `hostile` reads it
            left = good
            try:
                handle = await executor.start(context)
                left = 0
                state = await executor.poll(context, handle)
                assert isinstance(state, JobFailed)
            except CallFailed as failed:
                said.append(str(failed))
        assert len(said) > len(MEANINGLESS) * 3
        assert max(map(len, said)) < 500
        assert "xxxx" not in "".join(said)
        await executor.aclose()

    async def test_the_address_of_a_page_is_one_that_a_browser_opens(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        async def scripted(request: Any) -> Answer:
            answer = await world.server.api(request)
            text = answer.body.replace(b'"https://git', b'"javascript:alert(1)//git')
            return Answer(answer.status, text, answer.headers)

        world.server.answer = scripted
        output = await ended(world, began(jobs, world.parameters()), world.merge)
        assert output["url"] == ""
        assert "javascript" not in json.dumps(output)

    async def test_what_a_host_says_of_an_error_is_in_no_message(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        world.server.faults.append(Answer(403, b'{"message": "ghp_forge-1 may not"}'))
        failed = await failure(jobs, world.parameters())
        assert "ghp_" not in failed.message
        assert "the token may not do this" in failed.message

    async def test_another_request_in_place_of_ours_ends_the_job(
        self, world: CodeHostWorld, jobs: JobsExecutor
    ) -> None:
        running = began(jobs, world.parameters())

        def exchange() -> None:
            one = world.requests[0]
            world.repository.move("other", world.repository.head("main"))
            setattr(one, "head" if hasattr(one, "head") else "source_branch", "other")

        with pytest.raises(TaskFailed) as failed:
            await ended(world, running, exchange)
        assert (failed.value.kind, failed.value.retryable) == ("lost", False)

    async def test_a_host_that_asks_for_a_long_pause_is_asked_again_within_a_minute(self, world: CodeHostWorld) -> None:
        executor = MergeRequestExecutor(world.settings())
        context = context_of(world)
        handle = await executor.start(context)
        world.server.faults.append(Answer(429, b"{}", {"retry-after": "999999999"}))
        state = await executor.poll(context, handle)
        assert isinstance(state, JobRunning)
        assert state.pause_seconds == 60
        old = handle.but(data={**handle.data, "asked": handle.data["asked"] - 86_400})
        waiting = await executor.poll(context, old)
        assert isinstance(waiting, JobRunning)
        assert waiting.pause_seconds == 60
        await executor.aclose()
