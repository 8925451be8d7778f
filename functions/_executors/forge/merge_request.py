"""The executor `forge_merge_request`: a project before people on the owner's code host, until they merge or close it.

The branch is named by the key of the job, so whoever begins the job again finds branch and request. People decide on
the request that there is: one that is merged or closed is not made a second time. One that the forge has closed itself,
as nobody waited for it, says so in its text, and is followed by a new one. Only a merge into the branch that the owner
names counts: who may not write there could merge the request into a branch of his own.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import Any, ClassVar

from functions._core.executors.forge import MergeRequestParameters
from functions._core.executors.table import FORGE, VALIDATES
from functions._core.forge.review_text import request_text, request_title
from functions._core.forge.stages import MergeRequest
from functions._core.records.values import TaskType
from functions._executors.forge.code_host import (
    PREFIX_OF_BRANCHES,
    CodeHost,
    CodeHostSettings,
    ProjectFile,
    Proposal,
    SeenRequest,
    code_host_settings,
)
from functions._executors.forge.github_host import GithubHost
from functions._executors.forge.gitlab_host import GitlabHost
from functions._executors.forge.projects import unpacked
from functions._executors.patterns import admit, fits
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    ToolCheck,
)
from functions._executors.services import ServiceConnection
from functions._executors.settings import ExecutorSettings

MOST_FILES = 1_000
MOST_FILE, MOST_BYTES = 5 * 1024 * 1024, 25 * 1024 * 1024
"""Bytes of a file, and of all files of a project, that a code host is given."""

LONGEST_PAUSE, SHARE = 60.0, 0.1
"""Seconds between two looks at a request at most, and that pause as a share of the request's age."""

PUBLIC: Mapping[str, str] = {"github": "https://api.github.com", "gitlab": "https://gitlab.com"}
"""Where a host is unless WORKER_FORGE_HOST_URL says otherwise."""

WITHDRAWAL = (
    "Flow C does not wait for a decision about this any more: its flow was cancelled, or its time is over. If the flow "
    "goes on, there will be a new request."
)

Context = JobContext[MergeRequestParameters]


class MergeRequestExecutor(JobExecutor[MergeRequestParameters]):
    """Has people on a code host decide about a project."""

    name: ClassVar[str] = "forge_merge_request"
    family: ClassVar[str] = FORGE
    task_types: ClassVar[frozenset[TaskType]] = VALIDATES
    detached: ClassVar[bool] = True
    Parameters = MergeRequestParameters
    Outputs = MergeRequest

    def __init__(self, settings: ExecutorSettings) -> None:
        """Read which code host the owner has; raise `ValueError` for settings of one that are wrong."""
        self._settings = settings
        self._where = code_host_settings(settings)
        self._host = None if self._where is None else _host(settings, self._where)

    async def start(self, context: Context) -> JobHandle:
        """Find the request for the key of the job, or put the project on a branch and open one."""
        host, where = self._admit(context)
        try:
            folder = where.folder_of(context.parameters.artifact_id)
        except ValueError as error:
            raise CallFailed(str(error), transient=False, kind="bad_artifact") from error
        branch = branch_of(context)
        base = await host.base()
        there = await host.find(branch, base)
        if there is not None and not there.withdrawn:
            return _handle(there, adopted=True)
        files = await asyncio.to_thread(project_files, context)
        text = request_text(context.parameters, folder, base, context.flow_id)
        title = request_title(context.parameters.artifact_id)
        made = await host.propose(Proposal(branch, base, folder, title, text, files))
        if (made.branch, made.base) != (branch, base):
            raise CallFailed("the code host has opened a request for another branch", transient=False, kind="refused")
        context.log(f"the merge request: {made.url or made.number}")
        return _handle(made, adopted=False)

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Look at the request. A host that asks to be left alone is left alone."""
        try:
            return await self._looked_at(context, handle)
        except CallFailed as failure:
            if failure.transient and failure.after_seconds > 0:
                return JobRunning(message=str(failure), pause_seconds=min(LONGEST_PAUSE, failure.after_seconds))
            raise

    async def cancel(self, context: Context, handle: JobHandle) -> None:
        """Close the request and delete its branch, unless people have decided meanwhile."""
        host, _ = self._admit(context)
        seen = await host.look(int(handle.job_id))
        if seen is not None and seen.state == "open" and seen.branch == handle.data["branch"]:
            await host.withdraw(seen, WITHDRAWAL)

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the code host for the repository, and say whether it may be used."""
        if self._host is None or self._where is None:
            text = "none is set (WORKER_FORGE_HOST, WORKER_FORGE_REPOSITORY): reviews are approvals of a person"
            return (ToolCheck("code host", False, text, required=False),)
        repository = self._where.repository
        allowed = fits(repository, self._settings.repositories)
        text = f"WORKER_REPOSITORIES {'allows' if allowed else 'does not allow'} {repository}"
        return await self._host.reached(), ToolCheck("allowed", allowed, text)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._host is not None:
            await self._host.aclose()

    async def _looked_at(self, context: Context, handle: JobHandle) -> JobState:
        host, where = self._admit(context)
        seen = await host.look(int(handle.job_id))
        branch = str(handle.data["branch"])
        if seen is None or seen.branch != branch:
            text = f"the merge request {handle.job_id} is not in {where.repository} any more"
            return JobFailed("lost", text, retryable=False)
        if seen.state == "merged":
            return _merged(context, handle, seen)
        if seen.withdrawn:
            return JobFailed("withdrawn", f"the forge has closed the merge request itself: {seen.url}")
        if seen.state == "closed":
            text = f"the merge request was closed without a merge: {seen.url or handle.job_id}"
            return JobFailed("rejected", text, retryable=False)
        waits = f"it waits for a merge: {seen.url}"
        return JobRunning(
            message=f"{waits}; {seen.hindrance}" if seen.hindrance else waits, pause_seconds=self._pause(handle)
        )

    def _pause(self, handle: JobHandle) -> float:
        """Return when to look again: later each time, as what has taken long takes longer."""
        age = time() - float(handle.data["asked"])
        return min(LONGEST_PAUSE, max(self._settings.poll_seconds, SHARE * age))

    def _admit(self, context: Context) -> tuple[CodeHost, CodeHostSettings]:
        """Return the code host; refuse where there is none, what its owner does not allow, and secrets."""
        if self._host is None or self._where is None:
            text = "the worker's owner has named no code host (WORKER_FORGE_HOST, WORKER_FORGE_REPOSITORY)"
            raise CallFailed(text, transient=False, kind="not_configured")
        repository = self._where.repository
        admit(repository, self._settings.repositories, f"{repository} (WORKER_REPOSITORIES)")
        why = "a secret is among the parameters, which everybody can see who may see the merge request"
        context.refuse_secrets(context.parameters.model_dump(mode="json"), why)
        return self._host, self._where


