"""What a task may ask of its worker while it runs: to say how far it is, to write to its log, and whether to stop.

Each run sets `CONTEXT` in its own context; its functions find it there, in whatever thread they run.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar
from time import monotonic

from functions._observability.logs import log
from functions._worker.tasks import Assignment, TaskFailed
from functions._worker.written import WRITTEN, Written

PROGRESS_SECONDS = 1.0
"""Between two reports of progress: a task may say more often how far it is, and the newest word is sent."""

HUNDRED = 100


class TaskContext:
    """The means of one attempt at one ticket. Its methods may be called from every thread."""

    def __init__(self, assignment: Assignment, written: Written, announce: Callable[..., None]) -> None:
        """Belong to the running event loop; `announce` reports RUNNING, with the fields that it is given."""
        self.assignment = assignment
        self.written = written
        self.worker_id = ""
        """Name of the worker, as the platform knows it."""
        self.percent: float | None = None
        self.job: dict[str, object] | None = None
        """The job that does the task, where that lives elsewhere, as reports name it."""
        self.stopping = False
        """Whether the run ends as the worker stops, and for no other reason."""
        self.left = False
        """Whether its job was left to the next attempt."""
        self._announce = announce
        self._loop = asyncio.get_running_loop()
        self._until = monotonic() + assignment.timeout_ms / 1000
        self._ended = threading.Event()
        self._told: float | None = None
        self._reports = 0
        self._pause: asyncio.TimerHandle | None = None

    @property
    def ticket_id(self) -> str:
        """Id of the ticket."""
        return self.assignment.ticket_id

    @property
    def attempt(self) -> int:
        """The attempt that this is; the same number means the same work, so it makes an idempotency key."""
        return self.assignment.attempt

    @property
    def traceparent(self) -> str | None:
        """The trace that the flow belongs to."""
        return self.assignment.extensions.get("traceparent")

    @property
    def seconds_left(self) -> float:
        """Time until the attempt times out; never below 0."""
        return max(0.0, self._until - monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the work is of no use any more: cancelled, timed out, or ended by the stop of the worker.

        An async function is cancelled by itself; a plain one, which runs in a thread, has to look now and then.
        """
        return self._ended.is_set()

    def check(self) -> None:
        """Raise `TaskFailed` when the work is of no use any more."""
        if self.cancelled:
            raise TaskFailed("cancelled", "the work is of no use any more")

    def wait(self, seconds: float) -> bool:
        """Block the thread of a plain function for so long, or until it is cancelled; return whether it is."""
        return self._ended.wait(seconds)

    def progress(self, percent: float) -> None:
        """Say how far the work is, 0 to 100. Raises `ValueError`."""
        if not 0 <= percent <= HUNDRED:
            raise ValueError(f"progress is 0 to 100 percent, not {percent}")
        self.percent = float(percent)
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(self._tell, context=Context())

    def name_job(self, job: dict[str, object]) -> None:
        """Tell the platform which job does the task, so that it is known when this worker is gone."""
        self.job = job
        self._announce("job", job=job)

    def log(self, message: str, **fields: object) -> None:
        """Write a line to the log of the ticket, which goes to the platform with the end, and to that of the worker."""
        more = "".join(f" {name}={value}" for name, value in fields.items())
        line = f"{message}{more}"
        self.written.add(f"{line}\n".encode(errors="replace"))
        hearing = WRITTEN.set(None)  # the worker's own line is no output of the task
        try:
            mask = self.written.mask
            log.info("task.log", line=mask.text(line) if mask else line, **self.assignment.ids)
        finally:
            WRITTEN.reset(hearing)

    def end(self) -> None:
        """Let whoever looks know that the run is over; in the loop's thread."""
        self._ended.set()
        if self._pause is not None:
            self._pause.cancel()

    def _tell(self) -> None:
        if self.cancelled or self._pause is not None or self.percent == self._told:
            return
        self._told = self.percent
        self._reports += 1
        self._announce(f"p{self._reports}", progress=self.percent)
        self._pause = self._loop.call_later(PROGRESS_SECONDS, self._tell_again)

    def _tell_again(self) -> None:
        self._pause = None
        self._tell()


CONTEXT: ContextVar[TaskContext | None] = ContextVar("task_context", default=None)
