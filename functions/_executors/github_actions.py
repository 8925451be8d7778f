"""The executor `github_actions`: a workflow that is dispatched, and its run, found by the input `flowc_key`.

GitHub shows no inputs of a run. So the workflow names its runs by the input: `run-name: Tests ${{ inputs.flowc_key }}`.
Its answer to a dispatch says which run it is, since 2026; servers of one's own may not know that yet.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import ClassVar

from functions._adapters.http.outbound import OutboundClient
from functions._adapters.http.reply import NotReached, Reply
from functions._core.errors import Rejected, Unavailable
from functions._core.executors.testing import KEY_INPUT, GithubActionsParameters, RunArtifact, SuiteOutputs
from functions._core.records.values import Model
from functions._executors.calls import refusal_text
from functions._executors.ci_runs import MOST_ARTIFACTS, SUCCESS, CiExecutor, SeenRun, asked_once, has_key, outputs_with
from functions._executors.port import CallFailed, JobContext
from functions._executors.reports import ReportsRefused, SuiteReport, read_archive
from functions._executors.services import ServiceApi, ServiceConnection, part, read_as
from functions._executors.settings import ExecutorSettings

PAGE, MOST_PAGES = 100, 5
"""Runs on a page, and pages that are looked at: the newest runs come first."""

ARCHIVE_BYTES = 32 * 1024 * 1024
"""Bytes of an artifact, packed."""

DOWNLOAD_SECONDS = 120.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})

Context = JobContext[GithubActionsParameters]


class WorkflowRun(Model):
    """A run, as GitHub shows it."""

    id: int
    display_title: str | None = None
    status: str | None = None
    conclusion: str | None = None
    html_url: str = ""

    @property
    def seen(self) -> SeenRun:
        ended = self.status == "completed"
        conclusion = (self.conclusion or "unknown").lower() if ended else ""
        return SeenRun(str(self.id), self.html_url, ended, conclusion, self.status or "")


class WorkflowRuns(Model):
    """A page of runs."""

    workflow_runs: tuple[WorkflowRun, ...]


class DispatchedRun(Model):
    """The answer to a dispatch, where it says which run it is."""

    workflow_run_id: int
    html_url: str = ""


class WorkflowArtifact(Model):
    """An artifact of a run."""

    id: int
    name: str
    size_in_bytes: int = 0
    expired: bool = False
    digest: str | None = None


class WorkflowArtifacts(Model):
    """The artifacts of a run."""

    artifacts: tuple[WorkflowArtifact, ...]


class WorkflowJob(Model):
    """A job of a run."""

    name: str = ""
    conclusion: str | None = None


class WorkflowJobs(Model):
    """The jobs of a run."""

    jobs: tuple[WorkflowJob, ...]


class GithubApi(ServiceApi):
    """GitHub's REST API."""

    headers: ClassVar[Mapping[str, str]] = {
        "x-github-api-version": "2022-11-28",
        "accept": "application/vnd.github+json",
    }

    def refused(self, reply: Reply, method: str, *, repeatable: bool = True) -> CallFailed:
        """Return what an answer without success means: 403 is a limit of the rate where its headers say so."""
        failure = super().refused(reply, method, repeatable=repeatable)
        if reply.status not in {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}:
            return failure
        now = datetime.now(UTC)
        asked, reset = reply.retry_after(now), reply.headers.get("x-ratelimit-reset", "")
        spent = reply.headers.get("x-ratelimit-remaining") == "0" and reset.isascii() and reset.isdecimal()
        if asked is None and not spent:
            return failure
        seconds = asked.total_seconds() if asked is not None else int(reset[:12]) - now.timestamp()
        text = f"{failure}: a limit of its rate"
        return CallFailed(text, after_seconds=max(1.0, seconds), kind="rate_limit")


