"""Why a schedule runs when it does, or does not run: sentences for people."""

from datetime import datetime
from itertools import islice

from functions._core.records.values import Word, format_time
from functions._core.schedules.course import begins_at
from functions._core.schedules.moments import next_moment
from functions._core.schedules.record import RunResult, ScheduleRecord

NEXT_RUNS = 5
"""Runs to come that are named."""


class ScheduleState(Word):
    """The state of a schedule."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    OVER = "OVER"


def state_of(schedule: ScheduleRecord) -> ScheduleState:
    """Return the state of a schedule; it is OVER when nothing is left that it could start."""
    if schedule.paused:
        return ScheduleState.PAUSED
    left = schedule.next_at is not None or schedule.queue or schedule.backfill is not None
    return ScheduleState.ACTIVE if left else ScheduleState.OVER


def next_runs(schedule: ScheduleRecord, now: datetime) -> tuple[datetime, ...]:
    """Return when the next runs begin, jitter included; those of a paused schedule if it were resumed now."""
    timetable, moment = schedule.timetable, schedule.next_at
    if schedule.paused:
        moment = next_moment(timetable, now)
    found: list[datetime] = []
    while moment is not None and len(found) < NEXT_RUNS:
        found.append(begins_at(schedule, moment))
        moment = next_moment(timetable, moment)
    return tuple(found)


def why(schedule: ScheduleRecord, now: datetime) -> str:
    """Return why a schedule runs when it does, or does not run."""
    return "; ".join(islice(_sentences(schedule, now), 4))


def _sentences(schedule: ScheduleRecord, now: datetime) -> list[str]:
    if schedule.paused:
        return [f"it is paused: {schedule.note or 'no reason given'}", "it goes on when it is resumed"]
    found: list[str] = []
    if schedule.queue:
        runs = "run waits" if len(schedule.queue) == 1 else "runs wait"
        found.append(f"{len(schedule.queue)} {runs} for the end of flow {', '.join(schedule.running[-1:]) or '?'}")
    if schedule.backfill is not None:
        end = format_time(schedule.backfill.until)
        found.append(f"runs of the past are being made, up to that of {end}")
    last = schedule.runs[-1] if schedule.runs else None
    if last is not None and last.result not in {RunResult.STARTED, RunResult.QUEUED}:
        found.append(f"the run of {format_time(last.moment)} was {last.result.value.lower()}: {last.reason}")
    return [*found, *_about_next(schedule, now)]


def _about_next(schedule: ScheduleRecord, now: datetime) -> list[str]:
    if schedule.next_at is None:
        over = "as it was enabled until" if schedule.enabled_until else ""
        end = format_time(schedule.enabled_until) if schedule.enabled_until else ""
        return [" ".join(part for part in ("no moment is left", over, end) if part)]
    found = []
    if schedule.enabled_from is not None and schedule.enabled_from > now:
        found.append(f"it is enabled from {format_time(schedule.enabled_from)} on")
    anyway = next_moment(schedule.timetable._replace(exceptions=()), now)
    if anyway is not None and anyway < schedule.next_at:
        found.append(f"{format_time(anyway)} is in its exceptions")
    return [*found, f"the next run begins at {format_time(begins_at(schedule, schedule.next_at))}"]
