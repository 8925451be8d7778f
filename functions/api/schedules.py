"""Schedules: decisions that are made again and again, at moments that are known before."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any

from fastapi import Query, Request, Response

from functions._core.decision.reading import InvalidDecision, check_plan, decision_in
from functions._core.decision.stored_plans import resolved
from functions._core.errors import Rejected, Unreadable
from functions._core.records.models import Reason
from functions._core.records.record import fields_of
from functions._core.schedules import course, reasons, stored
from functions._core.schedules.moments import moments_between
from functions._core.schedules.record import MAX_SCHEDULES, Backfill, ScheduleForm, ScheduleRecord
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.problems import Itemised, not_found
from functions.api.questions import NAME, named, sound
from functions.api.routes import Routes
from functions.api.schedule_forms import (
    BackfillBegun,
    BackfillForm,
    RunList,
    RunStarted,
    RunView,
    ScheduleLine,
    SchedulePage,
    SchedulePause,
    ScheduleView,
)
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/schedules", tags=["schedules"])

MAX_FORM = 36 * 1024
"""Bytes of a schedule: with its history it is one small record of the store."""

MAX_BACKFILL = 1000
"""Moments of one backfill."""

OLDEST = timedelta(days=3653)
"""How long ago a backfill may begin."""

MAX_PAGE = 100
"""Schedules in a page: they are read with their decisions."""

BODY_PROBLEMS = (400, 403, 413, 415, 422)

Change = Callable[[ScheduleRecord], ScheduleRecord]


@router.put(
    "/{name}",
    responses={**problems(409, *BODY_PROBLEMS), 201: {"model": ScheduleView}},
    openapi_extra=json_body(ScheduleForm),
)
async def put_schedule(
    services: Services,
    request: Request,
    response: Response,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> ScheduleView:
    """Make a schedule, or replace it: what has begun goes on, and a pause stays."""
    named(name)
    form = await read_json(request, ScheduleForm, limit=MAX_FORM)
    now = services.ports.clock.now()
    new = course.made(form, name, None, now)
    if len(new.model_dump_json().encode()) > MAX_FORM:
        raise Rejected(f"the schedule is larger than {MAX_FORM} bytes", code="too_large", status=413)
    await _check_decision(services, new)
    entries = services.ports.key_values
    known = await _known(services, name)
    if not known and await stored.number(entries, MAX_SCHEDULES) >= MAX_SCHEDULES:
        text = f"there are {MAX_SCHEDULES} schedules, which is as many as there may be"
        raise Rejected(text, code="too_many_schedules", status=409)
    await record(services, "put_schedule", name, who=acting(request, requested_by), why=why)
    schedule = await stored.changed(entries, name, lambda before: course.made(form, name, before, now))
    response.status_code = 200 if known else 201
    return _armed(services, schedule, name)


@router.get("", responses=problems(400, 422))
async def list_schedules(
    services: Services,
    cursor: Annotated[
        str | None, Query(max_length=63, pattern=NAME, description="The `cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many to return at most")] = MAX_PAGE,
) -> SchedulePage:
    """Return schedules by name, without their decisions."""
    schedules, following = await stored.page(services.ports.key_values, cursor, limit)
    return SchedulePage(items=tuple(_line(services, one) for one in schedules), cursor=following)


@router.get("/{name}", responses=problems(404))
async def get_schedule(services: Services, name: str) -> ScheduleView:
    """Return a schedule, when it runs next, and why it does or does not."""
    return _view(services, await _schedule(services, name))


@router.delete("/{name}", status_code=204, responses=problems(404, 422))
async def delete_schedule(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget a schedule and its history; flows that it has started go on."""
    sound("schedule", name)
    await record(services, "delete_schedule", name, who=acting(request, requested_by), why=why)
    if not await stored.removed(services.ports.key_values, name):
        raise not_found("schedule", name)


@router.get("/{name}/runs", responses=problems(404))
async def list_runs(services: Services, name: str) -> RunList:
    """Return what became of the newest moments of a schedule, the newest first, with the status of each flow."""
    schedule = await _schedule(services, name)
    items = [RunView(**dict(run), status=await _status(services, run.flow_id)) for run in reversed(schedule.runs)]
    return RunList(items=tuple(items))


