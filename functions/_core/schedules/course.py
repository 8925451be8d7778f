"""The course of a schedule: which of its moments are due, and what becomes of each. Pure.

A look at a schedule finds the moments that are due, asks which flows there are, and decides. It starts its flows, and
only then stores what it has decided: a process that dies in between is followed by one that finds the same flows there.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.values import flow_id_of
from functions._core.schedules.moments import jitter_of, moments_between, next_moment
from functions._core.schedules.record import Overlap, RunResult, ScheduledRun, ScheduleForm, ScheduleRecord
from functions._core.schedules.wakeups import NEVER

ON_TIME = timedelta(minutes=2)
"""A run that begins no later than this is on time: where a schedule outside ticks, two ticks may be so far apart."""

MOMENTS_PER_LOOK = 500
"""Moments that one look decides about; a look that leaves some is followed by another at once."""

MAX_QUEUED = 100
"""Runs of a schedule that wait; those beyond it are skipped."""

MAX_RUNNING = 20
"""Flows of a schedule that may be under way, where each new one cancels those before; with more it is skipped."""

LOOK_AGAIN = timedelta(seconds=5)
"""The pause between two looks at whether a run has ended that others wait for."""


class DueMoments(NamedTuple):
    """The moments that are due: those whose runs are made, how many are missed, and the last of these."""

    made: tuple[datetime, ...]
    missed: int
    last_missed: datetime | None
    next_at: datetime | None
    more: bool
    """Whether moments are left to another look."""


class Decided(NamedTuple):
    """The result of a look: the schedule afterwards, the moments to start, and the flows to cancel first."""

    schedule: ScheduleRecord
    starts: tuple[datetime, ...]
    cancels: tuple[str, ...]


def decision_id_of(name: str, moment: datetime) -> str:
    """Return the id of the decision of a run: whoever makes the run of a moment makes the same flow."""
    return f"schedule:{name}:{moment.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}"


def run_id_of(name: str, moment: datetime) -> str:
    """Return the id of the flow of a run."""
    return flow_id_of(decision_id_of(name, moment))


def decision_of(schedule: ScheduleRecord, moment: datetime) -> dict[str, Any]:
    """Return the decision of a run."""
    words = {"moment": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "name": schedule.name}
    template = {key: _filled(part, words) for key, part in schedule.decision.items()}
    labels = {"schedule": schedule.name, "scheduled-at": moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")}
    sla = {} if schedule.sla_seconds is None else {"sla_deadline_seconds": schedule.sla_seconds}
    given = template.get("labels", {})
    return {
        **template,
        **sla,
        "decision_id": decision_id_of(schedule.name, moment),
        "labels": {**given, **labels} if isinstance(given, dict) else given,
    }


def event_of(schedule: ScheduleRecord, moment: datetime, now: datetime) -> CloudEvent:
    """Return the event that carries the decision of a run."""
    decision = decision_of(schedule, moment)
    return CloudEvent(
        id=decision["decision_id"],
        source="/flowc/schedules",
        type=type_of("decision.consolidated"),
        time=now,
        data=decision,
    )


def begins_at(schedule: ScheduleRecord, moment: datetime) -> datetime:
    """Return when the run of a moment begins."""
    return moment + jitter_of(schedule.name, moment, timedelta(seconds=schedule.jitter_seconds))


def due(schedule: ScheduleRecord, now: datetime) -> DueMoments:
    """Return the moments of a schedule that are due at `now`."""
    made: deque[datetime] = deque()
    missed, last_missed = 0, None
    earliest = now - max(timedelta(seconds=schedule.catch_up.seconds), ON_TIME)
    moment, timetable = None if schedule.paused else schedule.next_at, schedule.timetable
    for _ in range(MOMENTS_PER_LOOK):
        if moment is None or begins_at(schedule, moment) > now:
            return DueMoments(tuple(made), missed, last_missed, moment, more=False)
        if begins_at(schedule, moment) < earliest:
            missed, last_missed = missed + 1, moment
        else:
            made.append(moment)
        if len(made) > schedule.catch_up.runs:
            missed, last_missed = missed + 1, made.popleft()
        moment = next_moment(timetable, moment)
    return DueMoments((), missed, last_missed, made[0] if made else moment, more=True)


def asked_for(schedule: ScheduleRecord, found: DueMoments) -> Collection[str]:
    """Return the ids of the flows that a decision depends on."""
    if schedule.paused or not (found.made or schedule.queue or schedule.backfill):
        return ()
    moments = (*found.made, *schedule.queue[:1], *_made_up_for(schedule))
    backfilled = schedule.backfill.running if schedule.backfill else ()
    return {*schedule.running, *backfilled, *(run_id_of(schedule.name, moment) for moment in moments)}


def decide(schedule: ScheduleRecord, found: DueMoments, flows: Mapping[str, bool], now: datetime) -> Decided:
    """Return what becomes of the moments that are due; `flows` are those that there are, and whether each goes on."""
    look = _Look(schedule, flows if asked_for(schedule, found) else None, now)
    if found.missed and found.last_missed is not None:
        reason = "the platform came too late for it"
        look.note(found.last_missed, RunResult.MISSED, reason=reason, number=found.missed)
    if not schedule.paused:
        look.begin_queued()
        for moment in found.made:
            look.take(moment, newest=moment == found.made[-1])
        look.make_up()
    later = schedule if schedule.paused else schedule.but(next_at=found.next_at)
    held = {"running": tuple(look.running), "queue": tuple(look.queue), "backfill": look.backfill}
    decided = later.with_runs(*look.runs).but(**held)
    again = now if found.more or look.again else None
    return Decided(awake(decided, now, again), tuple(look.starts), tuple(look.cancels))


def awake(schedule: ScheduleRecord, now: datetime, again: datetime | None = None) -> ScheduleRecord:
    """Return a schedule with the moment of its wake-up; `again` asks for another look then."""
    if schedule.paused:
        return schedule.but(wakeup_at=NEVER)
    waits = [again] if again is not None else []
    waits += [begins_at(schedule, schedule.next_at)] if schedule.next_at is not None else []
    waits += [now + LOOK_AGAIN] if schedule.queue or schedule.backfill is not None else []
    return schedule.but(wakeup_at=min(waits, default=NEVER))


def started_by(schedule: ScheduleRecord, moment: datetime, now: datetime, who: str) -> ScheduleRecord:
    """Return a schedule after a person had it run at once."""
    flow_id = run_id_of(schedule.name, moment)
    if any(run.flow_id == flow_id for run in schedule.runs):
        return schedule
    run = ScheduledRun(moment=moment, at=now, result=RunResult.STARTED, flow_id=flow_id, reason=f"wanted by {who[:60]}")
    return schedule.with_runs(run).but(running=(*schedule.running, flow_id)[-MAX_RUNNING:])


def refused(schedule: ScheduleRecord, moment: datetime, reason: str) -> ScheduleRecord:
    """Return a schedule one of whose runs was refused at the door."""
    flow_id = run_id_of(schedule.name, moment)
    runs = tuple(
        run.but(result=RunResult.REFUSED, reason=reason[:200], flow_id=None) if run.flow_id == flow_id else run
        for run in schedule.runs
    )
    counts = {**schedule.counts, RunResult.STARTED.value: schedule.counts.get(RunResult.STARTED.value, 0) - 1}
    counts[RunResult.REFUSED.value] = counts.get(RunResult.REFUSED.value, 0) + 1
    running = tuple(one for one in schedule.running if one != flow_id)
    return schedule.but(runs=runs, counts=counts, running=running)


def made(form: ScheduleForm, name: str, before: ScheduleRecord | None, now: datetime) -> ScheduleRecord:
    """Return the schedule that a form asks for, in place of the one before; what that has begun goes on."""
    if before is None:
        new = ScheduleRecord(**dict(form), name=name, created_at=now, updated_at=now)
        return awake(new.but(next_at=next_moment(form.timetable, now)), now)
    same = form.timetable == before.timetable
    following = before.next_at if same else next_moment(form.timetable, now)
    return awake(before.but(**dict(form), updated_at=now, next_at=following), now)


def resumed(schedule: ScheduleRecord, now: datetime) -> ScheduleRecord:
    """Return a schedule that goes on: with the moments to come, not with those that have passed meanwhile."""
    going_on = schedule.but(paused=False, note=None, next_at=next_moment(schedule.timetable, now))
    return awake(going_on, now)


class _Look:
    """What one look decides, moment by moment."""

    def __init__(self, schedule: ScheduleRecord, flows: Mapping[str, bool] | None, now: datetime) -> None:
        self._schedule, self._flows, self._now = schedule, flows or {}, now
        self.running = [one for one in schedule.running if flows is None or flows.get(one, False)]
        self.queue = list(schedule.queue)
        self.backfill = schedule.backfill
        self.runs: list[ScheduledRun] = []
        self.starts: list[datetime] = []
        self.cancels: list[str] = []
        self.again = False

    def note(
        self,
        moment: datetime,
        result: RunResult,
        reason: str | None = None,
        flow_id: str | None = None,
        number: int = 1,
    ) -> None:
        """Add a line to the history."""
        run = ScheduledRun(moment=moment, at=self._now, result=result, flow_id=flow_id, reason=reason, number=number)
        self.runs.append(run)

    def begin_queued(self) -> None:
        """Start the run that has waited longest, if none is under way."""
        if self.queue and not self.running:
            self._start(self.queue.pop(0))

    def take(self, moment: datetime, *, newest: bool) -> None:
        """Decide about a moment that is due."""
        policy, before = self._schedule.overlap, self.running[-1] if self.running else None
        if run_id_of(self._schedule.name, moment) in self._flows:
            self._start(moment)  # a look that was cut off has started it
        elif policy is Overlap.QUEUE and (before or self.queue):
            self._queue(moment, before)
        elif policy is Overlap.CANCEL_OLDEST and not newest:
            self.note(moment, RunResult.SKIPPED, reason="a later run is due, too, which would cancel it")
        elif before and (policy is Overlap.SKIP or len(self.running) >= MAX_RUNNING):
            self.note(moment, RunResult.SKIPPED, reason=f"flow {before} of the run before has not ended")
        else:
            self.cancels += (one for one in self.running if one in self._flows)
            self._start(moment)

    def make_up(self) -> None:
        """Start runs of the past, as many as may be under way."""
        if self.backfill is None:
            return
        running = [one for one in self.backfill.running if self._flows.get(one, False)]
        moments = _made_up_for(self._schedule)
        following = moments[0] if moments else None
        for moment in moments:
            if len(running) >= self.backfill.at_once:
                break
            flow_id = run_id_of(self._schedule.name, moment)
            self.again |= flow_id in self._flows  # nothing to wait for
            if self._flows.get(flow_id, True):
                running.append(flow_id)
            if flow_id not in self._flows:
                self.starts.append(moment)
                self.note(moment, RunResult.STARTED, flow_id=flow_id, reason="backfill")
            following = next_moment(self._schedule.timetable, moment)
        over = following is None or following > self.backfill.until
        if over and not running:
            self.backfill = None
        else:
            behind = self.backfill.until + timedelta(seconds=1)
            self.backfill = self.backfill.but(next=behind if over else following, running=tuple(running))

    def _start(self, moment: datetime) -> None:
        flow_id = run_id_of(self._schedule.name, moment)
        known = flow_id in self._flows
        if flow_id not in {run.flow_id for run in self._schedule.runs}:
            self.note(moment, RunResult.STARTED, flow_id=flow_id)
        if not known:
            self.starts.append(moment)
        if flow_id not in self.running and self._flows.get(flow_id, True):
            self.running.append(flow_id)

    def _queue(self, moment: datetime, before: str | None) -> None:
        if len(self.queue) >= MAX_QUEUED:
            self.note(moment, RunResult.SKIPPED, reason=f"{MAX_QUEUED} runs wait already")
            return
        self.queue.append(moment)
        self.note(moment, RunResult.QUEUED, reason=f"flow {before} of the run before has not ended")


def _made_up_for(schedule: ScheduleRecord) -> Sequence[datetime]:
    """Return the moments of the past whose turn may be now."""
    backfill = schedule.backfill
    if backfill is None:
        return ()
    moments: Iterator[datetime] = moments_between(schedule.timetable, backfill.next, backfill.until)
    return tuple(islice(moments, backfill.at_once))


def _filled(value: object, words: Mapping[str, str]) -> object:
    """Return a JSON value in which `{"$schedule": <word>}` is what the word stands for."""
    if isinstance(value, Mapping):
        if value.keys() == {"$schedule"} and value["$schedule"] in words:
            return words[value["$schedule"]]
        return {key: _filled(part, words) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(part, words) for part in value]
    return value
