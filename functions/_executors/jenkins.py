"""The executor `jenkins`: a build of a job, which waits in the queue first, found again by its parameter FLOWC_KEY.

The job has to declare this parameter: Jenkins drops what a job does not declare. What is asked for waits in the queue,
where it has a number of its own, and is a build afterwards; both show the parameters. The queue is looked at first, so
what moves from one to the other meanwhile is seen.
"""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import urlencode, urlsplit

from pydantic import Field

from functions._adapters.http.reply import Reply
from functions._core.executors.testing import JenkinsParameters, RunArtifact, SuiteOutputs
from functions._core.records.values import Model
from functions._executors.ci_runs import MOST_ARTIFACTS, CiExecutor, SeenRun, asked_once, outputs_with
from functions._executors.port import CallFailed, JobContext
from functions._executors.reports import ReportsRefused, SuiteReport
from functions._executors.services import ServiceApi, ServiceConnection, part, read_as
from functions._executors.settings import PREFIX, ExecutorSettings

KEY_PARAMETER = "FLOWC_KEY"
QUEUED = "queue-"
"""How the id of what waits in the queue begins."""

BUILDS = 100
"""Builds of the job that are looked at, the newest first."""

FORM = {"content-type": "application/x-www-form-urlencoded"}
CASES = "suites[cases[className,name,status]]"
Context = JobContext[JenkinsParameters]


class JenkinsParameter(Model):
    """A parameter of a build."""

    name: str = ""
    value: object = None


class JenkinsAction(Model):
    """What is attached to a build; of most kinds nothing is read."""

    parameters: tuple[JenkinsParameter, ...] = ()


class JenkinsFile(Model):
    """A file that a build keeps."""

    relative_path: str = Field(alias="relativePath")


class JenkinsBuild(Model):
    """A build."""

    number: int
    url: str = ""
    building: bool = True
    result: str | None = None
    actions: tuple[JenkinsAction | None, ...] = ()
    artifacts: tuple[JenkinsFile, ...] = ()

    @property
    def seen(self) -> SeenRun:
        ended = not self.building and self.result is not None
        return SeenRun(str(self.number), self.url, ended, (self.result or "").lower() if ended else "", "building")


class JenkinsTask(Model):
    """What waits to be built."""

    url: str = ""


class QueueItem(Model):
    """What waits in the queue, or has left it."""

    id: int = 0
    why: str | None = None
    cancelled: bool = False
    task: JenkinsTask = JenkinsTask()
    actions: tuple[JenkinsAction | None, ...] = ()
    executable: JenkinsBuild | None = None


class JenkinsQueue(Model):
    """The queue."""

    items: tuple[QueueItem, ...] = ()


class JenkinsBuilds(Model):
    """The newest builds of a job."""

    builds: tuple[JenkinsBuild, ...] = ()


class JenkinsCase(Model):
    """A test."""

    class_name: str | None = Field(default=None, alias="className")
    name: str = ""
    status: str = ""


class JenkinsSuite(Model):
    """Some tests."""

    cases: tuple[JenkinsCase, ...] = ()


class JenkinsReport(Model):
    """The tests of a build."""

    fail_count: int = Field(default=0, alias="failCount")
    pass_count: int = Field(default=0, alias="passCount")
    skip_count: int = Field(default=0, alias="skipCount")
    suites: tuple[JenkinsSuite, ...] = ()


class JenkinsCoverage(Model):
    """What the plugin Coverage says of a build, as texts such as `81.25%`."""

    statistics: Mapping[str, str] = Field(default={}, alias="projectStatistics")


class JenkinsCrumb(Model):
    """The proof that a POST comes from no foreign page."""

    crumb: str
    field: str = Field(alias="crumbRequestField", pattern=r"^[A-Za-z0-9.-]{1,100}$")


