"""The executor `gitlab_ci`: a pipeline of a project, found again by its variable FLOWC_KEY, or by a name that has it.

GitLab shows the variables of a pipeline to those alone who maintain the project. A `workflow: name:` with `$FLOWC_KEY`
makes the key part of the name, which every reader sees.
"""

from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import ClassVar

from functions._core.executors.testing import GitlabCiParameters, RunArtifact, SuiteOutputs
from functions._core.records.values import Model
from functions._executors.ci_runs import (
    MOST_ARTIFACTS,
    UNKNOWN_OUTCOME,
    CiExecutor,
    SeenRun,
    asked_once,
    has_key,
    outputs_with,
)
from functions._executors.port import CallFailed, JobContext
from functions._executors.reports import ReportsRefused, SuiteReport
from functions._executors.services import ServiceApi, ServiceConnection, part, read_as, read_list
from functions._executors.settings import ExecutorSettings

KEY_VARIABLE = "FLOWC_KEY"
PAGE, MOST_PAGES = 100, 5
MOST_ASKED = 40
"""Pipelines whose variables are asked for, one by one: the newest."""

ENDED = frozenset({"success", "failed", "canceled", "skipped"})

Context = JobContext[GitlabCiParameters]


class Pipeline(Model):
    """A pipeline, as GitLab shows it."""

    id: int
    status: str = ""
    name: str | None = None
    web_url: str = ""
    coverage: float | None = None
    """Percent."""

    @property
    def seen(self) -> SeenRun:
        ended = self.status in ENDED
        waits = "it waits for somebody to start a job" if self.status == "manual" else self.status
        return SeenRun(str(self.id), self.web_url, ended, self.status if ended else "", waits)


class PipelineVariable(Model):
    """A variable of a pipeline."""

    key: str = ""
    value: str = ""


class JobFile(Model):
    """The file of the artifacts of a job."""

    filename: str
    size: int | None = None


class PipelineJob(Model):
    """A job of a pipeline."""

    name: str = ""
    status: str = ""
    web_url: str = ""
    allow_failure: bool = False
    artifacts_file: JobFile | None = None


class ReportTotal(Model):
    """How many tests there were."""

    count: int = 0
    success: int = 0
    failed: int = 0
    skipped: int = 0
    error: int = 0


class ReportSummary(Model):
    """The summary of the tests of a pipeline."""

    total: ReportTotal


class ReportCase(Model):
    """A test."""

    status: str = ""
    name: str = ""
    classname: str | None = None


class ReportSuite(Model):
    """Tests of a job."""

    test_cases: tuple[ReportCase, ...] = ()


class PipelineReport(Model):
    """The tests of a pipeline."""

    test_suites: tuple[ReportSuite, ...] = ()


