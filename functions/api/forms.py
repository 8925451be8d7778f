"""What people and tools may ask for in a body, beside the events of the catalogue."""

from pydantic import Field

from functions._core.rules import CANDIDATES_PER_TICKET
from functions._core.values import Record
from functions._core.workers import MAX_CAPABILITIES


class Cancellation(Record):
    """Who stops a flow, and why."""

    requested_by: str = Field(default="a user", max_length=255)
    reason: str = Field(default="no reason given", max_length=1000)


class Flush(Record):
    """The intent whose telemetry is to be sent now; without it, all."""

    intent_id: str | None = Field(default=None, max_length=255)


class Wanted(Record):
    """What a worker has to offer; without capabilities any worker will do."""

    capabilities: tuple[str, ...] = Field(default=(), max_length=MAX_CAPABILITIES)
    limit: int = Field(default=CANDIDATES_PER_TICKET, ge=1, le=CANDIDATES_PER_TICKET)