class JenkinsApi(ServiceApi):
    """Jenkins' remote access API."""

    def __init__(self, connection: ServiceConnection, user: str) -> None:
        """Take the user whose token it is, too."""
        super().__init__(connection)
        self._user = user

    def proof(self, credential: str) -> Mapping[str, str]:
        """Return name and token, as Jenkins wants them."""
        return {"authorization": f"Basic {b64encode(f'{self._user}:{credential}'.encode()).decode()}"}

    async def crumbed(self) -> Mapping[str, str]:
        """Return the headers of a POST: a crumb, with the session that it is for, where the server has crumbs."""
        reply = await self.call("GET", "/crumbIssuer/api/json")
        if reply.status == HTTPStatus.NOT_FOUND:
            return {}
        self.checked(reply, "GET")
        crumb = read_as(JenkinsCrumb, reply)
        cookie = reply.headers.get("set-cookie", "").partition(";")[0]
        return {crumb.field: crumb.crumb, **({"cookie": cookie} if cookie else {})}


class JenkinsExecutor(CiExecutor[JenkinsParameters]):
    """Runs jobs of Jenkins."""

    name: ClassVar[str] = "jenkins"
    Parameters = JenkinsParameters
    reach: ClassVar[str] = "/api/json"
    hint: ClassVar[str] = "the job has to declare the parameter FLOWC_KEY"
    api: JenkinsApi

    def __init__(self, settings: ExecutorSettings) -> None:
        user = settings.environment.get(f"{PREFIX}JENKINS_USER", "").strip()
        super().__init__(settings, JenkinsApi(ServiceConnection.from_settings(settings, "JENKINS"), user))

    def target(self, parameters: JenkinsParameters) -> str:
        """Return the job."""
        return parameters.job

    async def find(self, context: Context, *, thorough: bool) -> SeenRun | None:
        """Look in the queue, then among the builds of the job."""
        if not thorough:  # Jenkins shows at once what it was asked for
            return None
        tree = {"tree": "items[id,why,task[url],actions[parameters[name,value]]]"}
        queue = read_as(JenkinsQueue, await self.api.good("GET", "/queue/api/json", query=tree))
        for item in queue.items:
            if _is_of(item.actions, context):
                return _waiting(item)
        tree = {"tree": f"builds[number,url,building,result,actions[parameters[name,value]]]{{0,{BUILDS}}}"}
        builds = read_as(JenkinsBuilds, await self.api.good("GET", f"{_job(context)}/api/json", query=tree)).builds
        return next((build.seen for build in builds if _is_of(build.actions, context)), None)

    async def begin(self, context: Context) -> SeenRun | None:
        """Ask for a build."""
        given = {**context.parameters.inputs, KEY_PARAMETER: context.idempotency_key}
        if context.traceparent:
            given["TRACEPARENT"] = context.traceparent
        headers = {**FORM, **await self.api.crumbed()}
        path = f"{_job(context)}/buildWithParameters"
        reply = await asked_once(self.api, "POST", path, body=urlencode(given).encode(), headers=headers)
        if reply.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
            text = f"Jenkins answered {reply.status}: there has to be the job, with parameters"
            raise CallFailed(text, transient=False, kind="refused")
        self.api.checked(reply, "POST")
        number = urlsplit(reply.headers.get("location", "")).path.rstrip("/").rpartition("/queue/item/")[2]
        return SeenRun(f"{QUEUED}{number}") if number.isascii() and number.isdecimal() else None

    async def look(self, context: Context, run_id: str) -> SeenRun | None:
        """Look at the build, or where it waits; what has left the queue long ago is found by its key."""
        if not run_id.startswith(QUEUED):
            return await self._build(context, run_id)
        reply = await self.api.call("GET", f"/queue/item/{part(run_id.removeprefix(QUEUED))}/api/json")
        if reply.status == HTTPStatus.NOT_FOUND:
            return await self.find(context, thorough=True)
        self.api.checked(reply, "GET")
        item = read_as(QueueItem, reply)
        if item.executable is None:
            return _waiting(item)
        return await self._build(context, str(item.executable.number))

    async def results(self, context: Context, run: SeenRun) -> tuple[SuiteOutputs, str]:
        """Read the report of the tests, the coverage and the files that are kept."""
        if run.run_id.startswith(QUEUED):
            return SuiteOutputs(url=run.url, conclusion=run.conclusion), ""
        tree = {"tree": "number,url,building,result,artifacts[relativePath]"}
        path = _build_path(context, run.run_id)
        build = read_as(JenkinsBuild, await self.api.good("GET", f"{path}/api/json", query=tree))
        report = await self._report(path)
        reply = await self.api.call("GET", f"{path}/coverage/api/json")
        if reply.ok:
            _cover(report, read_as(JenkinsCoverage, reply).statistics.get("line"))
        place = f"{run.url.rstrip('/')}/artifact"
        files = [file.relative_path for file in build.artifacts[:MOST_ARTIFACTS]]
        kept = tuple(RunArtifact(name=file[:300], uri=f"{place}/{file}"[:2_000]) for file in files)
        return outputs_with(report, url=run.url, conclusion=run.conclusion, artifacts=kept), ""

    async def end(self, context: Context, run_id: str) -> None:
        """Take it out of the queue, or stop the build."""
        headers = {**FORM, **await self.api.crumbed()}
        if run_id.startswith(QUEUED):
            number = run_id.removeprefix(QUEUED)
            query = {"id": number}
            reply = await self.api.call("POST", "/queue/cancelItem", query=query, body=b"", headers=headers)
            if not _done(reply):
                raise self.api.refused(reply, "POST")
            seen = await self.look(context, run_id)  # it may have become a build meanwhile
            if seen is None or seen.ended or seen.run_id.startswith(QUEUED):
                return
            run_id = seen.run_id
        reply = await self.api.call("POST", f"{_build_path(context, run_id)}/stop", body=b"", headers=headers)
        if not _done(reply):
            raise self.api.refused(reply, "POST")

    async def _build(self, context: Context, number: str) -> SeenRun | None:
        tree = {"tree": "number,url,building,result"}
        reply = await self.api.call("GET", f"{_build_path(context, number)}/api/json", query=tree)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        self.api.checked(reply, "GET")
        return read_as(JenkinsBuild, reply).seen

    async def _report(self, path: str) -> SuiteReport:
        """Return what the tests of a build were; a build without any has no report."""
        for tree in (f"failCount,passCount,skipCount,{CASES}", "failCount,passCount,skipCount"):
            reply = await self.api.call("GET", f"{path}/testReport/api/json", query={"tree": tree})
            if reply.status == HTTPStatus.NOT_FOUND:
                break
            self.api.checked(reply, "GET")
            if reply.complete:
                said = read_as(JenkinsReport, reply)
                report = SuiteReport(said.pass_count, said.fail_count, 0, said.skip_count, read=1)
                for case in (case for suite in said.suites for case in suite.cases):
                    if case.status in {"FAILED", "REGRESSION"}:
                        report.name(".".join(filter(None, (case.class_name, case.name))))
                return report
        return SuiteReport()


