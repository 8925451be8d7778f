"""The shared vocabulary: enumerations, times and the base class of everything that is read from outside.

Enumerations are read in any letter case and written in one: upper case, except `RiskBand` and `Verdict`.
Times are timezone-aware UTC; they are read as RFC 3339 text or epoch milliseconds and written as RFC 3339
with milliseconds and `Z`.
"""

import re
from collections.abc import Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha1
from typing import Annotated, Any, Self
from uuid import UUID

from msgspec import Meta
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, FailFast, PlainSerializer
from pydantic_core import PydanticCustomError

NAMESPACE = UUID("6f1c3f0e-58a5-5d0c-9a51-1f2b7c0d4e11")
"""Root of all derived ids. Changing it gives every decision a new flow: it is part of the wire contract."""

MAX_EPOCH_MS = 253_402_300_799_999
"""Milliseconds since 1970 of 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write."""

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
"""A number as text: for a time it means epoch milliseconds, and never seconds or the digits of a date."""

EARLIEST = datetime(1, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
"""The ends of all arithmetic of times, a millisecond from those of the calendar, which databases read as infinite."""

LONGEST = timedelta(days=999_999_999)
"""The longest duration whose negative is a duration, too."""

TICKET_DECISION = "flowc-ticket:"
"""How the id of the decision of a ticket begins that was created alone; the id of the ticket follows."""

OWN_TICKET_ID = re.compile(r"(?!(?i:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f-]{21}$))[A-Za-z0-9][A-Za-z0-9._-]{0,35}")
"""Ids of such tickets: 36 safe characters. UUIDs of version 5 are those of all other tickets, and nobody's to take."""


def flow_id_of(decision_id: str) -> str:
    """Return the flow id of a decision: a pure function, so that clients can compute it."""
    return name_uuid(str(NAMESPACE), decision_id)


def ticket_id_of(flow_id: str, task_id: str) -> str:
    """Return the ticket id of a task within a flow."""
    return name_uuid(flow_id, task_id)


def own_ticket_id(decision_id: str, tasks: int) -> str | None:
    """Return the id of the one ticket of a decision that is named after it; None for every other decision."""
    if tasks != 1 or not decision_id.startswith(TICKET_DECISION):
        return None
    name = decision_id.removeprefix(TICKET_DECISION)
    return name if OWN_TICKET_ID.fullmatch(name) else None


def stored_decision(flow_id: str) -> dict[str, str]:
    """Return the attributes of an event without the decision: the place of the decision, and the schema of the data.

    The place is relative to the platform's address.
    """
    return {
        "dataref": f"/api/v1/flows/{flow_id}/decision",
        "dataschema": "urn:neuralhive:decision.consolidated:v1:stored",
    }


def name_uuid(namespace: str, name: str) -> str:
    """Return the text of `uuid5(UUID(namespace), name)`, in a quarter of its time: every event has such an id."""
    digest = bytearray(sha1(_namespace_bytes(namespace) + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # version 5
    digest[8] = digest[8] & 0x3F | 0x80  # the variant of RFC 9562
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(maxsize=4096)
def _namespace_bytes(namespace: str) -> bytes:
    return UUID(namespace).bytes


def parse_time(value: object) -> object:
    """Read RFC 3339 text or epoch milliseconds, also as text; anything else is left for pydantic to refuse."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, int | float):
        if not 0 <= value <= MAX_EPOCH_MS:
            msg = "epoch milliseconds must lie between 1970 and 9999"
            raise ValueError(msg)
        return datetime.fromtimestamp(value / 1000, tz=UTC)
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return value
        # The recorded sources write UTC without a zone; a local time would be a guess either way.
        return _in_calendar(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return _in_calendar(value) if isinstance(value, datetime) else value


def _in_calendar(moment: datetime) -> datetime:
    """Return `moment` between `EARLIEST` and `LATEST`; a moment that has no time in UTC is left as it is."""
    if moment.tzinfo is None or MINYEAR < moment.year < MAXYEAR:
        return moment
    try:
        return max(EARLIEST, min(moment.astimezone(UTC), LATEST))
    except OverflowError:
        return moment


@lru_cache(maxsize=8192)
def format_time(moment: datetime) -> str:
    """Write `moment` as RFC 3339 in UTC with milliseconds and `Z`; records repeat their times, so some are kept."""
    utc = moment if moment.tzinfo is UTC else to_utc(moment)
    return utc.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def to_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC; outside the calendar it is the nearest end of it."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return EARLIEST if moment.year == EARLIEST.year else LATEST


def add_time(moment: datetime, span: timedelta) -> datetime:
    """Return `moment` plus `span`, which may be negative; outside the calendar it is the nearest end of it.

    Every sum of a time and a duration that somebody else has chosen is made here.
    """
    try:
        return max(EARLIEST, min(moment + span, LATEST))
    except OverflowError:
        return EARLIEST if span < timedelta() else LATEST


def time_span(milliseconds: float) -> timedelta:
    """Return a duration of so many milliseconds, at most the longest that there is."""
    try:
        span = timedelta(milliseconds=milliseconds)
    except OverflowError:
        return -LONGEST if milliseconds < 0 else LONGEST
    return max(-LONGEST, min(span, LONGEST))


def milliseconds(span: timedelta) -> int:
    """Return a duration in whole milliseconds."""
    return span // timedelta(milliseconds=1)


Timestamp = Annotated[
    datetime,
    Meta(tz=True),
    AwareDatetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, return_type=str, when_used="json"),
]
"""A moment as it is read and written everywhere: RFC 3339 in UTC with milliseconds."""


def a_number(value: object) -> object:
    """Return `value` unless it is a truth value or text, which would be read as a number."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")  # noqa: TRY004 pydantic makes a fault of it
    return value


Number = Annotated[float, BeforeValidator(a_number)]
"""A number that is written as a number."""

WholeNumber = Annotated[int, BeforeValidator(a_number)]
"""1.0 is one, as in JSON Schema."""


class Word(StrEnum):
    """An enumeration that reads any letter case."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        folded = str(value).strip().casefold()
        return next((member for member in cls if member.value.casefold() == folded), None)


class FlowStatus(Word):
    """Where a flow is."""

    VALIDATING = "VALIDATING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    GENERATING = "GENERATING"
    EXECUTING = "EXECUTING"
    PAUSED = "PAUSED"
    COMPENSATING = "COMPENSATING"
    PUBLISHING = "PUBLISHING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


class Outcome(Word):
    """How a flow ends; set once, before the end state of the same name is reached."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


class TicketStatus(Word):
    """Where a ticket is."""

    PENDING = "PENDING"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    WAITING = "WAITING"
    SKIPPED = "SKIPPED"


class Waiting(Word):
    """What a ticket waits for: the first ones while it is PENDING, those from APPROVAL on while it is WAITING."""

    DEPENDENCIES = "DEPENDENCIES"
    DISCOVERY = "DISCOVERY"
    RETRY = "RETRY"
    WORKER = "WORKER"
    SLOT = "SLOT"
    RESUME = "RESUME"
    TURN = "TURN"
    FREEZE = "FREEZE"
    QUARANTINE = "QUARANTINE"
    APPROVAL = "APPROVAL"
    MOMENT = "MOMENT"
    EVENT = "EVENT"
    CHILDREN = "CHILDREN"


class SlackState(Word):
    """How a flow or a ticket stands against its deadline; lower case on every wire."""

    ON_TRACK = "on_track"
    AT_RISK = "at_risk"
    BREACHED = "breached"


class TaskType(Word):
    """The kinds of work."""

    BUILD = "BUILD"
    DEPLOY = "DEPLOY"
    TEST = "TEST"
    VALIDATE = "VALIDATE"
    EXECUTE = "EXECUTE"
    COMPENSATE = "COMPENSATE"
    QUERY = "QUERY"
    TRANSFORM = "TRANSFORM"
    TOOL = "TOOL"
    APPROVE = "APPROVE"
    WAIT = "WAIT"
    SUBFLOW = "SUBFLOW"


class Priority(Word):
    """How much a ticket matters to the user."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class RiskBand(Word):
    """How dangerous a plan is; lower case on every wire."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Verdict(Word):
    """What the specialists decided (`final_decision`); lower case on every wire."""

    APPROVE = "approve"
    REJECT = "reject"
    REVIEW_REQUIRED = "review_required"
    CONDITIONAL = "conditional"


class SecurityLevel(Word):
    """Who may see a ticket, or what a worker may see: each level includes those before it."""

    PUBLIC = "PUBLIC"
    INTERNAL = "INTERNAL"
    CONFIDENTIAL = "CONFIDENTIAL"
    RESTRICTED = "RESTRICTED"

    def covers(self, other: "SecurityLevel") -> bool:
        """Whether a worker that is cleared for this level may see tickets of the `other` one."""
        return CLEARANCES[other] <= CLEARANCES[self]


CLEARANCES: Mapping[SecurityLevel, frozenset[str]] = {
    level: frozenset(f"CLEARANCE:{lower}" for lower in list(SecurityLevel)[1 : position + 1])
    for position, level in enumerate(SecurityLevel)
}
"""Names that a level adds to the capabilities that a ticket requires, and to those that a worker offers.

So every store that matches one with the other respects clearance, too. No capability has such a name: capabilities
are lower case. PUBLIC adds nothing.
"""


class Health(Word):
    """The state of a worker, a function of its silence alone."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"


class ReportStatus(Word):
    """What a worker may say about a ticket."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


NO_FIELDS: frozenset[str] = frozenset()
"""The set that all models share in place of their own sets of given fields."""


class Model(BaseModel):
    """Base of input, commands and event data: frozen; unknown fields are ignored on input."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    def model_post_init(self, _context: object, /) -> None:
        """Forget the set of given fields: nothing here reads it, and it takes more memory than the fields."""
        object.__setattr__(self, "__pydantic_fields_set__", NO_FIELDS)

    def but(self, **changes: Any) -> Self:
        """Return a copy with `changes`, which the caller has already typed."""
        copy = self.__copy__()
        copy.__dict__.update(changes)
        return copy


JsonObject = Mapping[str, Any]
"""Any JSON object."""


class _FailFast(FailFast):
    """The marker of pydantic, which can be part of `X | None` only when it has a hash."""

    fail_fast: bool = True
    """Whether a list is read no further than to its first fault."""

    __hash__ = object.__hash__


FIRST_FAULT = _FailFast()
"""Of a list from outside only the first wrong entry is a fault: each costs a microsecond, and a body has a million."""

Texts = Annotated[tuple[str, ...], FIRST_FAULT]
"""Any number of texts."""


def at_most(limit: int) -> BeforeValidator:
    """Return what refuses a longer list before any of its entries is looked at."""

    def counted(value: object) -> object:
        if isinstance(value, list | tuple) and len(value) > limit:
            raise PydanticCustomError("too_long", "Has more than {max_length} entries", {"max_length": limit})
        return value

    return BeforeValidator(counted)