@router.post(
    "/{name}/pause", responses=problems(404, *BODY_PROBLEMS), openapi_extra=json_body(SchedulePause, required=False)
)
async def pause_schedule(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ScheduleView:
    """Start nothing any more, also no runs that wait; moments that pass meanwhile are not made up for."""
    form = await read_json(request, SchedulePause, limit=MAX_FORM)
    now = services.ports.clock.now()
    return await _changed(
        services,
        "pause_schedule",
        name,
        lambda one: course.awake(one.but(paused=True, note=form.note, updated_at=now), now),
        who=acting(request, requested_by),
        why=form.note or why,
    )


@router.post("/{name}/resume", responses=problems(404, 422))
async def resume_schedule(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ScheduleView:
    """Go on with the moments to come; a schedule that is not paused stays as it is."""
    now, who = services.ports.clock.now(), acting(request, requested_by)
    return await _changed(services, "resume_schedule", name, lambda one: course.resumed(one, now), who=who, why=why)


@router.post("/{name}/run", status_code=202, responses=problems(404, 422))
async def run_schedule(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> RunStarted:
    """Make a run now, whatever its overlap policy is, also of a paused schedule; twice in one second is one run."""
    schedule = await _schedule(services, name)
    now, who = services.ports.clock.now(), acting(request, requested_by)
    moment = now.replace(microsecond=0)
    await record(services, "run_schedule", name, who=who, why=why)
    flow_id = course.run_id_of(name, moment)
    if await services.ports.store.flow(flow_id) is None:
        await services.engine.admit(course.event_of(schedule, moment, now))
    entries = services.ports.key_values
    await stored.changed(entries, name, lambda one: one and course.started_by(one, moment, now, who))
    return RunStarted(flow_id=flow_id, moment=moment)


@router.post(
    "/{name}/backfill",
    status_code=202,
    responses=problems(404, 409, *BODY_PROBLEMS),
    openapi_extra=json_body(BackfillForm),
)
async def backfill_schedule(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> BackfillBegun:
    """Make the runs of moments of the past, from the first on; what ran at its moment does not run again."""
    schedule = await _schedule(services, name)
    form = await read_json(request, BackfillForm, limit=MAX_FORM)
    now = services.ports.clock.now()
    if not now - OLDEST <= form.first <= form.last <= now:
        text = "first and last are in this order, in the past, and at most ten years ago"
        raise Rejected(text, code="invalid_data", status=422)
    moments = moments_between(schedule.timetable, form.first, form.last)
    runs = sum(1 for _ in islice(moments, MAX_BACKFILL + 1))
    if not 0 < runs <= MAX_BACKFILL:
        number = "no moments" if runs == 0 else f"more than {MAX_BACKFILL} moments"
        raise Rejected(f"the schedule has {number} between first and last", code="bad_number_of_runs", status=422)
    new = Backfill(next=form.first, until=form.last, at_once=form.at_once)

    def with_backfill(one: ScheduleRecord) -> ScheduleRecord:
        if one.backfill is not None:
            raise Rejected("a backfill of this schedule is under way", code="backfill_under_way", status=409)
        return course.awake(one.but(backfill=new), now, now)

    who = acting(request, requested_by)
    await _changed(services, "backfill_schedule", name, with_backfill, who=who, why=why)
    return BackfillBegun(runs=runs)


@router.delete("/{name}/backfill", responses=problems(404, 422))
async def stop_backfill(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ScheduleView:
    """Start no further runs of the past; those that have begun go on."""
    now, who = services.ports.clock.now(), acting(request, requested_by)
    return await _changed(
        services, "stop_backfill", name, lambda one: course.awake(one.but(backfill=None), now), who=who, why=why
    )


async def _changed(
    services: ApiServices, action: str, name: str, change: Change, *, who: str, why: str
) -> ScheduleView:
    """Keep who does what, and store what `change` makes of a schedule; raise `Rejected`, status 404, without one."""
    await _schedule(services, name)
    await record(services, action, name, who=who, why=why)
    schedule = await stored.changed(services.ports.key_values, name, lambda one: None if one is None else change(one))
    return _armed(services, schedule, name)


async def _schedule(services: ApiServices, name: str) -> ScheduleRecord:
    schedule, _ = await stored.read(services.ports.key_values, sound("schedule", name))
    if schedule is None:
        raise not_found("schedule", name)
    return schedule


async def _known(services: ApiServices, name: str) -> bool:
    """Tell whether a schedule is there; one that cannot be read makes room for a new one."""
    try:
        return (await stored.read(services.ports.key_values, name)).schedule is not None
    except Unreadable:
        await stored.removed(services.ports.key_values, name)
        return False


async def _check_decision(services: ApiServices, schedule: ScheduleRecord) -> None:
    """Raise `Itemised`, status 422, for a decision that C1 would refuse, with the stored plan that it may name."""
    now = services.ports.clock.now()
    decision = await resolved(services.ports.key_values, course.decision_of(schedule, now))
    errors = await asyncio.to_thread(_errors, decision, now, services.rules.default_sla)  # a stored plan may be large
    if errors:
        found = [fields_of(_within(reason)) for reason in errors]
        raise Itemised(found[0]["message"], code="invalid_data", status=422, members={"errors": found})


def _errors(document: Mapping[str, Any], now: datetime, default_sla: timedelta) -> Sequence[Reason]:
    """Return what C1 would refuse a decision for."""
    try:
        return check_plan(decision_in(document), now, default_sla)[0]
    except InvalidDecision as invalid:
        return invalid.reasons


def _within(reason: Reason) -> Reason:
    return reason.but(where=f"body.decision.{reason.where}" if reason.where else "body.decision")


async def _status(services: ApiServices, flow_id: str | None) -> str | None:
    try:
        flow = await services.ports.store.flow(flow_id) if flow_id is not None else None
    except Unreadable:
        return None
    return flow.status.value if flow is not None else None


def _armed(services: ApiServices, schedule: ScheduleRecord | None, name: str) -> ScheduleView:
    """Return what is shown of a schedule that was stored just now, and wake up for it in time."""
    if schedule is None:
        raise not_found("schedule", name)
    services.arm(schedule.wakeup_at)
    return _view(services, schedule)


def _view(services: ApiServices, schedule: ScheduleRecord) -> ScheduleView:
    now = services.ports.clock.now()
    return ScheduleView(
        **dict(schedule),
        state=reasons.state_of(schedule),
        why=reasons.why(schedule, now),
        next_runs=reasons.next_runs(schedule, now),
    )


def _line(services: ApiServices, schedule: ScheduleRecord) -> ScheduleLine:
    following = None if schedule.paused or schedule.next_at is None else schedule.next_at
    return ScheduleLine(
        name=schedule.name,
        state=reasons.state_of(schedule),
        why=reasons.why(schedule, services.ports.clock.now()),
        cron=schedule.cron,
        zone=schedule.zone,
        every_seconds=schedule.every_seconds,
        overlap=schedule.overlap,
        next_run=None if following is None else course.begins_at(schedule, following),
        counts=schedule.counts,
    )