class GitlabCiExecutor(CiExecutor[GitlabCiParameters]):
    """Runs pipelines of GitLab CI."""

    name: ClassVar[str] = "gitlab_ci"
    Parameters = GitlabCiParameters
    reach: ClassVar[str] = "/api/v4/version"
    hint: ClassVar[str] = "the pipeline has the variable FLOWC_KEY, which the worker's token has to be able to read"

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(
            settings, ServiceApi(ServiceConnection.from_settings(settings, "GITLAB", "https://gitlab.com"))
        )

    def target(self, parameters: GitlabCiParameters) -> str:
        """Return the project."""
        return parameters.project

    async def find(self, context: Context, *, thorough: bool) -> SeenRun | None:
        """Look for the pipeline by its name, then by its variables."""
        if not thorough:  # GitLab says which pipeline it has made, and shows it at once
            return None
        key = context.idempotency_key
        asked = 0
        for page in range(1, MOST_PAGES + 1):
            query = {"ref": context.parameters.ref, "source": "api", "order_by": "id", "sort": "desc"}
            query |= {"per_page": str(PAGE), "page": str(page)}
            pipelines = read_list(Pipeline, await self.api.good("GET", f"{_project(context)}/pipelines", query=query))
            for pipeline in pipelines:
                if has_key(pipeline.name or "", key):
                    return pipeline.seen
            for pipeline in pipelines[: max(0, MOST_ASKED - asked)]:
                has = await self._has_variable(context, pipeline.id)
                if has:
                    return pipeline.seen
                asked = asked + 1 if has is not None else MOST_ASKED
                if has is None:
                    break
            if len(pipelines) < PAGE:
                break
        return None

    async def begin(self, context: Context) -> SeenRun | None:
        """Make the pipeline."""
        given = {**context.parameters.variables, KEY_VARIABLE: context.idempotency_key}
        if context.traceparent:
            given["TRACEPARENT"] = context.traceparent
        variables = [{"key": key, "value": value} for key, value in given.items()]
        body = {"ref": context.parameters.ref, "variables": variables}
        reply = await asked_once(self.api, "POST", f"{_project(context)}/pipeline", body=body)
        if reply.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
            text = f"GitLab answered {reply.status}: there has to be the project, with the ref and jobs for it, and "
            raise CallFailed(f"{text}the token may set variables", transient=False, kind="refused")
        self.api.checked(reply, "POST")
        try:
            return read_as(Pipeline, reply).seen
        except CallFailed as failure:
            raise CallFailed(f"nobody knows which pipeline was made: {failure}", kind=UNKNOWN_OUTCOME) from failure

    async def look(self, context: Context, run_id: str) -> SeenRun | None:
        """Look at the pipeline."""
        reply = await self.api.call("GET", _pipeline(context, run_id))
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        self.api.checked(reply, "GET")
        return read_as(Pipeline, reply).seen

    async def results(self, context: Context, run: SeenRun) -> tuple[SuiteOutputs, str]:
        """Read the summary of the tests, the names of those that failed, the coverage and the jobs."""
        pipeline = read_as(Pipeline, await self.api.good("GET", _pipeline(context, run.run_id)))
        report = await self._report(context, run)
        jobs = await self._jobs(context, run)
        bad = [job.name for job in jobs if job.status in {"failed", "canceled"} and not job.allow_failure]
        kept = tuple(_shown(job) for job in jobs if job.artifacts_file is not None)[:MOST_ARTIFACTS]
        if pipeline.coverage is not None:
            if not 0 <= pipeline.coverage <= 100:  # noqa: PLR2004 - percent
                raise ReportsRefused("the pipeline says a coverage that cannot be")
            report.covered, report.lines = pipeline.coverage / 100, 1.0
        words = f"jobs that did not succeed: {', '.join(bad[:20])}" if bad else ""
        return outputs_with(report, url=run.url, conclusion=run.conclusion, artifacts=kept), words

    async def end(self, context: Context, run_id: str) -> None:
        """Cancel the pipeline; one that has ended is left as it is."""
        reply = await self.api.call("POST", f"{_pipeline(context, run_id)}/cancel")
        if not reply.ok and reply.status != HTTPStatus.NOT_FOUND:
            raise self.api.refused(reply, "POST")

    async def _has_variable(self, context: Context, pipeline: int) -> bool | None:
        """Return whether a pipeline has the key; None where the token may read no variables at all."""
        reply = await self.api.call("GET", f"{_pipeline(context, str(pipeline))}/variables")
        if reply.status == HTTPStatus.FORBIDDEN:
            return None
        if reply.status == HTTPStatus.NOT_FOUND:
            return False
        self.api.checked(reply, "GET")
        variables = read_list(PipelineVariable, reply)
        return any(one.key == KEY_VARIABLE and one.value == context.idempotency_key for one in variables)

    async def _report(self, context: Context, run: SeenRun) -> SuiteReport:
        reply = await self.api.good("GET", f"{_pipeline(context, run.run_id)}/test_report_summary")
        total = read_as(ReportSummary, reply).total
        report = SuiteReport(total.success, total.failed, total.error, total.skipped, read=min(1, total.count))
        if total.failed or total.error:
            with suppress(CallFailed):  # it may be too long to be read; the numbers are known
                reply = await self.api.good("GET", f"{_pipeline(context, run.run_id)}/test_report")
                for case in (one for suite in read_as(PipelineReport, reply).test_suites for one in suite.test_cases):
                    if case.status in {"failed", "error"}:
                        report.name(".".join(filter(None, (case.classname, case.name))))
        return report

    async def _jobs(self, context: Context, run: SeenRun) -> Sequence[PipelineJob]:
        found: list[PipelineJob] = []
        for page in range(1, MOST_PAGES + 1):
            query = {"per_page": str(PAGE), "page": str(page)}
            reply = await self.api.good("GET", f"{_pipeline(context, run.run_id)}/jobs", query=query)
            found.extend(jobs := read_list(PipelineJob, reply))
            if len(jobs) < PAGE:
                break
        return found


def _project(context: Context) -> str:
    return f"/api/v4/projects/{part(context.parameters.project)}"


def _pipeline(context: Context, run_id: str) -> str:
    return f"{_project(context)}/pipelines/{part(run_id)}"


def _shown(job: PipelineJob) -> RunArtifact:
    file = job.artifacts_file or JobFile(filename="")
    return RunArtifact(name=f"{job.name}/{file.filename}"[:300], size=file.size, uri=f"{job.web_url}/artifacts/browse")
