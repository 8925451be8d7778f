"""The jobs of a ticket that are not known to be over, in sentences."""

from collections.abc import Sequence
from datetime import datetime

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.explain.ticket import Explanation
from functions._core.explain.wording import SAID, ago, ahead, plain
from functions._core.jobs.records import JobRecord, JobStatus


def with_jobs(explanation: Explanation, jobs: Sequence[JobRecord], now: datetime) -> Explanation:
    """Return an explanation that names the jobs of its ticket, those first that nobody could end."""
    leaked_first = sorted(jobs, key=lambda one: one.status is not JobStatus.LEAKED)
    sentences = [_sentence(one, now) for one in leaked_first]
    return explanation.but(details=(*explanation.details, *sentences)) if sentences else explanation


def _sentence(job: JobRecord, now: datetime) -> str:
    job_id = f" {plain(job.job_id)}" if job.job_id is not None else ""
    where = f" ({UNPRINTABLE.sub('?', job.url)[:SAID]})" if job.url else ""
    named = (
        f"Job{job_id} of executor {plain(job.executor)}{where}, begun at {ago(job.begun_at, now)} by {job.worker_id}"
    )
    if job.status is JobStatus.LEAKED:
        why = UNPRINTABLE.sub("?", job.why)[:SAID]
        return f"{named}, goes on and nobody wants it: {why}. Its key is {plain(job.key)}."
    if job.unwanted_at is not None:
        return f"{named}, is being ended."
    faults = f", after {job.faults} calls in a row that failed" if job.faults else ""
    looked = f"; it is looked at {ahead(job.look_at, now)}{faults}" if job.look_at > now else faults
    return f"{named}, is not known to be over{looked}."
