"""The data of the events about jobs of executors: that one is to be looked at, and that nobody has ended one."""

from typing import ClassVar

from pydantic import Field

from functions._core.records.values import Model, Timestamp

JOB_DUE, JOB_LEAKED = "job.due", "job.leaked"
"""The types of the events, without prefix and version."""


class JobDue(Model):
    """Data of `job.due`: the platform's own worker has a ticket, or has had it, whose job is to be looked at.

    It says nothing that the stored ticket does not say better, so it may come late, twice, or not at all.
    """

    event_type: ClassVar[str] = JOB_DUE

    flow_id: str
    """Id of the flow."""
    ticket_id: str = Field(min_length=1)
    """Id of the ticket."""
    attempt: int = Field(ge=1)
    """The attempt that the worker has, or has had."""


class JobLeaked(Model):
    """Data of `job.leaked`: a job that nobody wants any more, and that nobody could end. A person has to look."""

    event_type: ClassVar[str] = JOB_LEAKED

    flow_id: str
    """Id of the flow."""
    ticket_id: str
    """Id of the ticket that it was for."""
    attempt: int
    """The last attempt that had it."""
    worker_id: str
    """The worker that had it."""
    executor: str
    """Name of the executor."""
    job_id: str | None
    """The job, as the service that does it names it; null: it may have been begun, and nobody has heard its id."""
    key: str
    """The idempotency key that the job was begun with."""
    url: str = ""
    """Where a person sees the job."""
    why: str
    """Why it was not ended, in a sentence."""
    leaked_at: Timestamp
    """When it was given up."""
