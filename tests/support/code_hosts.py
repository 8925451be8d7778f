"""A code host of either kind with a project for it, so that one test says what both have to do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from functions._executors.file_store import FolderStore
from functions._executors.forge.merge_request import MergeRequestExecutor
from functions._executors.port import JobContext
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.jobs import _context as job_context
from functions._worker.tasks import TaskFailed
from tests.support import github_pulls, gitlab_requests
from tests.support.bare_repository import BareRepository
from tests.support.forge_projects import kept_project, stored_context, written
from tests.support.forge_stages import composed, counted, validated
from tests.support.github_pulls import GithubPulls
from tests.support.gitlab_requests import GitlabRequests
from tests.support.jobs import assigned
from tests.support.loopback import until

FILES: Mapping[str, str | bytes] = {
    "README.md": "# Shop\n",
    "src/shop/__init__.py": "TOTAL = 'ä'\n",
    "logo.png": b"\x89PNG\r\n\x00\xff",
}


@dataclass
class CodeHostWorld:
    """A worker whose owner has a repository on a code host, and a project in the worker's store."""

    folder: Path
    server: GithubPulls | GitlabRequests

    @property
    def repository(self) -> BareRepository:
        return self.server.repository

    @property
    def requests(self) -> list[Any]:
        """The requests that there are, as their server keeps them."""
        found = self.server.pulls if isinstance(self.server, GithubPulls) else self.server.requests_of
        return list(found.values())

    @property
    def branches(self) -> list[str]:
        return self.repository.git("for-each-ref", "--format=%(refname:short)").split()

    def settings(self, **changes: str) -> ExecutorSettings:
        """Return the settings of the worker; `changes` are variables without WORKER_."""
        github = isinstance(self.server, GithubPulls)
        given = {
            "FORGE_HOST": "github" if github else "gitlab",
            "FORGE_HOST_URL": self.server.url,
            "FORGE_HOST_TOKEN": github_pulls.TOKEN if github else gitlab_requests.TOKEN,
            "FORGE_REPOSITORY": github_pulls.REPOSITORY if github else gitlab_requests.PROJECT,
            "REPOSITORIES": "acme/**",
            "POLL_SECONDS": "0.05",
            "LOGS": str(self.folder / "store"),
            **changes,
        }
        return ExecutorSettings.from_environment({f"WORKER_{name}": value for name, value in given.items()})

    def jobs(self, **changes: str) -> JobsExecutor:
        settings = self.settings(**changes)
        return JobsExecutor([MergeRequestExecutor(settings)], pauses=(0.02, 0.02, 0.02), settings=settings)

    def parameters(self, files: Mapping[str, str | bytes] | None = None, **changes: Any) -> dict[str, Any]:
        """Return parameters for a project of these files."""
        place = self.folder / f"project-{len(list(self.folder.iterdir()))}"
        written(place, FILES if files is None else files)
        for path in place.rglob("*.sh"):
            path.chmod(0o755)
        kept = kept_project(stored_context(self.folder / "store"), place)
        return {
            "provider": "forge_merge_request",
            "artifact_id": "acme/shop",
            "code": composed(content=kept, files=3).model_dump(mode="json"),
            "score": 0.85,
            "reason": "the score is 0.85; below 0.9 somebody has to decide",
            "validation": validated(0.8, issues={"low": 2}).model_dump(mode="json"),
            "tests": counted().model_dump(mode="json"),
            **changes,
        }

    def text_of(self, number: int = 0) -> str:
        one = self.requests[number]
        return str(one.body if isinstance(self.server, GithubPulls) else one.description)

    def comments(self, number: int = 0) -> list[str]:
        one = self.requests[number]
        return list(one.comments if isinstance(self.server, GithubPulls) else one.notes)

    def branch(self, number: int = 0) -> str:
        one = self.requests[number]
        return str(one.head if isinstance(self.server, GithubPulls) else one.source_branch)

    def merge(self, number: int = 0) -> None:
        one = self.requests[number]
        self.server.merge(one.number if isinstance(self.server, GithubPulls) else one.iid)

    def close(self, number: int = 0) -> None:
        """Close a request as a person does."""
        self.requests[number].state = "closed"

    async def opened(self, running: "asyncio.Task[Any]", count: int = 1) -> None:
        """Wait until there are so many requests, or a job has ended before."""
        await until(lambda: len(self.requests) >= count or running.done(), f"{count} requests")
        if running.done():
            running.result()
        assert len(self.requests) == count

    async def looked_at(self, times: int = 2) -> None:
        """Wait until somebody has looked at a request."""

        def looks() -> int:
            pages = [one for one in self.server.requests if one.method == "GET"]
            return sum(one.path.rpartition("/")[2].isdecimal() for one in pages)

        before = looks()
        await until(lambda: looks() >= before + times, "a look at the request")


async def ended(world: CodeHostWorld, running: "asyncio.Task[Any]", act: Callable[[], None]) -> Any:
    """Let somebody act once the request is there and was looked at, and return what comes of the job."""
    await world.opened(running)
    await world.looked_at()
    act()
    return await running


@asynccontextmanager
async def code_host(kind: type[GithubPulls | GitlabRequests], folder: Path) -> AsyncIterator[CodeHostWorld]:
    """Give a code host whose repository has files of others, and some where the project goes."""
    repository = BareRepository(folder / "made.git")
    repository.add("main", {"README.md": "others' things", "acme/shop/old.py": "gone", "acme/shop/README.md": "before"})
    async with kind(repository) as server:
        yield CodeHostWorld(folder, server)


def began(jobs: JobsExecutor, parameters: dict[str, Any], **about: Any) -> "asyncio.Task[Any]":
    """Begin a job as a worker does."""
    return asyncio.create_task(jobs.run(assigned(parameters, **{"task_type": "VALIDATE", **about})))


async def failure(jobs: JobsExecutor, parameters: dict[str, Any], **about: Any) -> TaskFailed:
    """Return how a job fails."""
    with pytest.raises(TaskFailed) as failed:
        await began(jobs, parameters, **about)
    return failed.value


def context_of(world: CodeHostWorld, **changes: Any) -> JobContext[Any]:
    """Return the context of a job as a worker makes it, to call the executor itself."""
    made = job_context(MergeRequestExecutor(world.settings()), assigned(world.parameters(), task_type="VALIDATE"))
    return replace(made, fetch=FolderStore(world.folder / "store").read, **changes)
