"""An executor whose jobs a test moves by hand, and assignments for executors without a platform."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.values import Model, TaskType
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
)
from functions._worker import Assignment
from functions._worker.jobs import _context as job_context


class HandParameters(ExecutorParameters):
    """What a job of the test may be told."""

    word: str
    """Any word."""


class HandOutputs(Model):
    """What comes of it."""

    word: str


class HandExecutor(JobExecutor[HandParameters]):
    """Keeps jobs in `jobs` by their key, as a service would; `faults` are raised by the next calls."""

    name: ClassVar[str] = "hand"
    family: ClassVar[str] = "execute"
    task_types: ClassVar[frozenset[TaskType]] = frozenset({TaskType.EXECUTE, TaskType.TEST})
    Parameters = HandParameters
    Outputs = HandOutputs

    def __init__(self) -> None:
        self.jobs: dict[str, JobState] = {}
        self.calls: list[str] = []
        self.faults: list[Exception] = []
        self.contexts: list[JobContext[HandParameters]] = []
        self.held = asyncio.Event()
        self.held.set()

    async def start(self, context: JobContext[HandParameters]) -> JobHandle:
        self._call("start")
        self.contexts.append(context)
        key = context.idempotency_key
        adopted = key in self.jobs and not isinstance(self.jobs[key], JobFailed)
        if not adopted:
            self.jobs[key] = JobRunning(pause_seconds=0)
        await self.held.wait()
        return JobHandle(job_id=key, url=f"https://jobs.test/{key}", adopted=adopted)

    async def poll(self, context: JobContext[HandParameters], handle: JobHandle) -> JobState:  # noqa: ARG002 - the port's
        self._call("poll")
        return self.jobs[handle.job_id]

    async def cancel(self, context: JobContext[HandParameters], handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        self._call("cancel")
        self.jobs[handle.job_id] = JobFailed("cancelled", "somebody cancelled it")

    def succeed(self, key: str) -> None:
        self.jobs[key] = JobSucceeded(HandOutputs(word="done"))

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.faults:
            raise self.faults.pop(0)


def away(**changes: Any) -> CallFailed:
    return CallFailed("the service is away", **changes)


async def by_looks(made: Callable[[], JobExecutor[Any]], parameters: dict[str, Any], **about: Any) -> JobState:
    """Do a job as a function of a cloud does: each call is made by another process, which has the handle alone."""

    async def called(call: str, *arguments: Any) -> Any:
        executor = made()
        context = job_context(executor, assigned(parameters, **about))
        try:
            return await getattr(executor, call)(context, *arguments)
        finally:
            await executor.aclose()

    handle = await called("start")
    state: JobState = JobRunning()
    while isinstance(state, JobRunning):
        state = await called("poll", JobHandle.model_validate_json(handle.model_dump_json()))
        await asyncio.sleep(0.02)
    return state


def assigned(parameters: dict[str, Any], **changes: Any) -> Assignment:
    """Return an assignment as a worker reads it."""
    about = {"ticket_id": "t-1", "attempt": 1, "callback_url": "http://platform.test/", "task_type": "EXECUTE"}
    return Assignment.model_validate({**about, "parameters": parameters, **changes})