def _done(reply: Reply) -> bool:
    """Whether a POST had its effect, or came too late; Jenkins answers many with a redirect to a page."""
    return reply.status < HTTPStatus.BAD_REQUEST or reply.status == HTTPStatus.NOT_FOUND


def _job(context: Context) -> str:
    return "".join(f"/job/{part(name)}" for name in context.parameters.job.split("/"))


def _build_path(context: Context, number: str) -> str:
    return f"{_job(context)}/{part(number)}"


def _is_of(actions: tuple[JenkinsAction | None, ...], context: Context) -> bool:
    given = (parameter for action in actions if action is not None for parameter in action.parameters)
    return any(one.name == KEY_PARAMETER and one.value == context.idempotency_key for one in given)


def _waiting(item: QueueItem) -> SeenRun:
    why = (item.why or "it waits in the queue")[:500]
    return SeenRun(f"{QUEUED}{item.id}", item.task.url, item.cancelled, "cancelled" if item.cancelled else "", why)


def _cover(report: SuiteReport, said: str | None) -> None:
    """Take in the coverage of lines; raise `ReportsRefused` for what is none."""
    if said is None:
        return
    share = -1.0
    with suppress(ValueError):
        share = float(said.removesuffix("%")) / 100
    if not 0 <= share <= 1:
        raise ReportsRefused("the build says a coverage that cannot be")
    report.covered, report.lines = share, 1.0
