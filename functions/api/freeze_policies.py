"""Freeze policies, and the freezes that they begin."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response

from functions._core.errors import Conflict, Rejected
from functions._core.records.record import fields_of
from functions._core.records.values import NAMESPACE, format_time, name_uuid
from functions._core.slo import stored
from functions._core.slo.freezing import MAX_POLICIES, SPACE, FreezeEvent, FreezePolicy, FreezePolicyForm, FreezeScope
from functions._core.slo.listing import CURSOR, newest_freezes
from functions._core.small_records import removed_entry
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.freeze_reader import read_freezes
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Limit, found, sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.slo_changes import (
    BODY_PROBLEMS,
    MAX_FORM,
    AfterId,
    Days,
    IfMatch,
    Service,
    Since,
    Until,
    check_change,
    check_room,
    later_if_not_now,
    make_room,
    page_of,
    person,
    span_of,
    tagged,
    with_fields,
)
from functions.api.slo_forms import FreezeList, FreezePage, FreezeView, PolicyChange, PolicyPage, ResolveForm

router = Routes(prefix="/api/v1/policies", tags=["freezes"])


@router.get("/freezes/active", responses=problems(422))
async def list_active_freezes(services: Services, service_name: Service = None) -> FreezeList:
    """Return the freezes that last, the oldest first; with a service those that hold for it."""
    now = services.ports.clock.now()
    lasting = await read_freezes(services.ports)
    namespaces = lasting.namespaces.get(service_name or "", frozenset())
    wanted = [one for one in lasting.events if service_name is None or one.freezes(service_name, namespaces)]
    return FreezeList(items=tuple(freeze_view(one, now) for one in wanted))


@router.get("/freezes/history", responses=problems(400, 422))
async def list_freezes(  # noqa: PLR0913 one parameter for each filter
    services: Services,
    *,
    since: Since = None,
    until: Until = None,
    days: Days = None,
    service_name: Service = None,
    policy_id: Annotated[str | None, Query(max_length=64, description="Of one policy")] = None,
    active: Annotated[bool | None, Query(description="Only those that last, or that have ended")] = None,
    cursor: Annotated[
        str | None, Query(max_length=100, pattern=CURSOR, description="As the page before has it")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> FreezePage:
    """Return freezes, the newest first, with their durations. They are kept for 91 days from their end on.

    A service is the one whose budget has begun a freeze, or the target of it. A page may have few or no items although
    there is a cursor.
    """
    now = services.ports.clock.now()
    first, last = span_of(since, until, days, now)

    def fits(event: FreezeEvent) -> bool:
        named = event.service_name == service_name or (
            event.scope is FreezeScope.SERVICE and event.target == service_name
        )
        of_policy = policy_id in {None, event.policy_id}
        return (service_name is None or named) and of_policy and active in {None, event.active}

    events, following = await newest_freezes(services.ports, first, last, limit, fits=fits, cursor=cursor)
    return FreezePage(items=tuple(freeze_view(one, now) for one in events), cursor=following)


@router.post(
    "/freezes/{event_id}/resolve",
    responses=problems(404, 409, *BODY_PROBLEMS),
    openapi_extra=json_body(ResolveForm, required=False),
)
async def resolve_freeze(
    services: Services, request: Request, event_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> FreezeView:
    """End a freeze by hand. Its policy does not freeze again before the budget has recovered."""
    sound("freeze", event_id)
    form = await read_json(request, ResolveForm, limit=MAX_FORM)
    who = person(request, form.requested_by, requested_by)
    reason = why if form.reason == NO_REASON else form.reason
    await record(services, "resolve_freeze", event_id, who=who, why=reason)
    ended = await services.engine.resolve_freeze(event_id, who, reason)
    return freeze_view(ended, services.ports.clock.now())


@router.post("", status_code=201, responses=problems(409, *BODY_PROBLEMS), openapi_extra=json_body(FreezePolicyForm))
async def create_policy(
    services: Services, request: Request, response: Response, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> FreezePolicy:
    """Make a freeze policy. Its name is unique among those that are enabled."""
    form = await read_json(request, FreezePolicyForm, limit=MAX_FORM)
    entries, now = services.ports.key_values, services.ports.clock.now()
    policy_id = name_uuid(str(NAMESPACE), f"freeze-policy:{form.name}:{format_time(now)}")
    new = FreezePolicy(**dict(form), policy_id=policy_id, created_at=now, updated_at=now)
    known = await stored.policies(entries)
    _check(known, new)
    await make_room(entries, known, MAX_POLICIES)
    await record(services, "create_policy", policy_id, who=acting(request, requested_by), why=why)
    try:
        await stored.put_new(entries, new)
    except Conflict as taken:  # in the same millisecond
        raise _name_taken(new) from taken
    try:
        _check([one for one in await stored.policies(entries) if one.policy_id != policy_id], new)
    except Rejected:  # others were made at the same moment; of two of one name both may be refused
        await removed_entry(entries, SPACE, policy_id)
        raise
    return tagged(response, new)


@router.get("", responses=problems(422))
async def list_policies(
    services: Services,
    *,
    enabled: Annotated[bool | None, Query(description="Only those that are evaluated, or deleted ones")] = None,
    cursor: AfterId = None,
    limit: Limit = DEFAULT_LIMIT,
) -> PolicyPage:
    """Return freeze policies by id, deleted ones, too."""
    wanted = [one for one in await stored.policies(services.ports.key_values) if enabled in {None, one.enabled}]
    items, following = page_of(wanted, lambda one: one.policy_id, cursor, limit)
    return PolicyPage(items=tuple(items), cursor=following)


@router.get("/{policy_id}", responses=problems(404))
async def get_policy(services: Services, response: Response, policy_id: str) -> FreezePolicy:
    """Return a freeze policy, a deleted one, too."""
    return tagged(response, await _policy(services, policy_id))


@router.put("/{policy_id}", responses=problems(404, 409, 412, *BODY_PROBLEMS), openapi_extra=json_body(PolicyChange))
async def change_policy(
    services: Services,
    request: Request,
    response: Response,
    policy_id: str,
    *,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
) -> FreezePolicy:
    """Change some fields of a policy; those that the body does not have stay. It is evaluated at once."""
    known = await _policy(services, policy_id)
    given = (await read_json(request, PolicyChange, limit=MAX_FORM)).root
    now = services.ports.clock.now()
    new = _changed(known, given, if_match, now)
    entries = services.ports.key_values
    _check([one for one in await stored.policies(entries) if one.policy_id != policy_id], new)
    await record(services, "change_policy", policy_id, who=acting(request, requested_by), why=why)
    changed = await stored.changed_policy(entries, policy_id, lambda one: _changed(one, given, if_match, now))
    return tagged(response, await _evaluated(services, changed, policy_id))


@router.delete("/{policy_id}", responses=problems(404, 409, 412, 422))
async def delete_policy(
    services: Services,
    request: Request,
    policy_id: str,
    *,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
) -> FreezePolicy:
    """Evaluate a policy no more; what it has frozen is free. It can still be read, and `PUT` brings it back."""
    check_change(await _policy(services, policy_id), if_match)
    now = services.ports.clock.now()

    def deleted(one: FreezePolicy) -> FreezePolicy:
        check_change(one, if_match)
        return one.but(enabled=False, updated_at=now) if one.enabled else one

    await record(services, "delete_policy", policy_id, who=acting(request, requested_by), why=why)
    gone = await stored.changed_policy(services.ports.key_values, policy_id, deleted)
    return await _evaluated(services, gone, policy_id)


def freeze_view(event: FreezeEvent, now: datetime) -> FreezeView:
    """Return a freeze as it is shown."""
    lasted = (event.resolved_at or now) - event.triggered_at
    seconds = max(0.0, round(lasted.total_seconds(), 3))
    return FreezeView(**fields_of(event), active=event.active, duration_seconds=seconds)


async def _evaluated(services: ApiServices, changed: FreezePolicy | None, policy_id: str) -> FreezePolicy:
    """Return a policy that was changed just now, once it has frozen or freed what it should."""
    if changed is None:
        raise not_found("policy", policy_id)
    await later_if_not_now(services.engine.enforce_policies())
    return changed


async def _policy(services: ApiServices, policy_id: str) -> FreezePolicy:
    return await found("policy", policy_id, lambda one: stored.policy(services.ports.key_values, one))


def _changed(known: FreezePolicy, given: Mapping[str, Any], if_match: str | None, now: datetime) -> FreezePolicy:
    check_change(known, if_match)
    form = with_fields(FreezePolicyForm, known, given)
    own: dict[str, Any] = {"policy_id": known.policy_id, "created_at": known.created_at, "managed_by": known.managed_by}
    return FreezePolicy(**dict(form), **own, updated_at=now)


def _check(others: Sequence[FreezePolicy], new: FreezePolicy) -> None:
    """Raise `Rejected`, status 409, for a name that is taken, or one policy too many."""
    if new.enabled:
        if any(one.enabled and one.name == new.name for one in others):
            raise _name_taken(new)
        check_room(others, MAX_POLICIES, "policies")


def _name_taken(new: FreezePolicy) -> Rejected:
    return Rejected(f"there is a policy {new.name[:100]!r}", code="policy_exists", status=409)
