"""What people ask of schedules, and what they are shown."""

from typing import Annotated

from pydantic import ConfigDict, Field

from functions._core.records.values import JsonObject, Model, Timestamp, WholeNumber
from functions._core.schedules.reasons import ScheduleState
from functions._core.schedules.record import Overlap, ScheduledRun, ScheduleRecord
from functions.api.actions import PRINTABLE

MAX_NOTE = 500


class SchedulePause(Model):
    """What a pause says. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    note: Annotated[str | None, Field(max_length=MAX_NOTE, pattern=PRINTABLE)] = None
    """Why it is paused; shown as long as it is."""


class BackfillForm(Model):
    """The moments of the past whose runs are to be made. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: Timestamp
    """Moments from this one on; at most ten years ago."""
    last: Timestamp
    """Moments up to this one, which is not in the future."""
    at_once: WholeNumber = Field(default=1, ge=1, le=10)
    """How many of these runs may be under way at once."""


class ScheduleView(ScheduleRecord):
    """A schedule, with what it does next and why."""

    state: ScheduleState
    """Whether it runs."""
    why: str
    """Why it runs when it does, or does not run, in words."""
    next_runs: tuple[Timestamp, ...]
    """When its next runs begin, jitter included; those of a paused schedule if it were resumed now."""


class ScheduleLine(Model):
    """A schedule in a listing."""

    name: str
    """Name of the schedule."""
    state: ScheduleState
    """Whether it runs."""
    why: str
    """Why it runs when it does, or does not run, in words."""
    cron: str | None
    """Its cron expression."""
    zone: str
    """Its time zone."""
    every_seconds: int | None
    """Its interval."""
    overlap: Overlap
    """What happens while the run before has not ended."""
    next_run: Timestamp | None
    """When its next run begins."""
    counts: JsonObject
    """How many moments had which result."""


class SchedulePage(Model):
    """Schedules, by name."""

    items: tuple[ScheduleLine, ...]
    """Schedules."""
    cursor: str | None
    """Ask for the next page with it; null when there is none."""


class RunView(ScheduledRun):
    """A run with its flow as it is now."""

    status: str | None
    """Status of the flow; None where there is none, or none any more."""


class RunList(Model):
    """The newest runs, the newest first."""

    items: tuple[RunView, ...]
    """Runs."""


class RunStarted(Model):
    """A run that a person has started."""

    flow_id: str
    """Id of its flow."""
    moment: Timestamp
    """The moment it counts for."""


class BackfillBegun(Model):
    """A backfill that has begun."""

    runs: int
    """How many moments it has; what ran at its moment does not run again."""
