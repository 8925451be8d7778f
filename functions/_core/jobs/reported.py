"""Jobs that workers name in their reports: noted while they run, forgotten when their worker says that they are over.

A worker names a job of the ticket that its token is for, and of no other. What it says of it is for people: nothing is
called by it, so no word of a worker makes the platform end what is not the worker's.
"""

from datetime import datetime

from functions._core.errors import Conflict
from functions._core.events.reports import Report
from functions._core.jobs.records import JobRecord, JobStatus, forget_job, job_of, jobs_of, put_job
from functions._core.ports import Ports
from functions._core.records.attempts import of_attempt, runs, work_key
from functions._core.records.worker import OWN_WORKER


async def job_begun(ports: Ports, flow_id: str, report: Report, now: datetime) -> None:
    """Note the job by which a worker does the attempt that it reports on, if that runs."""
    ticket = (await ports.store.tickets([report.ticket_id], flow_id)).get(report.ticket_id)
    said = report.job
    if ticket is None or said is None or not runs(ticket, report.attempt):
        return
    mine = of_attempt(ticket, report.attempt)
    if mine.worker_id in {None, OWN_WORKER}:
        return
    key = work_key(ticket, report.attempt)
    known, version = await job_of(ports.key_values, flow_id, key)
    again = known is not None and known.attempt == report.attempt  # the answer to the same report was lost
    job = JobRecord(
        flow_id=flow_id,
        ticket_id=ticket.ticket_id,
        task_id=ticket.task_id,
        attempt=report.attempt,
        key=key,
        worker_id=mine.worker_id or "",
        executor=said.executor,
        status=JobStatus.RUNNING,
        job_id=said.job_id,
        url=said.url,
        adopted=known is not None and (known.adopted or not again),
        begun_at=known.begun_at if known is not None else now,
        look_at=now,
    )
    await put_job(ports.key_values, job, version, now)


async def job_over(ports: Ports, flow_id: str, report: Report, now: datetime) -> None:
    """Forget the job of a worker that says that it is over; one that it could not end is kept for people."""
    said = report.job
    if said is None:
        return
    for job, version in await jobs_of(ports.key_values, report.ticket_id, flow_id):
        if (job.executor, job.job_id) != (said.executor, said.job_id) or job.worker_id == OWN_WORKER:
            continue
        if said.ended:
            await forget_job(ports.key_values, job, version)
        elif job.unwanted_at is None:
            try:
                await put_job(ports.key_values, job.but(unwanted_at=now, why=NOT_ENDED), version, now)
            except Conflict:  # a look was faster
                continue


NOT_ENDED = "its worker could not end it"
"""Why a job has leaked whose worker says so."""