def _merged(context: Context, handle: JobHandle, seen: SeenRequest) -> JobState:
    if seen.base != handle.data["base"]:
        text = f"the merge request was merged, but not into {handle.data['base']}: {seen.url or seen.number}"
        return JobFailed("rejected", text, retryable=False)
    if handle.data["head"] not in {"", seen.head}:
        context.log("the branch was changed before the merge; what is packaged is what was there at first")
    return JobSucceeded(MergeRequest(url=seen.url, branch=seen.branch, commit=seen.commit, merged_by=seen.merged_by))


def branch_of(context: Context) -> str:
    """Return the branch of a job: the same for each attempt that goes on with it, another one for other content."""
    given = context.parameters
    words = re.sub(r"[^A-Za-z0-9]+", "-", given.artifact_id)[:60].strip("-")
    key = f"{context.idempotency_key}\n{context.flow_id}\n{given.artifact_id}\n{given.code.content.sha256}"
    return f"{PREFIX_OF_BRANCHES}{words}-{sha256(key.encode()).hexdigest()[:20]}"


def project_files(context: JobContext[Any]) -> Sequence[ProjectFile]:
    """Return the files of the project; raise `CallFailed`, also for more than a code host is given. It blocks."""
    with TemporaryDirectory(prefix="flowc-forge-") as place:
        folder = Path(place) / "project"
        names = unpacked(context, context.parameters.code.content, folder)
        sizes = [(folder / name).stat().st_size for name in names]
        if len(names) > MOST_FILES or max(sizes) > MOST_FILE or sum(sizes) > MOST_BYTES:
            text = f"a merge request has at most {MOST_FILES} files of {MOST_FILE} bytes, and {MOST_BYTES} of all"
            raise CallFailed(text, transient=False, kind="project_too_large")
        return [_file(folder, name) for name in names]


def _file(folder: Path, name: str) -> ProjectFile:
    path = folder / name
    return ProjectFile(name, path.read_bytes(), bool(path.stat().st_mode & 0o100))


def _host(settings: ExecutorSettings, where: CodeHostSettings) -> CodeHost:
    connection = ServiceConnection.from_settings(settings, "FORGE_HOST", PUBLIC[where.host])
    return GithubHost(connection, where) if where.host == "github" else GitlabHost(connection, where)


def _handle(seen: SeenRequest, *, adopted: bool) -> JobHandle:
    about = {"branch": seen.branch, "base": seen.base, "head": seen.head, "asked": time()}
    return JobHandle(job_id=str(seen.number), url=seen.url, adopted=adopted, data=about)
