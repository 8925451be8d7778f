"""Service level objectives: made, changed, tested, and made of alert rules."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request, Response

from functions._core.errors import Conflict, Rejected
from functions._core.records.values import NAMESPACE, format_time, name_uuid
from functions._core.slo import stored
from functions._core.slo.alert_rules import slos_of_rules
from functions._core.slo.budget import left_of, rounded
from functions._core.slo.definition import MAX_SLOS, SPACE, Slo, SloForm, SloType
from functions._core.small_records import removed_entry
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, PRINTABLE, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Limit, found, sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.slo_changes import (
    BODY_PROBLEMS,
    MAX_FORM,
    AfterId,
    IfMatch,
    Service,
    check_change,
    check_room,
    later_if_not_now,
    make_room,
    page_of,
    tagged,
    with_fields,
)
from functions.api.slo_forms import MAX_RULES, ImportedSlos, RulesForm, SloChange, SloPage, SloTest
from functions.api.slo_measuring import measured

router = Routes(prefix="/api/v1/slos", tags=["slos"])


@router.post("", status_code=201, responses=problems(409, *BODY_PROBLEMS), openapi_extra=json_body(SloForm))
async def create_slo(
    services: Services, request: Request, response: Response, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> Slo:
    """Make an SLO. Its name is unique among those of its service that are enabled."""
    form = await read_json(request, SloForm, limit=MAX_FORM)
    new, refused = await made(services, [form], who=acting(request, requested_by), why=why)
    if refused:
        raise refused[0]
    return tagged(response, new[0])


@router.get("", responses=problems(422))
async def list_slos(
    services: Services,
    *,
    service_name: Service = None,
    layer: Annotated[str | None, Query(max_length=200, pattern=PRINTABLE, description="Of one layer")] = None,
    slo_type: Annotated[SloType | None, Query(description="In any letter case")] = None,
    enabled: Annotated[bool | None, Query(description="Only those that are calculated, or deleted ones")] = None,
    cursor: AfterId = None,
    limit: Limit = DEFAULT_LIMIT,
) -> SloPage:
    """Return SLOs by id, deleted ones, too."""
    wanted = [
        one
        for one in await stored.slos(services.ports.key_values)
        if service_name in {None, one.service_name}
        and layer in {None, one.layer}
        and slo_type in {None, one.kind}
        and enabled in {None, one.enabled}
    ]
    items, following = page_of(wanted, lambda one: one.slo_id, cursor, limit)
    return SloPage(items=tuple(items), cursor=following)


@router.post(
    "/import/alerts", status_code=201, responses=problems(409, *BODY_PROBLEMS), openapi_extra=json_body(RulesForm)
)
async def import_alerts(
    services: Services, request: Request, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ImportedSlos:
    """Make an SLO of each alert of a file of rules: target 0.999 over 30 days. Those whose names are taken are skipped.

    What a value is about no parser knows: test each SLO that is made.
    """
    form = await read_json(request, RulesForm, limit=MAX_RULES)
    forms = await asyncio.to_thread(slos_of_rules, form.rules)
    who = acting(request, requested_by)
    new, refused = await made(services, forms, who=who, why=why, dry_run=form.dry_run)
    return ImportedSlos(items=tuple(new), skipped=tuple(map(str, refused)), dry_run=form.dry_run)


@router.get("/{slo_id}", responses=problems(404))
async def get_slo(services: Services, response: Response, slo_id: str) -> Slo:
    """Return an SLO, a deleted one, too."""
    return tagged(response, await slo_of(services, slo_id))


@router.put("/{slo_id}", responses=problems(404, 409, 412, *BODY_PROBLEMS), openapi_extra=json_body(SloChange))
async def change_slo(
    services: Services,
    request: Request,
    response: Response,
    slo_id: str,
    *,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
) -> Slo:
    """Change some fields of an SLO; those that the body does not have stay. With `enabled` a deleted one is back."""
    known = await slo_of(services, slo_id)
    given = (await read_json(request, SloChange, limit=MAX_FORM)).root
    now = services.ports.clock.now()
    new = _changed(known, given, if_match, now)
    others = [one for one in await stored.slos(services.ports.key_values) if one.slo_id != slo_id]
    if new.enabled:
        if (taken := _taken(others, new)) is not None:
            raise taken
        check_room(others, MAX_SLOS, "SLOs")
    await record(services, "change_slo", slo_id, who=acting(request, requested_by), why=why)
    entries = services.ports.key_values
    changed = await stored.changed_slo(entries, slo_id, lambda one: _changed(one, given, if_match, now))
    if changed is None:
        raise not_found("slo", slo_id)
    if not changed.enabled:
        await later_if_not_now(services.engine.enforce_policies())
    return tagged(response, changed)


@router.delete("/{slo_id}", responses=problems(404, 409, 412, 422))
async def delete_slo(
    services: Services,
    request: Request,
    slo_id: str,
    *,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
) -> Slo:
    """Calculate an SLO no more. It can still be read, and `PUT` with `enabled` brings it back."""
    check_change(await slo_of(services, slo_id), if_match)
    now = services.ports.clock.now()

    def deleted(one: Slo) -> Slo:
        check_change(one, if_match)
        return one.but(enabled=False, updated_at=now) if one.enabled else one

    await record(services, "delete_slo", slo_id, who=acting(request, requested_by), why=why)
    gone = await stored.changed_slo(services.ports.key_values, slo_id, deleted)
    if gone is None:
        raise not_found("slo", slo_id)
    await later_if_not_now(services.engine.enforce_policies())
    return gone


@router.post("/{slo_id}/test", responses=problems(404, 409, 422, 502, 503, 504))
async def test_slo(services: Services, slo_id: str) -> SloTest:
    """Measure an SLO over its window now, and store nothing.

    409 `no_data` where a query finds nothing, `counting` while the history is not counted so far back.
    """
    slo = await slo_of(services, slo_id)
    now = services.ports.clock.now()
    found_now = await measured(services, slo, hours=24 * slo.window_days, now=now)
    left = left_of(found_now.error, slo.target)
    return SloTest(
        slo_id=slo.slo_id,
        sli_value=rounded(found_now.value),
        sample_count=found_now.total,
        slo_target=slo.target,
        met=left.consumed <= 100,  # noqa: PLR2004 percent
        error_budget_remaining=left.remaining,
        window_days=slo.window_days,
        measured_at=now,
    )


async def made(
    services: ApiServices, forms: Sequence[SloForm], *, who: str, why: str, dry_run: bool = False
) -> tuple[Sequence[Slo], Sequence[Rejected]]:
    """Store SLOs unless they are only tried, and keep who made them; return them, and why others were not made.

    A name that is taken keeps no other from being made. Raises `Rejected`, status 409, before any is stored, when there
    would be too many.
    """
    entries, now = services.ports.key_values, services.ports.clock.now()
    known, new, refused = await stored.slos(entries), list[Slo](), list[Rejected]()
    for form in forms:
        one = slo_from(form, now)
        if one.enabled and (taken := _taken((*known, *new), one)):
            refused.append(taken)
        else:
            new.append(one)
    check_room(known, MAX_SLOS, "SLOs", sum(one.enabled for one in new))
    if dry_run:
        return new, refused
    for one in new:
        known = await make_room(entries, known, MAX_SLOS)
        await record(services, "create_slo", one.slo_id, who=who, why=why)
        try:
            await stored.put_new(entries, one)
        except Conflict as same:  # made in the same millisecond
            raise _name_taken(one) from same
    return await _kept(services, new), refused


async def _kept(services: ApiServices, new: Sequence[Slo]) -> Sequence[Slo]:
    """Return SLOs that were stored just now, or take them back where others were made at the same moment.

    Of two of one name both may be refused.
    """
    all_of_them = await stored.slos(services.ports.key_values)
    for one in new:
        others = [other for other in all_of_them if other.slo_id != one.slo_id]
        taken = _taken(others, one) if one.enabled else None
        if taken is not None:
            for other in new:
                await removed_entry(services.ports.key_values, SPACE, other.slo_id)
            raise taken
    return new


def slo_from(form: SloForm, now: datetime) -> Slo:
    """Return a new SLO; its id follows from its names and the moment."""
    name = f"slo:{len(form.service_name)}:{form.service_name}:{form.name}:{format_time(now)}"
    fields = {**dict(form), "slo_type": form.kind}
    return Slo(**fields, slo_id=name_uuid(str(NAMESPACE), name), created_at=now, updated_at=now)


async def slo_of(services: ApiServices, slo_id: str) -> Slo:
    """Return an SLO; raise `Rejected`, status 404, where there is none."""
    return await found("slo", slo_id, lambda one: stored.slo(services.ports.key_values, one))


async def enabled_slo(services: ApiServices, slo_id: str) -> Slo:
    """Return an SLO; raise `Rejected`: status 404 where there is none, 409 for a deleted one."""
    one = await slo_of(services, sound("slo", slo_id))
    if not one.enabled:
        raise Rejected("the SLO is deleted: it is not calculated any more", code="slo_disabled", status=409)
    return one


def _changed(known: Slo, given: Mapping[str, Any], if_match: str | None, now: datetime) -> Slo:
    check_change(known, if_match)
    form = with_fields(SloForm, known, given)
    own: dict[str, Any] = {"slo_id": known.slo_id, "created_at": known.created_at, "managed_by": known.managed_by}
    return Slo(**{**dict(form), "slo_type": form.kind}, **own, updated_at=now)


def _taken(others: Sequence[Slo], new: Slo) -> Rejected | None:
    """Return the refusal of a name that an SLO has which is enabled."""
    named = any(one.enabled and (one.service_name, one.name) == (new.service_name, new.name) for one in others)
    return _name_taken(new) if named else None


def _name_taken(new: Slo) -> Rejected:
    text = f"the service {new.service_name[:100]!r} has an SLO {new.name[:100]!r}"
    return Rejected(text, code="slo_exists", status=409)
