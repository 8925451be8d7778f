"""The slots of a worker: an attempt at a ticket is run once, and only the newest attempt of each ticket.

A task that finds no free slot is refused, never queued. What ended is remembered, so that an assignment that
is delivered again is answered with the same report instead of the same work.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import count
from time import monotonic
from typing import Any, cast

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.json_text import parse_json
from functions._core.records.values import ReportStatus
from functions._observability.logs import log
from functions._worker.context import CONTEXT, TaskContext
from functions._worker.ended import Ended, EndedTickets
from functions._worker.reports import Reporter, settle
from functions._worker.tasks import OUTPUT_LIMIT, Assignment, Executor, TaskFailed
from functions._worker.written import WRITTEN, Written

REPORTS_OWED = 1_000
"""With so many ends unreported no new task is taken: the platform could not be told of it either."""

STOP_SECONDS = 10.0
"""How long a cancelled task may take to end when the worker stops."""

BEAT_SHARE = 1 / 3
"""The part of a heartbeat lease after which RUNNING is said again: one report that is lost does no harm."""

FREED_SECONDS = 1.0
"""How long a worker without a free slot waits before it looks whether one is free."""

BEAT_AT_LEAST = 0.05
"""Seconds between two reports that a task runs, however short its lease."""

LIVE_SECONDS = 5.0
"""Between two reports of what a task has written so far, at least."""

LIVE_SHARE = 0.1
"""The same as a part of how long the task runs: what is written for hours is told less often."""

LIVE_BYTES = 8 * 1024
"""Bytes of the end of it that are told while it runs: each report is a write of the platform's store."""

MESSAGE_LIMIT = 2_000
"""Characters of an error message in a report."""


