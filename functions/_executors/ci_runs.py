"""Jobs that are runs of a CI server: begun once, found again by their key, followed, judged, cancelled.

`CiExecutor` is the base of the executors for one server each. A run carries the key of its job. A server may show a run
only some time after it was asked for it: where an earlier call may have begun one, a run is looked for with patience
before another one is begun.
"""

import asyncio
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from time import monotonic, time
from typing import Any, ClassVar, NamedTuple, TypeVar

from functions._adapters.http.reply import Reply
from functions._core.executors.testing import SuiteOutputs, SuiteParameters
from functions._core.records.values import TaskType
from functions._executors.calls import PASSING, UNREAD
from functions._executors.patterns import admit
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
from functions._executors.reports import ReportsRefused, SuiteReport
from functions._executors.services import ServiceApi
from functions._executors.settings import PREFIX, ExecutorSettings

SP = TypeVar("SP", bound=SuiteParameters)

GROWTH, MOST_GROWTH = 1.25, 3.0
"""By how much the pause between two looks grows each time, and how often it may be as long as the first one at most."""

PATIENCE = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between looks for a run that may have begun and is not to be seen yet; fewer where calls have to be short."""

UNSEEN_SECONDS = 300.0
"""After that a run that was asked for and is not to be seen has failed."""

SUCCESS = "success"
"""How every executor calls a run that has ended well."""

MESSAGE_CHARACTERS = 2_000
MOST_ARTIFACTS = 100
UNKNOWN_OUTCOME = "unknown_outcome"
RUN = "run"
"""Of a handle: the run, where it is known when the handle is made."""

AFTER = "after"
"""Of a handle without: the run with the same key that has failed before."""

ASKED = "asked"
"""Likewise: when the run was asked for, in seconds since 1970."""


class SeenRun(NamedTuple):
    """A run, as its server shows it."""

    run_id: str
    url: str = ""
    ended: bool = False
    conclusion: str = ""
    """How it ended, in lower case; `SUCCESS` of one that has ended well."""
    message: str = ""
    percent: float | None = None

    @property
    def hopeless(self) -> bool:
        """Whether it has ended badly, so that another one may be begun."""
        return self.ended and self.conclusion != SUCCESS


class CiExecutor(JobExecutor[SP]):
    """Base of executors whose jobs are runs of a CI server."""

    family: ClassVar[str] = "test"
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.TEST})
    detached: ClassVar[bool] = True
    Outputs = SuiteOutputs
    reach: ClassVar[str]
    """The path of a harmless question that takes the worker's credentials."""
    hint: ClassVar[str]
    """What has to be so for a run to be found by its key."""

    def __init__(self, settings: ExecutorSettings, api: ServiceApi) -> None:
        self._settings = settings
        self.api = api
        self._runs: dict[str, str] = {}
        self._looks: dict[str, int] = {}
        self._unsure: set[str] = set()

    @abstractmethod
    def target(self, parameters: SP) -> str:
        """Return what is tested, as the patterns of the worker's owner name it."""

    @abstractmethod
    async def find(self, context: JobContext[SP], *, thorough: bool) -> SeenRun | None:
        """Return the newest run with the key of the job; None where there is none, or none is to be seen yet.

        `thorough` says that there may be one, so that a costly search is worth it. Raises `CallFailed`.
        """

    @abstractmethod
    async def begin(self, context: JobContext[SP]) -> SeenRun | None:
        """Begin a run, and return it if the server says which one it is.

        Raises `CallFailed`, of the kind `UNKNOWN_OUTCOME` where nobody knows whether one has begun.
        """

    @abstractmethod
    async def look(self, context: JobContext[SP], run_id: str) -> SeenRun | None:
        """Return how a run stands; None where it is not there any more. Raises `CallFailed`."""

    @abstractmethod
    async def results(self, context: JobContext[SP], run: SeenRun) -> tuple[SuiteOutputs, str]:
        """Return what came of a run that has ended, and the names of its parts that failed, in words.

        Raises `CallFailed`, and `ReportsRefused` for reports that are wanted and cannot be read.
        """

    @abstractmethod
    async def end(self, context: JobContext[SP], run_id: str) -> None:
        """Have a run end; one that has ended is no error. Raises `CallFailed`."""

    async def start(self, context: JobContext[SP]) -> JobHandle:
        """Begin a run, unless one with the key of the job is there that has not failed."""
        self._admit(context)
        key = context.idempotency_key
        begun = key in self._unsure or _may_have_begun(context)
        known = await self._found(context) if begun else await self.find(context, thorough=False)
        self._unsure.discard(key)
        if known is not None and not known.hopeless:
            return _handle(known, key, adopted=True)
        try:
            made = await self.begin(context)
        except CallFailed as failure:
            if failure.kind == UNKNOWN_OUTCOME:
                self._unsure.add(key)
            raise
        return _handle(made or SeenRun(""), key, adopted=False, after=known)

    async def poll(self, context: JobContext[SP], handle: JobHandle) -> JobState:
        """Look at the run. A server that asks to be left alone is left alone."""
        try:
            return await self._looked_at(context, handle)
        except CallFailed as failure:
            if failure.transient and failure.after_seconds > 0:
                return JobRunning(message=str(failure), pause_seconds=failure.after_seconds)
            raise

    async def cancel(self, context: JobContext[SP], handle: JobHandle) -> None:
        """End the run, also one that is to be seen only in a moment."""
        run_id = self._run_of(handle)
        while run_id is None:
            seen = await self._begun(context, handle)
            if seen is not None:
                run_id = seen.run_id
            elif context.seconds_left < PATIENCE[0]:
                raise CallFailed("the run is not to be seen, so it cannot be ended", transient=False)
            else:
                await asyncio.sleep(PATIENCE[0])
        await self.end(context, run_id)
        self._forget(handle)

    async def check(self) -> Sequence[ToolCheck]:
        """Ask the server a harmless question, and say what may be used."""
        allowed = ", ".join(self._settings.repositories)
        repositories = ToolCheck("repositories", bool(allowed), f"WORKER_REPOSITORIES allows {allowed or 'none'}")
        return await self.api.reached(self.reach, self.name), await self._credential(), repositories

    async def aclose(self) -> None:
        """Close all connections."""
        await self.api.aclose()

    async def _credential(self) -> ToolCheck:
        variable = f"{PREFIX}{self.api.connection.name}_TOKEN"
        try:
            there = bool(await self.api.connection.credential())
        except CallFailed as failure:
            return ToolCheck("credential", False, str(failure))
        return ToolCheck("credential", there, f"{variable} or {variable}_FILE is {'set' if there else 'not set'}")

    def _admit(self, context: JobContext[SP]) -> None:
        """Refuse what the worker's owner does not allow, and secrets: who may see a run can see what it was given."""
        target = self.target(context.parameters)
        admit(target, self._settings.repositories, f"{target} (WORKER_REPOSITORIES)")
        why = "a secret is among the parameters, which everybody can see who may see the run"
        context.refuse_secrets(context.parameters.model_dump(mode="json"), why, "secret_in_inputs")

    async def _found(self, context: JobContext[SP]) -> SeenRun | None:
        """Return the run with the key of the job, looking with patience for one that has not failed."""
        until = monotonic() + context.call_seconds
        for pause in PATIENCE:
            seen = await self.find(context, thorough=True)
            if (seen is not None and not seen.hopeless) or monotonic() + pause > until:
                return seen
            await asyncio.sleep(pause)
        return await self.find(context, thorough=True)

    async def _begun(self, context: JobContext[SP], handle: JobHandle) -> SeenRun | None:
        """Return the run that was begun for a handle; None while only one before it is to be seen."""
        seen = await self.find(context, thorough=True)
        return None if seen is None or seen.run_id == handle.data.get(AFTER) else seen

    async def _looked_at(self, context: JobContext[SP], handle: JobHandle) -> JobState:
        run_id = self._run_of(handle)
        if run_id is None:
            seen = await self._begun(context, handle)
            if seen is None:
                return self._not_seen(handle)
        else:
            seen = await self.look(context, run_id)
        if seen is None:
            self._forget(handle)
            return JobFailed("lost", "the run is not there any more")
        if seen.url and handle.job_id not in self._runs:
            context.log(f"the run: {seen.url}")
        self._runs[handle.job_id] = seen.run_id
        if not seen.ended:
            return JobRunning(seen.percent, seen.message, self._pause(handle))
        state = await self._ended(context, seen)
        self._forget(handle)
        return state

    async def _ended(self, context: JobContext[SP], run: SeenRun) -> JobState:
        try:
            outputs, words = await self.results(context, run)
        except ReportsRefused as refused:
            if not run.hopeless:
                text = "; ".join(filter(None, (str(refused), run.url)))
                return JobFailed("report", text[:MESSAGE_CHARACTERS], retryable=False)
            outputs, words = SuiteOutputs(url=run.url, conclusion=run.conclusion), str(refused)
        return judged(outputs, context.parameters.min_coverage, words)

    def _run_of(self, handle: JobHandle) -> str | None:
        known = self._runs.get(handle.job_id) or handle.data.get(RUN)
        return str(known) if known else None

    def _not_seen(self, handle: JobHandle) -> JobState:
        if time() - handle.data.get(ASKED, time()) > UNSEEN_SECONDS:
            self._forget(handle)
            text = f"the run was asked for and is not to be seen: {self.hint}"
            return JobFailed("run_not_found", text, retryable=False)
        return JobRunning(message="the run is not to be seen yet", pause_seconds=self._pause(handle))

    def _pause(self, handle: JobHandle) -> float:
        """Return when to look again: later each time, as what has taken long takes longer."""
        looks = self._looks.get(handle.job_id, 0)
        self._looks[handle.job_id] = looks + 1
        return float(self._settings.poll_seconds * min(MOST_GROWTH, GROWTH ** min(looks, 100)))

    def _forget(self, handle: JobHandle) -> None:
        self._runs.pop(handle.job_id, None)
        self._looks.pop(handle.job_id, None)


