"""A schedule: the form that a client sends, and the record that is stored."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from functions._core.records.values import FIRST_FAULT, JsonObject, Model, Timestamp, WholeNumber, Word, a_number
from functions._core.schedules.moments import EPOCH, Timetable, check_cron, check_zone
from functions._core.schedules.wakeups import NEVER

SPACE = "schedules"
"""The space of `KeyValues` that holds schedules, by name."""

MAX_SCHEDULES = 20_000
"""Schedules of a platform."""

RUNS_KEPT = 50
"""Runs of the history of a schedule; of those before only the counts are kept."""

YEAR = 366 * 86_400
DAY = 86_400

Characters200 = Annotated[str, Field(max_length=200)]


class Overlap(Word):
    """What happens at a moment at which a flow of the schedule has not ended; lower case on every wire."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_OLDEST = "cancel_oldest"


class CatchUp(Model):
    """Which runs are made late, after the platform was down. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: WholeNumber = Field(default=3600, ge=0, le=7 * DAY)
    """How late a run may begin, in seconds; what is later is missed. A run may always be two minutes late."""
    runs: WholeNumber = Field(default=10, ge=1, le=100)
    """How many late runs are made at most, the newest; the others are missed."""


class ScheduleForm(Model):
    """What a client sends to make or replace a schedule. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: JsonObject
    """The decision of each run, without `decision_id`. In its parameters `{"$schedule": "moment"}` stands for the
    moment of the run, and `{"$schedule": "name"}` for the name of the schedule."""
    cron: Characters200 | None = None
    """When it runs: minute, hour, day of month, month and day of week, as Debian's cron reads them."""
    zone: str = Field(default="UTC", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_+/-]*$")
    """The time zone of `cron` and of exceptions, by its IANA name."""
    every_seconds: Annotated[int, Field(ge=1, le=YEAR), BeforeValidator(a_number)] | None = None
    """In place of `cron`: it runs every so many seconds."""
    anchor: Timestamp = EPOCH
    """The moment from which `every_seconds` are counted, in both directions."""
    moments: Annotated[tuple[Timestamp, ...], FIRST_FAULT] = Field(default=(), max_length=1000)
    """In place of `cron`: the moments at which it runs, each once."""
    exceptions: Annotated[tuple[Annotated[str, Field(max_length=21)], ...], FIRST_FAULT] = Field(
        default=(), max_length=366
    )
    """Dates on which it does not run, such as `2026-12-24`, or ranges `2026-12-24/2027-01-01`, both ends included."""
    enabled_from: Timestamp | None = None
    """Before this moment it does not run."""
    enabled_until: Timestamp | None = None
    """After this moment it does not run."""
    jitter_seconds: WholeNumber = Field(default=0, ge=0, le=DAY)
    """Each run begins up to so many seconds later, always as much for the same name and moment."""
    overlap: Overlap = Overlap.SKIP
    """What happens while the run before has not ended: `skip` this run, `queue` it, or `cancel_oldest`."""
    catch_up: CatchUp = CatchUp()
    """Which runs are made late, after the platform was down."""
    sla_seconds: Annotated[float, Field(gt=0, le=YEAR), BeforeValidator(a_number)] | None = None
    """How long each run may take, in seconds from its beginning; absent: as the decision says."""

    @field_validator("cron")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            check_cron(value)
        return value

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        check_zone(value)
        return value

    @field_validator("anchor")
    @classmethod
    def _whole_second(cls, value: Timestamp) -> Timestamp:
        return value.replace(microsecond=0)

    @field_validator("moments")
    @classmethod
    def _in_order(cls, value: tuple[Timestamp, ...]) -> tuple[Timestamp, ...]:
        return tuple(sorted({moment.replace(microsecond=0) for moment in value}))

    @field_validator("exceptions")
    @classmethod
    def _dates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            _days_of(text)
        return value

    @field_validator("decision")
    @classmethod
    def _without_id(cls, value: JsonObject) -> JsonObject:
        if "decision_id" in value:
            raise ValueError("has no decision_id: that of each run is made of the name of the schedule and the moment")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> "ScheduleForm":
        if [self.cron is not None, self.every_seconds is not None, bool(self.moments)].count(True) != 1:
            raise ValueError("exactly one of cron, every_seconds and moments says when it runs")
        if self.enabled_from and self.enabled_until and self.enabled_from > self.enabled_until:
            raise ValueError("enabled_from is later than enabled_until")
        return self

    @property
    def timetable(self) -> Timetable:
        """When it runs."""
        return Timetable(
            cron=self.cron,
            zone=self.zone,
            every=None if self.every_seconds is None else timedelta(seconds=self.every_seconds),
            anchor=self.anchor,
            moments=self.moments,
            exceptions=_apart(_days_of(text) for text in self.exceptions),
            starts=self.enabled_from,
            ends=self.enabled_until,
        )


