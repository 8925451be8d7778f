"""Tickets as jobs of executors: chosen by the parameters, started once, followed to their end, cancelled if need be."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from functions._core.decision.secret_references import values_at
from functions._core.errors import Rejected
from functions._core.executors.parameters import checked_parameters
from functions._core.executors.table import FORGE
from functions._core.records.values import JsonObject, TaskType
from functions._core.records.worker import AgentType
from functions._executors.file_store import store_at
from functions._executors.meter import JobMeter
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobSucceeded,
    capabilities_of,
    json_of,
)
from functions._executors.settings import ExecutorSettings
from functions._observability.logs import log
from functions._worker.context import CONTEXT, TaskContext
from functions._worker.job_files import JobFiles
from functions._worker.job_watch import JobsWatch, JobWatch
from functions._worker.metrics_door import WorkerPage
from functions._worker.simulation import SimulatedExecutors, pretended
from functions._worker.tasks import Assignment, TaskFailed

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each repetition of a call that failed for a passing reason."""

LONGEST_PAUSE = 60.0
"""Seconds between two looks at a job at most, and the longest that a service may ask to be left alone."""

SHORTEST_PAUSE = 0.05
"""Seconds between the beginnings of two looks at a job at least."""

WORDS_AT_ONCE, WORDS_SECONDS = 100, 1.0
"""Words about the progress of a job that are logged as they come; after that one a second."""

CANCEL_SECONDS = 8.0
"""How long it may take to cancel a job, or to learn that one was started meanwhile; a worker that stops waits 10 s."""

WEB = re.compile(r"https?://\S{1,2000}$")
"""An address that the platform takes as that of a job."""

T = TypeVar("T")


class _Job(NamedTuple):
    """A job that this attempt is about."""

    executor: JobExecutor[Any]
    context: JobContext[Any]
    handle: JobHandle
    meter: JobMeter


