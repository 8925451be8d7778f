"""Jobs of executors in the store: small records of `KeyValues`, from before a job begins until it is known to be over.

The key is made of the flow and of the key of the work, so attempts that go on with one job share its record. Whoever
works on a job holds its record for a while; each write is on the version that was read, so of two that come at the
same time one is first. A job that nobody could end is LEAKED, and kept for people.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import MsgspecError

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.jobs import JOB_LEAKED, JobLeaked
from functions._core.events.routes import TRANSITIONS
from functions._core.machine.step_builder import derived_id
from functions._core.ports import Entry, KeyValues
from functions._core.records.attempts import work_keys
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Timestamp, Word, add_time

JOBS = "jobs"
"""The space of the records."""

KEPT = timedelta(days=30)
"""How long it is known that a job has leaked."""

OF_TICKET = 20
"""Records of one ticket that are read: more than one is there only while a job of an attempt before is being ended."""

LOG_BYTES = 8 * 1024
"""Bytes of the log of a job that its record keeps, the last ones."""


class JobStatus(Word):
    """How far a job is."""

    STARTING = "STARTING"
    """It is being begun, or looked for: nobody has its id yet."""
    RUNNING = "RUNNING"
    """It was begun, and is not known to be over."""
    LEAKED = "LEAKED"
    """Nobody wants it, and nobody could end it: a person has to look."""


class JobRecord(Record):
    """A job of an executor."""

    flow_id: str
    """Id of the flow."""
    ticket_id: str
    """Id of the ticket that it is for."""
    task_id: str
    """Id of the task."""
    attempt: int
    """The newest attempt that works on it."""
    key: str
    """The key of the work (`work_key`), which the job was begun with."""
    worker_id: str
    """The worker that has it."""
    executor: str
    """Name of the executor."""
    status: JobStatus = JobStatus.STARTING
    """How far it is."""
    job_id: str | None = None
    """The job, as the service that does it names it; None until it is known."""
    url: str = ""
    """Where a person sees the job."""
    data: Mapping[str, Any] = {}
    """Whatever else its executor has to know of it; no secrets."""
    adopted: bool = False
    """Whether an earlier attempt had begun it."""
    begun_at: Timestamp
    """When the first attempt took it up."""
    held_until: Timestamp | None = None
    """Until when whoever works on it may do so alone; None: nobody does."""
    look_at: Timestamp
    """Before this nobody has to look at it."""
    faults: int = 0
    """Calls in a row that have failed for a passing reason."""
    percent: float | None = None
    """How far it was when it was looked at last, 0 to 100."""
    log: str = ""
    """The end of what its executor has written about it."""
    unwanted_at: Timestamp | None = None
    """Since when it is known that nobody wants it; None: somebody does."""
    why: str = ""
    """Why it could not be ended, in a sentence."""


def record_key(flow_id: str, key: str) -> str:
    """Return the key of the record of a job."""
    return f"{flow_id}/{key}"


async def job_of(entries: KeyValues, flow_id: str, key: str) -> tuple[JobRecord | None, int]:
    """Return the record of a job and its version; None, and 0, where there is none."""
    entry = await entries.get(JOBS, record_key(flow_id, key))
    return (None, 0) if entry is None else (_read(entry), entry.version)


async def put_job(entries: KeyValues, job: JobRecord, version: int, now: datetime) -> int:
    """Store a record in place of that of `version`; return its version; raise `Conflict`."""
    expires = add_time(now, KEPT) if job.status is JobStatus.LEAKED else None
    key = record_key(job.flow_id, job.key)
    return (await entries.put(JOBS, key, encode(job), version=version, expires_at=expires)).version


async def forget_job(entries: KeyValues, job: JobRecord, version: int) -> bool:
    """Remove the record of a job that is over; False when it is another one by now."""
    return await entries.remove(JOBS, record_key(job.flow_id, job.key), version)


async def jobs_of(entries: KeyValues, ticket_id: str, flow_id: str) -> Sequence[tuple[JobRecord, int]]:
    """Return the records of a ticket's jobs, each with its version."""
    prefix = f"{record_key(flow_id, ticket_id)}-"
    page = await entries.page(JOBS, prefix, OF_TICKET)
    return _records(entry for entry in page if entry.key.startswith(prefix))


async def page_of_jobs(
    entries: KeyValues, after: str | None, limit: int
) -> tuple[Sequence[tuple[JobRecord, int]], str | None]:
    """Return records with their versions, and the key behind which the next page begins; None: nothing follows."""
    page = await entries.page(JOBS, after, limit)
    return _records(page), page[-1].key if len(page) == limit else None


def wanted(job: JobRecord, ticket: Ticket | None) -> bool:
    """Whether an attempt at the ticket goes on with the job, or may do so."""
    return ticket is not None and ticket.live and job.key in work_keys(ticket)


def leaked_event(job: JobRecord, now: datetime, flow: Flow | None) -> CloudEvent:
    """Return the event that tells subscribers of a job that nobody could end."""
    data = JobLeaked(
        flow_id=job.flow_id,
        ticket_id=job.ticket_id,
        attempt=job.attempt,
        worker_id=job.worker_id,
        executor=job.executor,
        job_id=job.job_id,
        key=job.key,
        url=job.url,
        why=job.why,
        leaked_at=now,
    )
    traced = {} if flow is None else {"correlationid": flow.correlation_id, "traceparent": flow.traceparent}
    return CloudEvent(
        id=derived_id(job.flow_id, JOB_LEAKED, job.key),
        source=TRANSITIONS,
        type=type_of(JOB_LEAKED),
        time=now,
        subject=job.ticket_id,
        data=data.model_dump(mode="json"),
        extensions={"partitionkey": job.flow_id, **traced},
    )


def _records(entries: Iterable[Entry]) -> Sequence[tuple[JobRecord, int]]:
    return [(job, entry.version) for entry in entries if (job := _read(entry)) is not None]


def _read(entry: Entry) -> JobRecord | None:
    try:
        return decode(JobRecord, entry.value)
    except MsgspecError:
        return None
