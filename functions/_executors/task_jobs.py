"""Jobs that are tasks of the worker's own process: one ends with its worker, and the next attempt begins anew."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from functions._core.executors.parameters import ExecutorParameters
from functions._executors.port import JobContext, JobExecutor, JobFailed, JobHandle, JobRunning, JobState
from functions._executors.programs import NEWS_SECONDS

P = TypeVar("P", bound=ExecutorParameters)


class TaskExecutor(JobExecutor[P]):
    """Base of executors whose jobs are tasks; what remains to say is when one begins, and what it does."""

    def __init__(self) -> None:
        self._jobs: dict[str, asyncio.Task[JobState]] = {}

    def begin(self, context: JobContext[P], work: Callable[[], Coroutine[Any, Any, JobState]]) -> JobHandle:
        """Begin the job of an attempt, or find it. When it is cancelled, it ends all that it has started itself."""
        job_id = f"{socket.gethostname()}:{context.idempotency_key}-{context.attempt}"
        known = job_id in self._jobs
        if not known:
            self._jobs[job_id] = asyncio.create_task(work())
        return JobHandle(job_id=job_id, adopted=known)

    async def poll(self, context: JobContext[P], handle: JobHandle) -> JobState:  # noqa: ARG002 - the port's
        """Wait a moment for the end."""
        working = self._jobs.get(handle.job_id)
        if working is None:
            return JobFailed("lost", "the job was one of another worker, with which it ended")
        await asyncio.wait({working}, timeout=NEWS_SECONDS)
        if not working.done():
            return JobRunning(pause_seconds=0)
        del self._jobs[handle.job_id]
        return working.result()

    async def cancel(self, context: JobContext[P], handle: JobHandle) -> None:  # noqa: ARG002 - the port's
        """End it with all that it has started."""
        working = self._jobs.pop(handle.job_id, None)
        if working is not None:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    async def aclose(self) -> None:
        """End all jobs."""
        for working in [*self._jobs.values()]:
            working.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        self._jobs.clear()