class RunVerdict(StrEnum):
    """What became of an assignment."""

    TAKEN = "taken"
    KNOWN = "known"
    SUPERSEDED = "superseded"
    BUSY = "busy"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a task ended: with an output of `size` bytes, or with a failure."""

    output: object = None
    size: int = 0
    failure: TaskFailed | None = None


@dataclass(slots=True, eq=False)
class Run:
    """One attempt at one ticket, in its slot."""

    assignment: Assignment
    task: asyncio.Task[RunOutcome]
    written: Written
    context: TaskContext
    began: float = field(default_factory=monotonic)
    cancelled: bool = False
    stopped: bool = False

    def cancel(self) -> None:
        """End the run; nobody is to be told."""
        self.cancelled = True
        self.context.stopping = False
        self.context.end()
        self.task.cancel()

    def stop(self) -> None:
        """End the run because the worker stops, which the platform is to be told."""
        self.stopped = True
        self.context.stopping = not self.cancelled
        self.context.end()
        self.task.cancel()

    def outcome(self) -> RunOutcome:
        """Return how the run, which is over, ended."""
        if not self.task.cancelled():
            return self.task.result()
        if self.stopped:
            return RunOutcome(failure=TaskFailed("worker_stopped", "the worker was stopped"))
        return RunOutcome(failure=TaskFailed("CancelledError", "the task cancelled itself"))


@dataclass(slots=True)
class Totals:
    """What the worker has done since it started; cancelled runs do not count."""

    completed: int = 0
    failed: int = 0
    seconds: float = 0.0


class Runs:
    """All runs of a worker, at most `slots` at a time."""

    def __init__(
        self,
        executor: Executor,
        reporter: Reporter,
        *,
        slots: int,
        announce_from_ms: int | None,
        longest_ms: int | None = None,
        ended: EndedTickets | None = None,
    ) -> None:
        """Say RUNNING for tasks that are estimated to take at least `announce_from_ms`; None: never.

        No task may take more than `longest_ms`, whatever its assignment says. `ended` is what is known from before.
        """
        self.totals = Totals()
        self.stopping = False
        self._executor = executor
        self._reporter = reporter
        self._slots = slots
        self._announce_from_ms = announce_from_ms
        self._longest_ms = longest_ms
        self._runs: dict[str, Run] = {}
        self._ended = ended or EndedTickets()
        self._ends = asyncio.Event()

    @property
    def running(self) -> list[tuple[str, int]]:
        """The tickets that are being worked on, with their attempts."""
        return [(ticket_id, run.assignment.attempt) for ticket_id, run in self._runs.items()]

    @property
    def held(self) -> list[tuple[str, int]]:
        """The tickets, with their attempts, that are being worked on or whose end the platform has not heard of."""
        return list(dict.fromkeys([*self.running, *self._reporter.unheard]))

    @property
    def free(self) -> int:
        """How many assignments find a slot now."""
        if self.stopping or self._reporter.owed >= REPORTS_OWED:
            return 0
        return max(0, self._slots - len(self._runs) - self._executor.abandoned)

    async def freed(self) -> None:
        """Wait for the end of a run; slots that become free otherwise are seen a little later."""
        self._ends.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(FREED_SECONDS):
                await self._ends.wait()

    def named(self) -> list[dict[str, Any]]:
        """Name what this process has: what the platform believes it has beyond that is lost."""
        return [{"ticket_id": ticket_id, "attempt": attempt} for ticket_id, attempt in self.held]

    @property
    def owed(self) -> int:
        """How many ends of tasks the platform has not heard of yet."""
        return self._reporter.owed

    def status_of(self, ticket_id: str) -> dict[str, Any] | None:
        """Return how the newest attempt at a ticket fares; None for a ticket that is not known."""
        run, ended = self._runs.get(ticket_id), self._ended.get(ticket_id)
        if run is not None:
            about = {"task_id": run.assignment.task_id, "attempt": run.assignment.attempt}
            return {**about, "ticket_id": ticket_id, "status": "RUNNING", "progress": run.context.percent}
        if ended is None:
            return None
        if ended.report is None:
            said: dict[str, Any] = {"status": "CANCELLED"}
        else:
            data = ended.report.data
            said = {"status": data["status"], "result": data.get("output"), "error": data.get("error")}
        return {"task_id": ended.task_id, "attempt": ended.attempt, "ticket_id": ticket_id, **said}

    def take_all(self, assignments: Sequence[Assignment]) -> RunVerdict:
        """Start all assignments of a message, or none of them where one would be refused."""
        if len(assignments) == 1:
            return self.take(assignments[0])
        fresh = [assignment for assignment in assignments if assignment.attempt > self._newest(assignment.ticket_id)]
        if fresh and self.stopping:
            return RunVerdict.STOPPING
        replaced = sum(assignment.ticket_id in self._runs for assignment in fresh)
        if fresh and not self._has_room(len(self._runs) - replaced + len(fresh) - 1):
            return RunVerdict.BUSY
        verdicts = [self.take(assignment) for assignment in assignments]
        return RunVerdict.TAKEN if fresh else verdicts[0]

    def take(self, assignment: Assignment) -> RunVerdict:
        """Start an assignment, unless it is known, superseded by a newer attempt, or finds no slot."""
        ticket_id, attempt = assignment.ticket_id, assignment.attempt
        run, ended = self._runs.get(ticket_id), self._ended.get(ticket_id)
        newest = self._newest(ticket_id)
        if attempt < newest:
            return RunVerdict.SUPERSEDED
        if attempt == newest:
            if ended and ended.report and not run:
                self._reporter.deliver(assignment, ended.report)
            return RunVerdict.KNOWN
        if run:
            run.cancel()
        if self.stopping:
            return RunVerdict.STOPPING
        if not self._has_room(len(self._runs) - bool(run)):
            return RunVerdict.BUSY
        assignment = assignment.but(timeout_ms=min(assignment.timeout_ms, self._longest_ms or assignment.timeout_ms))
        written = Written(assignment.mask)
        context = TaskContext(assignment, written, partial(self._reporter.announce, assignment, self.cancel))
        context.worker_id = self._reporter.worker_id
        task = asyncio.create_task(self._perform(run, context))
        self._runs[ticket_id] = started = Run(assignment, task, written, context)
        task.add_done_callback(lambda _: self._end(started))
        log.info("task.started", **assignment.ids, task_type=assignment.task_type)
        return RunVerdict.TAKEN

    def cancel(self, ticket_id: str, attempt: int | None = None) -> None:
        """End the run of a ticket up to `attempt`, any for None; an assignment that comes late is not run."""
        run = self._runs.get(ticket_id)
        if attempt is not None:
            self._ended.put(ticket_id, Ended(attempt))
        if run and (attempt is None or run.assignment.attempt <= attempt):
            run.cancel()

    async def finished(self) -> None:
        """Wait until nothing runs."""
        await settle([run.task for run in self._runs.values()])

    async def stop(self, grace_seconds: float) -> None:
        """Take nothing new, let what runs end for so long, then stop it and report it as retryable.

        Of a task whose job goes on without the worker nothing is reported.
        """
        self.stopping = True
        runs = list(self._runs.values())
        await settle([run.task for run in runs], grace_seconds)
        for run in runs:
            if not run.task.done():
                run.stop()
        await settle([run.task for run in runs], STOP_SECONDS)

    def _newest(self, ticket_id: str) -> int:
        """Return the newest attempt at a ticket that is known; 0 for none."""
        run, ended = self._runs.get(ticket_id), self._ended.get(ticket_id)
        return max(run.assignment.attempt if run else 0, ended.attempt if ended else 0)

    def _has_room(self, occupied: int) -> bool:
        return occupied + self._executor.abandoned < self._slots and self._reporter.owed < REPORTS_OWED

    async def _perform(self, former: Run | None, context: TaskContext) -> RunOutcome:
        """Do the task in its time, after the former attempt at the ticket has let go of it."""
        assignment = context.assignment
        WRITTEN.set(context.written)
        CONTEXT.set(context)
        if former:
            await settle([former.task])
        beating = asyncio.create_task(self._say_that_it_runs(assignment))
        telling = asyncio.create_task(self._tell_log(context))
        limit = asyncio.timeout(assignment.timeout_ms / 1000)
        try:
            async with limit:
                output = await self._executor.run(assignment)
        except Exception as error:  # noqa: BLE001 - a faulty executor fails its task, never the worker
            if limit.expired():
                return RunOutcome(failure=TaskFailed("timeout", f"no end within {assignment.timeout_ms} ms"))
            return RunOutcome(failure=TaskFailed.of(error))
        finally:
            beating.cancel()
            telling.cancel()
            context.end()
        return _checked(output)

    async def _say_that_it_runs(self, assignment: Assignment) -> None:
        """Report RUNNING once if the task is long, and again and again if its lease asks for it."""
        WRITTEN.set(None)  # lines about reports are no output of the task
        lease = assignment.heartbeat_timeout_ms
        long = self._announce_from_ms is not None and assignment.estimated_duration_ms >= self._announce_from_ms
        if long or lease:
            self._reporter.announce(assignment, self.cancel)
        for beat in count(1) if lease else ():
            await asyncio.sleep(max(BEAT_AT_LEAST, (lease or 0) / 1000 * BEAT_SHARE))
            self._reporter.announce(assignment, self.cancel, beat)

    async def _tell_log(self, context: TaskContext) -> None:
        """Report what the task has written so far, where there is more of it."""
        WRITTEN.set(None)  # lines about reports are no output of the task
        told, began = 0, monotonic()
        for number in count(1) if self._announce_from_ms is not None else ():
            await asyncio.sleep(max(LIVE_SECONDS, (monotonic() - began) * LIVE_SHARE))
            if context.written.total > told:
                told, text = context.written.total, context.written.so_far(LIVE_BYTES)
                self._reporter.announce(context.assignment, self.cancel, f"l{number}", log=text)

    def _end(self, run: Run) -> None:
        """Free the slot, remember the end and report it."""
        self._ends.set()
        assignment = run.assignment
        ticket_id, attempt = assignment.ticket_id, assignment.attempt
        if self._runs.get(ticket_id) is run:
            del self._runs[ticket_id]
        seconds = monotonic() - run.began
        about = {**assignment.ids, "seconds": round(seconds, 3)}
        job = run.context.job
        if run.cancelled:
            self._ended.put(ticket_id, Ended(attempt, task_id=assignment.task_id))
            if job:  # nobody waits for a report, but that the job is over has to be known
                self._reporter.announce(assignment, self.cancel, "job-ended", job=job)
            log.info("task.cancelled", **about)
            return
        if run.context.left:  # no end to report: the platform gives the ticket to another worker when this one leaves
            log.info("task.left", **about)
            return
        outcome = run.outcome()
        log_text = run.written.text()
        report = self._report(assignment, outcome, log_text, run)
        self._ended.put(ticket_id, Ended(attempt, report, outcome.size + len(log_text), assignment.task_id))
        self.totals.seconds += seconds
        if outcome.failure:
            self.totals.failed += 1
            log.info("task.failed", error=outcome.failure.kind, **about)
        else:
            self.totals.completed += 1
            log.info("task.completed", **about)
        self._reporter.deliver(assignment, report)

    def _report(self, assignment: Assignment, outcome: RunOutcome, log_text: str, run: Run) -> CloudEvent:
        """Return the report of an end; secrets that the task had do not go with it."""
        failure, mask = outcome.failure, run.written.mask
        wrote: dict[str, Any] = {"log": log_text} if log_text else {}
        wrote |= {"job": run.context.job} if run.context.job else {}
        if failure is None:
            output = mask.json(outcome.output) if mask else outcome.output
            return self._reporter.event(assignment, ReportStatus.COMPLETED, output=output, **wrote)
        message = mask.text(failure.message) if mask else failure.message
        error = {
            "type": failure.kind,
            # What the system cannot read as text may stand in a message; JSON readers refuse it.
            "message": message[:MESSAGE_LIMIT].encode(errors="replace").decode(),
            "retryable": failure.retryable,
        }
        return self._reporter.event(assignment, ReportStatus.FAILED, error=error, **wrote)


def _checked(output: object) -> RunOutcome:
    """Return the output as the platform will read it, or the failure if it would not take it."""
    try:
        text = json.dumps(output, allow_nan=False)
        if len(text) > OUTPUT_LIMIT:
            message = f"the output has {len(text)} bytes, at most {OUTPUT_LIMIT} are allowed"
            return RunOutcome(failure=TaskFailed("output_too_large", message, retryable=False))
        # One level deeper, as in the report.
        [value] = cast("list[object]", parse_json(f"[{text}]".encode()))
    except (TypeError, ValueError, RecursionError, Rejected) as error:
        message = f"the output is not JSON: {error}"
        return RunOutcome(failure=TaskFailed("output_not_json", message, retryable=False))
    return RunOutcome(value, len(text))