class JobsExecutor:
    """Does tasks by the executors of the port, which `aclose` closes."""

    abandoned = 0

    def __init__(
        self,
        executors: Sequence[JobExecutor[Any]],
        pauses: Sequence[float] = PAUSES,
        settings: ExecutorSettings | None = None,
    ) -> None:
        """Take executors with different names; the first one for a type of task does those that name none."""
        self._executors = {executor.name: executor for executor in executors}
        self._pauses = pauses
        self._settings = settings or ExecutorSettings()
        self._store = store_at(self._settings.logs)
        self._simulation = SimulatedExecutors(self._settings)
        self.watch = JobsWatch(executors, self._settings)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What a worker offers that has these executors."""
        return tuple(sorted({one for executor in self._executors.values() for one in capabilities_of(executor)}))

    @property
    def agent_type(self) -> AgentType:
        """What a worker is for that has these executors: a FORGE has those of the code forge alone."""
        families = {executor.family for executor in self._executors.values()}
        return AgentType.FORGE if families == {FORGE} else AgentType.WORKER

    @property
    def page(self) -> WorkerPage:
        """What `GET /metrics` of the worker tells."""
        return WorkerPage(self.watch.metrics.text, self._settings.metrics_token, self._settings.metrics_port)

    async def aclose(self) -> None:
        """Close the executors."""
        for executor in self._executors.values():
            await executor.aclose()
        await self.watch.aclose()

    async def run(self, assignment: Assignment) -> object:
        """Do the job of a ticket and return its outputs; a job that nobody waits for any more is cancelled."""
        executor = self._chosen(assignment)
        with self.watch.job(executor, assignment) as watch:
            context = replace(_context(executor, assignment), traceparent=watch.traceparent)
            if missing := await self._simulation.missing(executor):
                watch.meter.count("simulated_total")
                return pretended(executor, context, missing)
            try:
                output = await self._kept(executor, context, watch)
            except asyncio.CancelledError:
                watch.timed_out = not context.seconds_left
                raise
            watch.succeeded(output)
            return output

    async def _kept(self, executor: JobExecutor[Any], context: JobContext[Any], watch: JobWatch) -> Mapping[str, Any]:
        """Do the job, and keep its log and artifacts where there is a store."""
        task = CONTEXT.get()
        if self._store is None:
            try:
                return await self._done(executor, context, watch)
            finally:
                watch.logged(task.written.total if task is not None else 0, "")
        files = JobFiles(context, self._store, self._settings.log_mb)
        wanted = False
        try:
            output = await self._done(executor, files.context, watch)
            wanted = True
        except TaskFailed:
            wanted = True
            raise
        finally:
            uri = await files.end(wanted=wanted)
            watch.logged(files.log.bytes, files.log.result)
        return {"logs_uri": uri, **output} if uri else output

    async def _done(self, executor: JobExecutor[Any], context: JobContext[Any], watch: JobWatch) -> Mapping[str, Any]:
        """Start the job, follow it to its end, and return its outputs with its name."""
        begun = monotonic()
        job = _Job(executor, context, await self._started(executor, context, watch.meter), watch.meter)
        watch.meter.time("start_duration_seconds", monotonic() - begun)
        watch.found(job.handle)
        about = {"executor": executor.name, "job_id": job.handle.job_id, "adopted": job.handle.adopted}
        log.info("job.started", **_ids(context), **about)
        try:
            ended = await self._followed(job)
        except BaseException as error:  # whatever it was: nobody looks at the job any more
            if not (isinstance(error, asyncio.CancelledError) and _left(executor, context, job.handle.job_id)):
                await self._cancelled(job)
            raise
        if isinstance(ended, JobFailed):
            raise TaskFailed(ended.kind, ended.message, retryable=ended.retryable)
        return {**json_of(ended.outputs), "job": _named(job)}

    def _chosen(self, assignment: Assignment) -> JobExecutor[Any]:
        provider, task_type = assignment.parameters.get("provider"), TaskType(assignment.task_type or TaskType.EXECUTE)
        fitting = [one for one in self._executors.values() if task_type in one.task_types]
        if provider is not None:
            fitting = [one for one in fitting if one.name == provider]
        if not fitting:
            asked = f"provider {str(provider)[:60]!r}" if provider is not None else "no provider"
            raise TaskFailed("unknown_provider", f"this worker has no executor for {task_type} with {asked}")
        return fitting[0]

    async def _started(self, executor: JobExecutor[Any], context: JobContext[Any], meter: JobMeter) -> JobHandle:
        """Start the job; when cancelled meanwhile, wait for the handle, as a job may be there that has to be ended.

        One that may have begun is left where it can be: the next attempt begins it with the same key.
        """
        starting = asyncio.create_task(self._called(lambda: executor.start(context), context, meter))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting}, timeout=CANCEL_SECONDS)
            if not starting.done():
                _left(executor, context, "")
            elif not starting.cancelled() and starting.exception() is None:
                job = _Job(executor, context, starting.result(), meter)
                if not _left(executor, context, job.handle.job_id):
                    await self._cancelled(job)
            starting.cancel()
            raise

    async def _followed(self, job: _Job) -> JobSucceeded | JobFailed:
        """Look at the job until it has ended; a service that is away for long is asked again and again."""
        said, named = "", False
        while True:
            begun = monotonic()
            job.meter.count("poll_total")
            try:
                state = await self._called(lambda: job.executor.poll(job.context, job.handle), job.context, job.meter)
            except TaskFailed as failure:
                job.meter.count("poll_failures_total")
                if not failure.retryable:
                    raise
                job.context.log(f"the job {job.handle.job_id} cannot be looked at: {failure.message}")
                await asyncio.sleep(self._pauses[-1])
                continue
            finally:
                job.meter.time("poll_duration_seconds", monotonic() - begun)
            if isinstance(state, JobSucceeded | JobFailed):
                _told(job, ended=True)
                return state
            if not named and getattr(job.executor, "detached", False):
                _name(job)
            named = True
            job.context.progress(state.percent, state.message if state.message != said else "")
            said = state.message
            least = SHORTEST_PAUSE - (monotonic() - begun)
            await asyncio.sleep(max(least, min(state.pause_seconds, LONGEST_PAUSE), 0.0))

    async def _called(self, call: Callable[[], Awaitable[T]], context: JobContext[Any], meter: JobMeter) -> T:
        """Make a call, repeated while it fails for a passing reason; raise `TaskFailed`."""
        for pause in (*self._pauses, None):
            try:
                return await call()
            except CallFailed as failure:
                wait = max(pause or 0.0, failure.after_seconds)
                meter.count("rate_limited_total", by=failure.after_seconds > 0)
                if not failure.transient or pause is None or wait > min(LONGEST_PAUSE, context.seconds_left):
                    raise TaskFailed(failure.kind, str(failure), retryable=failure.transient) from failure
            meter.count("retries_total")
            meter.count("wait_seconds_total", by=wait)
            await asyncio.sleep(wait)
        raise AssertionError("the last call returns or raises")

    async def _cancelled(self, job: _Job) -> None:
        """Cancel a job in a time that a worker which stops has; what is left of it is named in the log."""
        until = monotonic() + CANCEL_SECONDS  # the time of the ticket itself may be over
        context = replace(job.context, remaining=lambda: until - monotonic())
        ending = self._called(lambda: job.executor.cancel(context, job.handle), context, job.meter)
        cancelling = asyncio.create_task(ending)
        about = {"executor": job.executor.name, "job_id": job.handle.job_id, "ticket_id": job.context.ticket_id}
        while not cancelling.done() and context.seconds_left:
            with suppress(asyncio.CancelledError):  # a second one, of a worker that stops, changes nothing
                await asyncio.wait({cancelling}, timeout=context.seconds_left)
        if not cancelling.done():
            cancelling.cancel()
            job.meter.count("jobs_leaked_total")
            log.error("job.leaked", **about, reason="it did not answer in time")
        elif not cancelling.cancelled() and (error := cancelling.exception()) is not None:
            job.meter.count("jobs_leaked_total")
            log.error("job.leaked", **about, reason=type(error).__name__)
        else:
            job.meter.count("jobs_cancelled_total")
            _told(job, ended=True)
            log.info("job.cancelled", **about)


def _context(executor: JobExecutor[Any], assignment: Assignment) -> JobContext[Any]:
    try:
        parameters = checked_parameters(executor.Parameters, assignment.parameters)
    except Rejected as refusal:
        raise TaskFailed(refusal.code, str(refusal), retryable=False) from None
    task = CONTEXT.get()
    until = monotonic() + assignment.timeout_ms / 1000
    wired: dict[str, Any] = {"remaining": lambda: until - monotonic()}
    if task is not None:
        wired = {"remaining": lambda: task.seconds_left, "write": task.written.add, "tell": _teller(task)}
        wired["worker_id"] = task.worker_id
    return JobContext(
        parameters=parameters,
        ticket_id=assignment.ticket_id,
        attempt=assignment.attempt,
        idempotency_key=assignment.work_key,
        idempotent=assignment.idempotent,
        flow_id=assignment.flow_id,
        plan_id=assignment.plan_id,
        task_id=assignment.task_id,
        task_type=TaskType(assignment.task_type or TaskType.EXECUTE),
        description=assignment.description,
        correlation_id=assignment.correlation_id,
        traceparent=assignment.extensions.get("traceparent"),
        secrets=values_at(assignment.parameters, assignment.secrets),
        **wired,
    )


def _teller(task: TaskContext) -> Callable[[float | None, str], None]:
    """Return what takes the progress of a job: the number goes to the platform, the words to the log.

    Of very many words some are left out, as each is a line in the log of the worker, too.
    """
    told, last = 0, 0.0

    def tell(percent: float | None, message: str) -> None:
        nonlocal told, last
        if percent is not None:
            task.progress(percent)
        if message and (told < WORDS_AT_ONCE or monotonic() - last >= WORDS_SECONDS):
            told, last = told + 1, monotonic()
            task.log(message)

    return tell


def _ids(context: JobContext[Any]) -> JsonObject:
    """Return the fields of a log line about a ticket."""
    names = ("ticket_id", "attempt", "flow_id", "correlation_id")
    return {name: getattr(context, name) for name in names}


def _name(job: _Job) -> None:
    """Let the platform know of a job that goes on without this worker."""
    task = CONTEXT.get()
    if task is not None and task.job is None:
        task.name_job(_word(job, ended=False))


def _told(job: _Job, *, ended: bool) -> None:
    """Let the last word on a job that the platform knows of say whether it is over.

    It may know of one that an earlier attempt has named.
    """
    task = CONTEXT.get()
    if task is None:
        return
    adopted = task.job is None and job.handle.adopted and getattr(job.executor, "detached", False)
    if adopted or (task.job is not None and task.job["job_id"] == job.handle.job_id[:512]):
        task.job = _word(job, ended=ended)


def _word(job: _Job, *, ended: bool) -> dict[str, object]:
    """Return what a report says of a job."""
    said: dict[str, object] = {
        "executor": job.executor.name,
        "job_id": job.handle.job_id[:512],
        "ended": ended,
    }
    return said | ({"url": job.handle.url} if WEB.match(job.handle.url) else {})


def _left(executor: JobExecutor[Any], context: JobContext[Any], job_id: str) -> bool:
    """Leave a job as it is where its worker stops and the next attempt goes on with it; return whether that is so."""
    task = CONTEXT.get()
    goes_on = task is not None and task.stopping and task.assignment.idempotent
    if task is None or not goes_on or not getattr(executor, "detached", False):
        return False
    task.left = executor.outlives(context.parameters)
    if task.left:
        log.info("job.left", **_ids(context), executor=executor.name, job_id=job_id)
    return task.left


def _named(job: _Job) -> JsonObject:
    """Return how a job is found again by whoever reads the output of its ticket."""
    named = {"executor": job.executor.name, "id": job.handle.job_id, "adopted": job.handle.adopted}
    return named | ({"url": job.handle.url} if job.handle.url else {})
