"""The jobs of the platform's own worker: begun once, looked at now and then, ended when nobody wants them.

Nothing is held between two looks: a job is its record (`functions/_core/jobs/records.py`), its parameters are made
anew for each call, with the secrets as they are then. The wake-ups of its ticket bring the looks. What ends an attempt
is said by the same reports as those of any worker; their answers say whether anybody wants the job still.

    1  the ticket is accepted, the record held, and the job begun; one that has ended at once is reported
    2  the id of the job is stored, then RUNNING is reported; each look reports how far it is, or the end
    3  a job that no attempt wants is cancelled, and named as leaked where that cannot be done
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from functions._core.decision.secret_references import values_at
from functions._core.errors import Conflict, Rejected, Unavailable, Undeliverable, Unreadable
from functions._core.events.jobs import JobDue
from functions._core.executors.parameters import ExecutorParameters, checked_parameters
from functions._core.jobs.records import (
    JobRecord,
    JobStatus,
    forget_job,
    job_of,
    jobs_of,
    page_of_jobs,
    put_job,
    wanted,
)
from functions._core.masking import Mask
from functions._core.ports import Ports
from functions._core.records.attempts import of_attempt, work_key
from functions._core.records.json_text import json_size
from functions._core.records.models import HELD_TICKETS, Ticket
from functions._core.records.values import TicketStatus, add_time
from functions._core.records.worker import OWN_WORKER
from functions._executors.own_worker import Lines, OwnWorkerDoors, called
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobExecutor,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
    JobSucceeded,
    json_of,
)
from functions._observability.logs import log

SECONDS, CALL_SECONDS = 20.0, 15.0
"""How long one look may take, with all of its calls: less than an invocation may; and how long one of the calls."""

NO_ANSWER = f"no answer within {SECONDS:g} s"

LEASE = timedelta(seconds=60)
"""For so long a job is left to the process that works on it."""

GRACE = timedelta(seconds=60)
"""So long a worker has to say that it has ended a job that nobody wants any more."""

FAULTS = 3
"""Calls in a row that may fail for a passing reason: of those that begin a job, and of those that end one."""

OUTPUT_BYTES, HANDLE_BYTES = 256 * 1024, 16 * 1024
"""Bytes of the outputs of a job, and of what its handle has beside its id."""

MESSAGE = 2_000
"""Characters of an error message in a report."""

PAGE = 50


@dataclass(frozen=True, slots=True)
class _Job:
    """A job that is held by this process, at `version` of its record."""

    record: JobRecord
    version: int
    ticket: Ticket
    executor: JobExecutor[Any]
    context: JobContext[Any]
    lines: Lines
    mask: Mask

    @property
    def handle(self) -> JobHandle:
        """What the executor knows the job by."""
        one = self.record
        return JobHandle(job_id=one.job_id or "", url=one.url, adopted=one.adopted, data=one.data)

    def but(self, **changes: Any) -> "_Job":  # noqa: ANN401 as a record has it
        """Return it with another record."""
        return replace(self, record=self.record.but(**changes))


class OwnJobs:
    """Does the jobs of the platform's own worker, as one process does."""

    def __init__(
        self,
        executors: Sequence[JobExecutor[Any]],
        ports: Ports,
        doors: OwnWorkerDoors,
        look: timedelta,
        alone_since: datetime | None = None,
    ) -> None:
        """Take executors whose jobs are `detached`; a job is looked at after `look` at the soonest.

        A process that is the only one, `alone_since` then, waits for no process before it.
        """
        self._nobodys_until = None if alone_since is None else add_time(alone_since, LEASE)
        self._executors = {executor.name: executor for executor in executors}
        self._ports, self._entries, self._doors, self._look = ports, ports.key_values, doors, look

    async def due(self, due: JobDue) -> None:
        """Look at the jobs of a ticket: end those that nobody wants, go on with that of the attempt."""
        ticket = await self._ticket(due.ticket_id, due.flow_id)
        for record, version in await jobs_of(self._entries, due.ticket_id, due.flow_id):
            if not wanted(record, ticket):
                await self._unwanted(record, version, ticket)
        mine = ticket and of_attempt(ticket, due.attempt)
        if mine and mine.status in HELD_TICKETS and (mine.worker_id, mine.attempt) == (OWN_WORKER, due.attempt):
            await self._go_on(mine)

    async def look_around(self, after: str | None) -> str | None:
        """End jobs that nobody wants, a page of them; return behind which the next page begins."""
        page, following = await page_of_jobs(self._entries, after, PAGE)
        for record, version in page:
            if record.status is JobStatus.LEAKED:
                continue
            ticket = await self._ticket(record.ticket_id, record.flow_id)
            if not wanted(record, ticket):
                await self._unwanted(record, version, ticket)
        return following

    async def aclose(self) -> None:
        """Let go of connections."""
        for executor in self._executors.values():
            await executor.aclose()

    async def _ticket(self, ticket_id: str, flow_id: str) -> Ticket | None:
        try:
            return (await self._ports.store.tickets([ticket_id], flow_id)).get(ticket_id)
        except Unreadable as unreadable:
            raise Unavailable(f"ticket {ticket_id} cannot be read now") from unreadable

    async def _go_on(self, ticket: Ticket) -> None:
        """Begin the job of an attempt, or look at it, unless another process does, or it is too early."""
        now = self._ports.clock.now()
        known, version = await job_of(self._entries, ticket.flow_id, work_key(ticket, ticket.attempt))
        if known is not None and (self._held(known, now) or (known.attempt == ticket.attempt and now < known.look_at)):
            return
        if ticket.acknowledged_at is None and not await self._doors.accepted(ticket):
            return
        cut_off = known is not None and known.status is JobStatus.STARTING and known.held_until is not None
        record = (known or _new(ticket, now)).but(attempt=ticket.attempt, worker_id=OWN_WORKER, unwanted_at=None)
        try:
            version = await self._hold(record, version, now)
        except Conflict:
            return
        try:
            async with asyncio.timeout(SECONDS):
                job, state = await self._looked(await self._prepared(record, version, ticket), cut_off=cut_off)
        except CallFailed as failure:
            await self._not_begun(record, version, ticket, failure)
        except TimeoutError:
            # What was asked for may have begun; `start` looks for it, where the task may be begun twice.
            again = ticket.idempotent or record.job_id is not None
            kind = "" if again else "unknown_outcome"
            await self._not_begun(record, version, ticket, CallFailed(NO_ANSWER, transient=again, kind=kind))
        else:
            await self._said(job, state)

    async def _looked(self, job: _Job, *, cut_off: bool) -> tuple[_Job, JobState | CallFailed]:
        """Begin the job, if nobody has, and look at it; return what is known of it then."""
        if job.record.job_id is None:
            if cut_off and not job.ticket.idempotent:
                text = "it was cut off while the job was begun, and the task must not be begun twice"
                raise CallFailed(text, transient=False, kind="unknown_outcome")
            handle = await called(lambda: job.executor.start(job.context))
            if json_size(handle.data) > HANDLE_BYTES:
                await job.executor.cancel(job.context, handle)
                raise CallFailed(f"its handle has more than {HANDLE_BYTES} bytes", transient=False, kind="bad_handle")
            found = {"job_id": handle.job_id, "url": handle.url, "data": dict(handle.data), "adopted": handle.adopted}
            job = job.but(status=JobStatus.RUNNING, faults=0, **found)
            about = {"executor": job.executor.name, "job_id": handle.job_id, "adopted": handle.adopted}
            log.info("job.started", ticket_id=job.ticket.ticket_id, attempt=job.ticket.attempt, **about)
        try:
            return job, await called(lambda: job.executor.poll(job.context, job.handle))
        except CallFailed as failure:
            return job, failure

    async def _said(self, job: _Job, state: JobState | CallFailed) -> None:
        """Store and report what is known of a job; end it where the attempt counts no more."""
        if isinstance(state, CallFailed) and not state.transient:
            await self._unwanted(job.record.but(held_until=None), job.version, job.ticket)
            await self._failed(job.ticket, JobFailed(state.kind, str(state), retryable=False), job.lines.text)
            return
        if isinstance(state, JobSucceeded | JobFailed):
            await self._ended(job, state)
            return
        record = job.record.but(held_until=None, log=job.lines.text, **self._next(job.record, state))
        if not await self._kept(record, job.version):
            return
        moved = record.percent is not None and record.percent != job.ticket.progress
        if job.ticket.started_at is None or moved or job.ticket.heartbeat_timeout_ms:
            progress = {} if record.percent is None else {"progress": record.percent}
            counts = await self._doors.report(job.ticket, "RUNNING", progress)
        else:
            counts = wanted(record, await self._ticket(record.ticket_id, record.flow_id))
        if not counts:  # the attempt has ended meanwhile, and whoever said so may have found the job held
            await self.due(JobDue(flow_id=record.flow_id, ticket_id=record.ticket_id, attempt=record.attempt))

    def _next(self, record: JobRecord, state: JobRunning | CallFailed) -> dict[str, Any]:
        """Return the changes of a record whose job is to be looked at again."""
        now = self._ports.clock.now()
        if isinstance(state, CallFailed):
            pause = max(self._look, timedelta(seconds=min(state.after_seconds, 3600)))
            return {"faults": record.faults + 1, "look_at": add_time(now, pause)}
        percent = record.percent if state.percent is None else state.percent
        return {"faults": 0, "percent": percent, "look_at": add_time(now, timedelta(seconds=state.pause_seconds))}

    async def _ended(self, job: _Job, state: JobSucceeded | JobFailed) -> None:
        """Report the end of a job, then forget it: an end that was not heard is found by the next look."""
        named = {"executor": job.executor.name, "id": job.record.job_id, "adopted": job.record.adopted}
        named |= {"url": job.record.url} if job.record.url else {}
        if isinstance(state, JobSucceeded):
            output = job.mask.json({**json_of(state.outputs), "job": named})
            size = json_size(output)
            if size > OUTPUT_BYTES:
                text = f"the output has {size} bytes, at most {OUTPUT_BYTES} are allowed"
                state = JobFailed("output_too_large", text, retryable=False)
            else:
                await self._doors.report(job.ticket, "COMPLETED", {"output": output, **_log_of(job.lines.text)})
        if isinstance(state, JobFailed):
            state = replace(state, message=job.mask.text(state.message))
            await self._failed(job.ticket, state, job.lines.text)
        await forget_job(self._entries, job.record, job.version)

    async def _failed(self, ticket: Ticket, why: JobFailed, text: str) -> None:
        error = {"type": why.kind, "message": why.message[:MESSAGE], "retryable": why.retryable}
        await self._doors.report(ticket, "FAILED", {"error": error, **_log_of(text)})

    async def _not_begun(self, record: JobRecord, version: int, ticket: Ticket, failure: CallFailed) -> None:
        """Let a job that could not be begun, or made ready to be looked at, be tried again, or let its attempt fail."""
        now = self._ports.clock.now()
        known = record.job_id is not None
        in_time = failure.after_seconds <= _seconds_left(ticket, now)
        if failure.transient and (known or record.faults < FAULTS) and in_time:
            waits = self._next(record, failure)
            await self._kept(record.but(held_until=None, **waits), version)
            return
        await self._failed(ticket, JobFailed(failure.kind, str(failure), retryable=failure.transient), record.log)
        if known:
            await self._unwanted(record.but(held_until=None), version, ticket)
        elif failure.kind == "unknown_outcome":
            await self._leak(record, version, str(failure))
        else:
            await forget_job(self._entries, record, version)

    async def _unwanted(self, record: JobRecord, version: int, ticket: Ticket | None) -> None:
        """End a job that nobody wants; of another worker's, wait for its word first. One that is not ended is named."""
        now = self._ports.clock.now()
        if record.status is JobStatus.LEAKED or self._held(record, now):
            return
        if record.worker_id != OWN_WORKER:
            if ticket is not None and (ticket.status, ticket.attempt) == (TicketStatus.COMPLETED, record.attempt):
                await forget_job(self._entries, record, version)  # its last word has overtaken the first
            elif record.unwanted_at is None:
                await self._kept(record.but(unwanted_at=now), version)
            elif now >= add_time(record.unwanted_at, GRACE):
                why = record.why or f"worker {record.worker_id} has not said that it has ended it"
                await self._leak(record, version, why)
        elif record.job_id is not None:
            await self._cancel(record, version, ticket, now)
        elif record.held_until is not None:
            await self._leak(record, version, "it may have been begun: the platform was cut off meanwhile")
        else:
            await forget_job(self._entries, record, version)

    async def _cancel(self, record: JobRecord, version: int, ticket: Ticket | None, now: datetime) -> None:
        if record.unwanted_at is not None and now < record.look_at:
            return
        record = record.but(unwanted_at=record.unwanted_at or now, faults=record.faults if record.unwanted_at else 0)
        try:
            version = await self._hold(record, version, now)
            async with asyncio.timeout(SECONDS):
                job = await self._prepared(record, version, ticket)
                await called(lambda: job.executor.cancel(job.context, job.handle))
        except Conflict:
            return
        except (CallFailed, TimeoutError) as error:
            failure = error if isinstance(error, CallFailed) else CallFailed(NO_ANSWER)
            if failure.transient and record.faults < FAULTS:
                await self._kept(record.but(held_until=None, **self._next(record, failure)), version)
            else:
                await self._leak(record, version, f"it could not be cancelled: {failure}")
        else:
            await forget_job(self._entries, record, version)
            log.info("job.cancelled", ticket_id=record.ticket_id, executor=record.executor, job_id=record.job_id)

    async def _leak(self, record: JobRecord, version: int, why: str) -> None:
        """Keep a job for people, and tell them of it."""
        leaked = record.but(status=JobStatus.LEAKED, held_until=None, why=why[:MESSAGE])
        if await self._kept(leaked, version):
            await self._doors.leaked(leaked)

    async def _kept(self, record: JobRecord, version: int) -> bool:
        try:
            await put_job(self._entries, record, version, self._ports.clock.now())
        except Conflict:  # another process was faster
            return False
        return True

    def _held(self, record: JobRecord, now: datetime) -> bool:
        """Whether another process works on a job."""
        until, before = record.held_until, self._nobodys_until
        return until is not None and now < until and (before is None or until > before)

    async def _hold(self, record: JobRecord, version: int, now: datetime) -> int:
        """Take a job for a while; raise `Conflict` when another process has it."""
        return await put_job(self._entries, record.but(held_until=add_time(now, LEASE)), version, now)

    async def _prepared(self, record: JobRecord, version: int, ticket: Ticket | None) -> _Job:
        """Return what a call about a job needs; raise `CallFailed`."""
        if ticket is None:
            raise CallFailed("its ticket is gone", transient=False)
        executor = self._executors.get(record.executor)
        if executor is None:
            text = f"the platform has no executor {record.executor[:60]!r}"
            raise CallFailed(text, transient=False, kind="unknown_provider")
        try:
            given = await self._doors.parameters(ticket)
        except Undeliverable as why:
            raise CallFailed(str(why), transient=False, kind=why.code) from why
        if given is None:
            raise CallFailed("a secret of the task cannot be read now", kind="secret_unavailable")
        secrets = values_at(given.values, given.secrets)
        mask = Mask(secrets)
        try:
            parameters = checked_parameters(executor.Parameters, given.values)
        except Rejected as refusal:
            raise CallFailed(str(refusal), transient=False, kind=refusal.code) from None
        lines = Lines(record.log, mask)
        context = self._context(record, ticket, parameters, secrets, lines)
        return _Job(record, version, ticket, executor, context, lines, mask)

    def _context(
        self, record: JobRecord, ticket: Ticket, parameters: ExecutorParameters, secrets: Sequence[str], lines: Lines
    ) -> JobContext[Any]:
        clock, now = asyncio.get_running_loop().time, self._ports.clock.now()
        # The time of an attempt is over when its job is cancelled; to cancel it takes a moment all the same.
        until = clock() + max(SECONDS, 0.0 if record.unwanted_at else _seconds_left(ticket, now))
        return JobContext(
            parameters=parameters,
            ticket_id=ticket.ticket_id,
            attempt=record.attempt,
            idempotency_key=record.key,
            worker_id=OWN_WORKER,
            may_have_begun=record.faults > 0 or record.held_until is not None,
            idempotent=ticket.idempotent,
            flow_id=ticket.flow_id,
            plan_id=ticket.plan_id,
            task_id=ticket.task_id,
            task_type=ticket.task_type,
            description=ticket.description,
            correlation_id=ticket.correlation_id,
            traceparent=f"00-{ticket.trace_id}-{ticket.span_id}-01",
            secrets=secrets,
            remaining=lambda: until - clock(),
            call_seconds=CALL_SECONDS,
            write=lines.add,
        )


def _seconds_left(ticket: Ticket, now: datetime) -> float:
    """Return how long the attempt may take from now on; it may have been accepted a moment ago."""
    return (add_time(ticket.acknowledged_at or now, ticket.timeout) - now).total_seconds()


def _new(ticket: Ticket, now: datetime) -> JobRecord:
    provider = ticket.parameters.get("provider")
    return JobRecord(
        flow_id=ticket.flow_id,
        ticket_id=ticket.ticket_id,
        task_id=ticket.task_id,
        attempt=ticket.attempt,
        key=work_key(ticket, ticket.attempt),
        worker_id=OWN_WORKER,
        executor=str(provider or ""),
        begun_at=now,
        look_at=now,
    )


def _log_of(text: str) -> dict[str, str]:
    return {"log": text} if text else {}
