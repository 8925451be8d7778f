"""A worker's report, and when it counts."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator

from functions._core.records.models import Ticket
from functions._core.records.values import Record, ReportStatus, TicketStatus

KEYS_REMEMBERED = 10_000
UNPROVEN_A_SECOND = 10
"""Refused reports without a valid token that are looked into; more of them are only counted and logged."""

LOG_LIMIT = 64 * 1024
"""Bytes of what a task wrote that are kept, the last ones: they say how it ended."""


def end_of(text: str) -> str:
    """Return the last `LOG_LIMIT` bytes of a text in UTF-8; zero bytes, which not every store takes, become `?`."""
    return text.replace("\0", "?").encode(errors="replace")[-LOG_LIMIT:].decode(errors="ignore")


class ReportError(Record):
    """Why a worker could not do the task."""

    type: str = "error"
    message: str = ""
    retryable: bool = True


class Report(Record):
    """Data of `ticket.reported`: what a worker says about one attempt at a ticket."""

    ticket_id: str = Field(min_length=1)
    attempt: int = Field(ge=1)
    status: ReportStatus
    progress: float | None = Field(default=None, ge=0, le=100)
    output: Any = None
    error: ReportError | None = None
    worker_id: str | None = None
    log: str | None = None

    @field_validator("error", mode="before")
    @classmethod
    def _text_is_a_message(cls, value: object) -> object:
        return {"message": value} if isinstance(value, str) else value

    @field_validator("log")
    @classmethod
    def _only_the_end(cls, value: str | None) -> str | None:
        return value and end_of(value)

    def counts_for(self, ticket: Ticket) -> bool:
        """Whether the report is about the ticket's present attempt and can still move it."""
        return self.attempt == ticket.attempt and ticket.status in {
            TicketStatus.ASSIGNED,
            TicketStatus.RUNNING,
        }

    def repeats(self, ticket: Ticket) -> bool:
        """Whether the report says what has already been recorded."""
        return self.attempt == ticket.attempt and self.status.value == ticket.status.value


class RefusedReport(Record):
    """A report that was not taken. `worker_id` is proven by its token; None when nobody is."""

    flow_id: str
    ticket_id: str | None
    attempt: int | None
    worker_id: str | None
    code: str
    status: int
    reason: str


@dataclass(slots=True)
class KnownRefusals:
    """What a process knows to be kept already, and when it last looked into reports without a valid token."""

    keys: OrderedDict[str, None] = field(default_factory=OrderedDict)
    looked: deque[float] = field(default_factory=lambda: deque(maxlen=UNPROVEN_A_SECOND))

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
