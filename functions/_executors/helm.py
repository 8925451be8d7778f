"""The executor `helm`: a release is installed or upgraded, waited for, and rolled back where that fails, by Helm's CLI.

The release says what is to be known: the key of the job is the description of a revision that was deployed, so another
attempt does not deploy again what is there, and a label of one that is pending, which has no description of ours yet.
Helm ends with its worker and leaves a revision pending, at which no other Helm goes on; the next attempt at the same
ticket rolls it back and begins again.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import ClassVar, NamedTuple

from functions._core.executors.deploy import DEPLOYING, FAMILY
from functions._core.executors.helm import HelmOutputs, HelmParameters
from functions._core.records.values import TaskType
from functions._executors.patterns import admit
from functions._executors.port import JobContext, JobFailed, JobState, JobSucceeded, ToolCheck
from functions._executors.settings import ExecutorSettings
from functions._executors.tools import ToolExecutor, ToolFailed, ToolJob

KEPT = 20
"""Revisions that are looked at, and that Helm keeps."""

SHARE = 0.6
"""Of the time that a ticket has: how much Helm may wait, where it may have to wait for the way back, too."""

RAN = frozenset({"deployed", "superseded"})
"""Statuses of revisions that were deployed well."""

NO_RELEASE = "release: not found"
"""What Helm says of a release that is not there; other things may not be found, either."""

VALUES = "values.json"
LABEL = "flowc-job"
"""The label of revisions with the hash of the key of their job; Helm 3.13 and newer keep labels."""

Context = JobContext[HelmParameters]


class Release(NamedTuple):
    """A revision of a release, as `helm history` tells it."""

    revision: int
    status: str
    chart: str
    description: str

    @property
    def pending(self) -> bool:
        """Whether a Helm is at work on it, or has died at that."""
        return self.status.startswith("pending")


class HelmExecutor(ToolExecutor[HelmParameters]):
    """Deploys releases."""

    name: ClassVar[str] = "helm"
    family: ClassVar[str] = FAMILY
    task_types: ClassVar[frozenset[TaskType]] = DEPLOYING
    PROGRAMS = ("helm",)
    Parameters = HelmParameters
    Outputs = HelmOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        super().__init__(settings)
        self._permitted = settings.applications
        self._charts = settings.charts

    def admit(self, context: Context) -> None:
        """Refuse a release and a chart that the owner does not name."""
        given = context.parameters
        named = f"{given.namespace}/{given.release}"
        admit(named, self._permitted, "this release (WORKER_APPLICATIONS)")
        chart = None if given.rolls_back else given.chart
        if chart is not None:
            admit(chart, self._charts, "this chart (WORKER_CHARTS)")

    async def check(self) -> Sequence[ToolCheck]:
        """Look at the tool, and at what the owner allows."""
        named = (("applications", self._permitted), ("charts", self._charts))
        lists = (
            ToolCheck(name, bool(allowed), f"WORKER_{name.upper()} allows {', '.join(allowed) or 'none'}")
            for name, allowed in named
        )
        return (*await super().check(), *lists)

    async def work(self, context: Context, job: ToolJob) -> JobState:
        """Deploy, or go back."""
        helm = _Helm(self.tool, job, context)
        history = await helm.history()
        return await (_rolled_back if context.parameters.rolls_back else _deployed)(context, helm, history)


async def _deployed(context: Context, helm: "_Helm", history: Sequence[Release]) -> JobState:
    """Install or upgrade the release, unless an earlier attempt has done so."""
    last, ran = (history[-1] if history else None), [each for each in history if each.status in RAN]
    if last is not None and last.status == "deployed" and last.description == helm.mark:
        return _outputs(last, ran[-2] if len(ran) > 1 else None)
    if last is not None and last.pending:
        if not await helm.began(last):
            return JobFailed("busy", f"revision {last.revision} of the release is {last.status}")
        context.log(f"revision {last.revision} is {last.status}: its Helm has ended with its worker")
        await helm.back(ran[-1] if ran else None)
        history = await helm.history()
        ran = [each for each in history if each.status in RAN]
    before, newest = (ran[-1] if ran else None), (history[-1].revision if history else 0)
    try:
        await helm.upgrade()
    except ToolFailed as failure:
        return await _failed(context, helm, before, newest, str(failure))
    history = await helm.history()
    return _outputs(history[-1], before)


async def _failed(context: Context, helm: "_Helm", before: Release | None, newest: int, why: str) -> JobState:
    """Go back, if there is anything that was deployed."""
    history = await helm.history()
    if not history or history[-1].revision <= newest:
        return JobFailed("deployment_failed", f"{why}; nothing was changed")
    if not context.parameters.rollback_on_failure:
        return JobFailed("deployment_failed", f"{why}; it stays as it is", retryable=False)
    try:
        await helm.back(before)
    except ToolFailed as failure:
        return JobFailed("rollback_failed", f"{why}; going back: {failure}", retryable=False)
    where = f"it is back at revision {before.revision}" if before else "it was removed, as there was none before"
    return JobFailed("rolled_back", f"{why}; {where}", retryable=False)


async def _rolled_back(context: Context, helm: "_Helm", history: Sequence[Release]) -> JobState:
    """Go back to a revision, unless an earlier attempt has done so."""
    wanted, ran = context.parameters.revision, [each for each in history if each.status in RAN]
    if not ran or wanted == "" or (wanted is None and len(ran) < 2):  # noqa: PLR2004 - this one and one before
        return JobFailed("no_previous_revision", "there was no deployment before this one", retryable=False)
    target = ran[-2] if wanted is None else next((each for each in ran if str(each.revision) == wanted), None)
    if target is None:
        text = "the history of the release does not have this revision any more"
        return JobFailed("no_such_revision", text, retryable=False)
    if history[-1].status == "deployed" and history[-1].description == f"Rollback to {target.revision}":
        return _outputs(history[-1], ran[-2] if len(ran) > 1 else None)
    await helm.back(target)
    return _outputs((await helm.history())[-1], ran[-1])


def _outputs(now: Release, before: Release | None) -> JobSucceeded:
    outputs = HelmOutputs(
        revision=str(now.revision),
        previous_revision=str(before.revision) if before else "",
        health=now.status,
        chart=now.chart,
    )
    return JobSucceeded(outputs)


class _Helm:
    """The programs of one job."""

    def __init__(self, tool: str, job: ToolJob, context: Context) -> None:
        self._tool = tool
        self._job = job
        self._given = context.parameters
        self.mark = f"flowc:{context.idempotency_key}"
        self._label = f"{LABEL}={sha256(context.idempotency_key.encode()).hexdigest()[:32]}"
        share = context.seconds_left * (SHARE if self._given.rollback_on_failure else 1.0)
        self._timeout = f"--timeout={max(1, int(min(self._given.health_timeout_seconds, share)))}s"
        self._named = f"--namespace={self._given.namespace}"

    async def history(self) -> Sequence[Release]:
        """Return the revisions of the release, the oldest first."""
        argv = ("history", self._given.release, self._named, f"--max={KEPT}", "--output=json")
        end = await self._job.run(self._tool, *argv, quiet=True)
        if end.code and NO_RELEASE in end.said:
            return ()
        if end.code:
            raise ToolFailed(f"helm history ended with exit status {end.code}: {end.said}")
        return _releases(end.json)

    async def began(self, release: Release) -> bool:
        """Whether a revision was begun by an attempt of this job."""
        argv = (f"--filter=^{self._given.release}$", f"--selector={self._label}", "--all", "--output=json")
        end = await self._job.good(self._tool, "list", self._named, *argv, quiet=True)
        found = end.json
        listed = found if isinstance(found, list) else ()
        return any(isinstance(each, Mapping) and str(each.get("revision")) == str(release.revision) for each in listed)

    async def upgrade(self) -> None:
        """Install or upgrade it, and wait; values go by a file, which others cannot read."""
        given, file = self._given, await self._job.put(VALUES, self._given.values)
        more = [f"--version={given.revision}"] if given.revision else []
        more += ["--create-namespace"] if given.create_namespace else []
        argv = ("upgrade", given.release, given.chart or "", "--install", "--wait", "--reset-values", *more)
        described = [self._named, self._timeout, f"--history-max={KEPT}", f"--description={self.mark}"]
        described += [f"--labels={self._label}"]
        # What it prints as JSON has the values and the manifest, so nobody reads it.
        await self._job.good(self._tool, *argv, *described, f"--values={file}", "--output=json", quiet=True)

    async def back(self, to: Release | None) -> None:
        """Roll it back and wait; to nothing: remove what was installed just now."""
        if to is None:
            await self._job.good(self._tool, "uninstall", self._given.release, self._named, "--wait", self._timeout)
            return
        argv = ("rollback", self._given.release, str(to.revision), self._named, "--wait", self._timeout)
        await self._job.good(self._tool, *argv)


def _releases(found: object) -> Sequence[Release]:
    return [
        Release(
            revision=each["revision"],
            status=str(each.get("status", "")),
            chart=str(each.get("chart", ""))[:300],
            description=str(each.get("description", "")),
        )
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, Mapping) and isinstance(each.get("revision"), int)
    ]