class RunResult(Word):
    """What became of a moment of a schedule."""

    STARTED = "STARTED"
    QUEUED = "QUEUED"
    SKIPPED = "SKIPPED"
    MISSED = "MISSED"
    REFUSED = "REFUSED"


class ScheduledRun(Model):
    """A line of the history of a schedule."""

    moment: Timestamp
    """The moment of the run; of several that were missed together the last one."""
    at: Timestamp
    """When this was decided."""
    result: RunResult
    """What became of it."""
    flow_id: str | None = None
    """The flow; None where none was made."""
    reason: str | None = None
    """Why it was not started, or who wanted it."""
    number: int = 1
    """How many moments were missed together."""


class Backfill(Model):
    """Moments of the past whose runs are being made, one after the other."""

    next: Timestamp
    """The first moment whose run has not begun."""
    until: Timestamp
    """The last moment that counts."""
    at_once: int
    """How many of its runs may be under way at once."""
    running: tuple[str, ...] = ()
    """Flows of its runs that have not ended, as far as is known."""


class ScheduleRecord(ScheduleForm):
    """A schedule as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Name of the schedule."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When a person changed it last."""
    paused: bool = False
    """Whether it starts nothing."""
    note: str | None = None
    """Why it is paused, in the words of the person who did it."""
    next_at: Timestamp | None = None
    """The first moment about which nothing is decided; None when no moment is left."""
    wakeup_at: Timestamp = NEVER
    """When its wake-up is."""
    running: tuple[str, ...] = ()
    """Flows of its runs that have not ended, as far as is known."""
    queue: tuple[Timestamp, ...] = ()
    """Moments whose runs wait for the end of the one before."""
    backfill: Backfill | None = None
    """The moments of the past that are being made up for."""
    counts: Mapping[str, int] = Field(default_factory=dict)
    """How many moments had which result; runs that have waited count as STARTED, too."""
    runs: tuple[ScheduledRun, ...] = ()
    """The newest lines of the history, the oldest first."""

    def with_runs(self, *runs: ScheduledRun) -> "ScheduleRecord":
        """Return the schedule with more lines in its history, counted."""
        counts = {**self.counts}
        for run in runs:
            counts[run.result.value] = counts.get(run.result.value, 0) + run.number
        return self.but(runs=(*self.runs, *runs)[-RUNS_KEPT:], counts=counts)


def _days_of(text: str) -> tuple[date, date]:
    """Return the first and the last day of an exception; raise `ValueError`."""
    first, _, last = text.partition("/")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        raise ValueError(f"{text!r} is no date such as 2026-12-24, and no range 2026-12-24/2027-01-01") from None
    if days[0] > days[1] or days[1].year == date.max.year:
        raise ValueError(f"{text!r} ends before it begins, or never")
    return days


def _apart(ranges: Iterable[tuple[date, date]]) -> tuple[tuple[date, date], ...]:
    """Return ranges of days in order, those that touch as one."""
    found: list[tuple[date, date]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + timedelta(days=1):
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)
