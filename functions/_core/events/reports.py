"""The report of a worker, and the attempt that it counts for."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator

from functions._core.records.attempts import runs
from functions._core.records.models import Ticket
from functions._core.records.values import Model, ReportStatus

KEYS_REMEMBERED = 10_000
"""Refused reports that a process remembers, so that one which repeats is kept once; a bound on its memory."""

UNPROVEN_A_SECOND = 10
"""Refused reports without a valid token that are looked into in one second; the others are counted and logged."""

LOG_LIMIT = 64 * 1024
"""Bytes of a task's log that are kept, the last ones: they say how the task ended."""


def end_of(text: str) -> str:
    """Return the last `LOG_LIMIT` bytes of a text in UTF-8; zero bytes, which not every store takes, become `?`."""
    return text.replace("\0", "?").encode(errors="replace")[-LOG_LIMIT:].decode(errors="ignore")


class ReportError(Model):
    """Why a worker could not do the task."""

    type: str = "error"
    """A stable word for programs; it becomes the code of the reason."""
    message: str = ""
    """What went wrong, for people."""
    retryable: bool = True
    """False: another attempt is pointless."""


class ReportedJob(Model):
    """The job of an executor that a worker does an attempt by: it may go on when the worker is gone."""

    executor: str = Field(min_length=1, max_length=100)
    """Name of the executor."""
    job_id: str = Field(min_length=1, max_length=512)
    """The job, as the service that does it names it."""
    url: str = Field(default="", max_length=2048, pattern=r"^(https?://[^\s]*)?$")
    """Where a person sees the job."""
    ended: bool = False
    """Whether the worker knows that the job is over: it ended, or was cancelled."""


class Report(Model):
    """Data of `ticket.reported`: what a worker says about one attempt at a ticket."""

    ticket_id: str = Field(min_length=1)
    """Id of the ticket: a UUIDv5 of flow id and task id."""
    attempt: int = Field(ge=1)
    """The attempt that the assignment named; a report on another one changes nothing."""
    status: ReportStatus
    """RUNNING may be left out; COMPLETED and FAILED end the attempt."""
    progress: float | None = Field(default=None, ge=0, le=100)
    """How far the work is, in percent."""
    output: Any = None
    """What came of it, any JSON value; tasks that come later can refer to it."""
    error: ReportError | None = None
    """Why it failed: an object, or the message alone."""
    worker_id: str | None = None
    """Id of the worker; the token says it for certain."""
    job: ReportedJob | None = None
    """The job by which the worker does it, where it lives elsewhere; one that nobody ends is told of."""
    log: str | None = None
    """What the task wrote, with RUNNING so far; its last 64 KiB are kept for people, who ask for it alone."""

    @field_validator("error", mode="before")
    @classmethod
    def _text_is_a_message(cls, value: object) -> object:
        return {"message": value} if isinstance(value, str) else value

    @field_validator("log")
    @classmethod
    def _only_the_end(cls, value: str | None) -> str | None:
        return value and end_of(value)

    def counts_for(self, ticket: Ticket) -> bool:
        """Whether the report is about an attempt at the ticket that runs, and can still move it."""
        return runs(ticket, self.attempt)

    def repeats(self, ticket: Ticket) -> bool:
        """Whether the report repeats one that has been recorded."""
        return self.attempt == ticket.attempt and self.status.value == ticket.status.value


class RefusedReport(Model):
    """A report that was refused."""

    flow_id: str
    """Id of the flow; empty when it is not known."""
    ticket_id: str | None
    """Id of the ticket that the report names; None when it is no id."""
    attempt: int | None
    """The attempt that it names; None when it is no number."""
    worker_id: str | None
    """Id of the worker that its token proves; None without proof."""
    code: str
    """The code of the refusal."""
    status: int
    """The HTTP status of the answer."""
    reason: str
    """The message of the refusal, for people."""


@dataclass(slots=True)
class KnownRefusals:
    """The memory of a process: refusals that are kept already, and its last looks at reports without a valid token."""

    keys: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Keys of the refusals that are kept already, the newest last, at most `KEYS_REMEMBERED`."""
    looked: deque[float] = field(default_factory=lambda: deque(maxlen=UNPROVEN_A_SECOND))
    """Times, in seconds, of the last reports without a valid token that were looked into."""

    def may_look(self, now: float) -> bool:
        """Whether another report without a valid token is looked into, at `now` in seconds."""
        if len(self.looked) == UNPROVEN_A_SECOND and now - self.looked[0] < 1:
            return False
        self.looked.append(now)
        return True

    def is_new(self, key: str) -> bool:
        """Whether `key` comes for the first time, as far as is remembered."""
        if key in self.keys:
            return False
        self.keys[key] = None
        if len(self.keys) > KEYS_REMEMBERED:
            self.keys.popitem(last=False)
        return True