class GithubActionsExecutor(CiExecutor[GithubActionsParameters]):
    """Runs workflows of GitHub Actions."""

    name: ClassVar[str] = "github_actions"
    Parameters = GithubActionsParameters
    reach: ClassVar[str] = "/rate_limit"
    hint: ClassVar[str] = "the workflow has to have the input flowc_key, and it in its run-name"

    def __init__(self, settings: ExecutorSettings) -> None:
        connection = ServiceConnection.from_settings(settings, "GITHUB", "https://api.github.com")
        super().__init__(settings, GithubApi(connection))
        self._store = OutboundClient(settings.networks)

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        await self._store.aclose()

    def target(self, parameters: GithubActionsParameters) -> str:
        """Return the repository."""
        return parameters.repository

    async def find(self, context: Context, *, thorough: bool) -> SeenRun | None:
        """Look for the run among the newest ones of the workflow, by its title."""
        path = f"{_workflow(context)}/runs"
        for page in range(1, (MOST_PAGES if thorough else 1) + 1):
            query = {"event": "workflow_dispatch", "per_page": str(PAGE), "page": str(page)}
            runs = read_as(WorkflowRuns, await self.api.good("GET", path, query=query)).workflow_runs
            for run in runs:
                if has_key(run.display_title or "", context.idempotency_key):
                    return run.seen
            if len(runs) < PAGE:
                break
        return None

    async def begin(self, context: Context) -> SeenRun | None:
        """Dispatch the workflow."""
        given = context.parameters
        body = {"ref": given.ref, "inputs": {**given.inputs, KEY_INPUT: context.idempotency_key}}
        path = f"{_workflow(context)}/dispatches"
        reply = await asked_once(self.api, "POST", path, body={**body, "return_run_details": True})
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:  # one that does not know this member
            reply = await asked_once(self.api, "POST", path, body=body)
        if reply.status in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_FOUND}:
            text = f"GitHub answered {reply.status}: there has to be the workflow, with the ref, and its trigger "
            raise CallFailed(f"{text}workflow_dispatch with flowc_key and all inputs", transient=False, kind="refused")
        self.api.checked(reply, "POST")
        with suppress(CallFailed):  # 204, without a word
            told = read_as(DispatchedRun, reply)
            return SeenRun(str(told.workflow_run_id), told.html_url)
        return None

    async def look(self, context: Context, run_id: str) -> SeenRun | None:
        """Look at the run."""
        reply = await self.api.call("GET", _run(context, run_id))
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        self.api.checked(reply, "GET")
        return read_as(WorkflowRun, reply).seen

    async def results(self, context: Context, run: SeenRun) -> tuple[SuiteOutputs, str]:
        """Read the reports in the artifact that is named, and say which artifacts and failed jobs there are."""
        kept = await self._artifacts(context, run)
        artifacts = tuple(_shown(one, run) for one in kept[:MOST_ARTIFACTS])
        words = "" if run.conclusion == SUCCESS else await self._failed_jobs(context, run)
        wanted = context.parameters.artifact
        report = SuiteReport()
        if wanted is not None:
            known = kept if len(kept) < PAGE else await self._artifacts(context, run, name=wanted)
            named = [one for one in known if one.name == wanted and not one.expired]
            if named:
                report = await self._read(context, max(named, key=lambda one: one.id))
            elif run.conclusion == SUCCESS:
                raise ReportsRefused(f"the run has no artifact {wanted}")
        return outputs_with(report, url=run.url, conclusion=run.conclusion, artifacts=artifacts), words

    async def end(self, context: Context, run_id: str) -> None:
        """Cancel the run; 409 says that it has ended."""
        reply = await self.api.call("POST", f"{_run(context, run_id)}/cancel")
        if not reply.ok and reply.status not in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}:
            raise self.api.refused(reply, "POST")

    async def _artifacts(self, context: Context, run: SeenRun, **names: str) -> Sequence[WorkflowArtifact]:
        query = {"per_page": str(PAGE), **names}
        reply = await self.api.good("GET", f"{_run(context, run.run_id)}/artifacts", query=query)
        return read_as(WorkflowArtifacts, reply).artifacts

    async def _failed_jobs(self, context: Context, run: SeenRun) -> str:
        query = {"filter": "latest", "per_page": str(PAGE)}
        reply = await self.api.good("GET", f"{_run(context, run.run_id)}/jobs", query=query)
        jobs = read_as(WorkflowJobs, reply).jobs
        bad = [job.name for job in jobs if job.conclusion not in {SUCCESS, "skipped", None}]
        return f"jobs that did not succeed: {', '.join(bad[:20])}" if bad else ""

    async def _read(self, context: Context, artifact: WorkflowArtifact) -> SuiteReport:
        """Fetch an artifact and read its reports."""
        if artifact.size_in_bytes > ARCHIVE_BYTES:
            raise ReportsRefused(f"the artifact {artifact.name} has more than {ARCHIVE_BYTES} bytes")
        path = f"{_repository(context)}/actions/artifacts/{artifact.id}/zip"
        reply = await self.api.call("GET", path, seconds=DOWNLOAD_SECONDS)
        if reply.status in REDIRECTS:
            reply = await self._stored(reply.headers.get("location", ""))
        self.api.checked(reply, "GET")
        if not reply.complete:
            raise ReportsRefused(f"the artifact {artifact.name} has more than {ARCHIVE_BYTES} bytes")
        report = await asyncio.to_thread(read_archive, reply.body, context.parameters.reports)
        if not report.counted and report.coverage is None:
            raise ReportsRefused(f"the artifact {artifact.name} has no report")
        return report

    async def _stored(self, url: str) -> Reply:
        """Fetch what GitHub keeps elsewhere: without the worker's token, and within the networks of http."""
        try:
            return await self._store.request("GET", url, timeout=DOWNLOAD_SECONDS, limit=ARCHIVE_BYTES)
        except (NotReached, Unavailable) as error:
            raise CallFailed(str(error)) from error
        except Rejected as refusal:
            raise ReportsRefused(f"the artifact is where no call goes: {refusal_text(refusal)}") from refusal


def _repository(context: Context) -> str:
    owner, _, name = context.parameters.repository.partition("/")
    return f"/repos/{part(owner)}/{part(name)}"


def _workflow(context: Context) -> str:
    return f"{_repository(context)}/actions/workflows/{part(context.parameters.workflow)}"


def _run(context: Context, run_id: str) -> str:
    return f"{_repository(context)}/actions/runs/{part(run_id)}"


def _shown(artifact: WorkflowArtifact, run: SeenRun) -> RunArtifact:
    digest = (artifact.digest or "").removeprefix("sha256:")
    uri = f"{run.url}/artifacts/{artifact.id}" if run.url else ""
    return RunArtifact(name=artifact.name[:300], size=artifact.size_in_bytes, sha256=digest or None, uri=uri)