async def asked_once(
    api: ServiceApi, method: str, path: str, *, body: object = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return the answer to a call that begins something, whatever it says but for a fault that passes.

    Raises `CallFailed`: where nobody knows whether it was done, it is transient and of the kind `UNKNOWN_OUTCOME`.
    """
    try:
        reply = await api.call(method, path, body=body, headers=headers)
    except CallFailed as failure:
        if failure.kind == "no_answer":
            raise CallFailed(str(failure), kind=UNKNOWN_OUTCOME) from failure
        raise
    refused = api.refused(reply, method)
    if not reply.ok and refused.transient:
        refused.kind = refused.kind if reply.status in UNREAD or reply.status not in PASSING else UNKNOWN_OUTCOME
        raise refused
    return reply


def has_key(text: str, key: str) -> bool:
    """Whether a text that people wrote names a key, and not a longer one."""
    return re.search(rf"(?<![\w.-]){re.escape(key)}(?![\w-])", text) is not None


def outputs_with(report: SuiteReport, **more: Any) -> SuiteOutputs:  # noqa: ANN401 - fields of the outputs
    """Return outputs with what reports say; raise `ReportsRefused`."""
    counts = {name: getattr(report, name) for name in ("passed", "failed", "errors", "skipped")}
    said = {**counts, "failing": tuple(report.failing)} if report.counted else {}
    return SuiteOutputs(**{"coverage": report.coverage, **said, **more})


def judged(outputs: SuiteOutputs, minimum: float | None, words: str = "") -> JobState:
    """Return what the end of a run means that is to cover `minimum`; `words` name what failed beside tests."""
    broken = (outputs.failed or 0) + (outputs.errors or 0)
    if outputs.conclusion != SUCCESS:
        told = (_counted(outputs), words, outputs.url)
        text = f"the run ended as {outputs.conclusion}: " + "; ".join(filter(None, told))
        kind = "tests_failed" if broken else f"run_{outputs.conclusion or 'failed'}"[:60]
        return JobFailed(kind, text[:MESSAGE_CHARACTERS])
    if minimum is not None and (outputs.coverage is None or outputs.coverage < minimum):
        said = "nobody knows how much" if outputs.coverage is None else f"{outputs.coverage:.2%}"
        text = "; ".join(filter(None, (f"{said} is covered, {minimum:.2%} is asked for", outputs.url)))
        return JobFailed("coverage", text[:MESSAGE_CHARACTERS], retryable=False)
    return JobSucceeded(outputs)


def _counted(outputs: SuiteOutputs) -> str:
    if outputs.passed is None:
        return ""
    broken = (outputs.failed or 0) + (outputs.errors or 0)
    names = f": {', '.join(outputs.failing[:20])}" if outputs.failing else ""
    return f"{broken} of {broken + outputs.passed} tests failed{names}"


def _may_have_begun(context: JobContext[Any]) -> bool:
    """Whether an earlier call, or an attempt with the same key that was lost, may have begun a run."""
    retries = context.idempotency_key.rpartition("-")[2]
    if retries == f"h{context.attempt}":  # it hedges another attempt, and nobody has had its key before
        return context.may_have_begun
    return context.may_have_begun or not retries.isdecimal() or context.attempt > int(retries) + 1


def _handle(run: SeenRun, key: str, *, adopted: bool, after: SeenRun | None = None) -> JobHandle:
    unseen = {ASKED: time()} | ({} if after is None else {AFTER: after.run_id})
    return JobHandle(
        job_id=run.run_id or key, url=run.url, adopted=adopted, data={RUN: run.run_id} if run.run_id else unseen
    )
