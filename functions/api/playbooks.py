"""Playbooks: what heals incidents, and what it has done about them."""

from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.errors import Rejected
from functions._core.healing import stored
from functions._core.healing.playbooks import Playbook, PlaybookForm
from functions._core.healing.rehearsing import Rehearsal
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.healing_forms import HealingRunList, PlaybookList, RehearsalForm
from functions.api.preconditions import IfMatch, IfNoneMatch, unmoved
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Id, Limit, named, sound
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1", tags=["healing"])

MAX_FORM = 16 * 1024
"""Bytes of a playbook: all are read and compared together."""

BODY_PROBLEMS = (400, 403, 412, 413, 415, 422)

KIND = "playbook"

RunCursor = Annotated[
    str | None, Query(max_length=300, pattern=r"^[0-9]{17}/[!-~]+$", description="The `cursor` of the page before")
]


@router.get("/playbooks")
async def list_playbooks(services: Services) -> PlaybookList:
    """Return all playbooks, by name."""
    return PlaybookList(items=tuple(await stored.PLAYBOOKS.all(services.ports.key_values)))


@router.get("/playbooks/{name}", responses=problems(404))
async def get_playbook(services: Services, response: Response, name: str) -> Playbook:
    """Return a playbook, and its version as the ETag."""
    playbook, version = await stored.PLAYBOOKS.one(services.ports.key_values, sound(KIND, name))
    if playbook is None:
        raise not_found(KIND, name)
    response.headers["etag"] = f'"{version}"'
    return playbook


@router.put(
    "/playbooks/{name}",
    responses={**problems(409, *BODY_PROBLEMS), 201: {"model": Playbook}},
    openapi_extra=json_body(PlaybookForm),
)
async def put_playbook(  # noqa: PLR0913, PLR0917 a parameter for each header and question
    services: Services,
    request: Request,
    response: Response,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Playbook:
    """Make a playbook, or replace it; what it has begun about an incident it goes on with as it is then.

    With `If-Match` only that version is replaced, with `If-None-Match: *` only a new one is made: else 412.
    """
    named(name)
    form = await read_json(request, PlaybookForm, limit=MAX_FORM)
    entries, now = services.ports.key_values, services.ports.clock.now()
    _, version = await stored.PLAYBOOKS.one(entries, name)
    check = unmoved("playbook", name, if_match, if_none_match)
    check(version)
    if not version and await stored.PLAYBOOKS.full(entries):
        text = f"there are {stored.PLAYBOOKS.at_most} playbooks, which is as many as there may be"
        raise Rejected(text, code="too_many_playbooks", status=409)
    await record(services, "put_playbook", name, who=acting(request, requested_by), why=why)

    def made(known: Playbook | None, known_version: int) -> Playbook:
        check(known_version)
        created = now if known is None else known.created_at
        return Playbook(**dict(form), name=name, created_at=created, updated_at=now)

    playbook, stored_version = await stored.PLAYBOOKS.changed(entries, name, made)
    services.engine.playbooks_changed()
    response.status_code = 200 if version else 201
    response.headers["etag"] = f'"{stored_version}"'
    return playbook


@router.delete("/playbooks/{name}", status_code=204, responses=problems(400, 404, 412, 422))
async def delete_playbook(
    services: Services,
    request: Request,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
) -> None:
    """Forget a playbook; incidents that it is at work on are escalated at their next look."""
    sound(KIND, name)
    check = unmoved("playbook", name, if_match, None)
    _, version = await stored.PLAYBOOKS.one(services.ports.key_values, name)
    if not version:
        raise not_found(KIND, name)
    check(version)
    await record(services, "delete_playbook", name, who=acting(request, requested_by), why=why)
    if not await stored.PLAYBOOKS.removed(services.ports.key_values, name, check):
        raise not_found(KIND, name)
    services.engine.playbooks_changed()


@router.get("/healing-runs", responses=problems(400, 422))
async def list_healing_runs(
    services: Services, flow_id: Id = None, cursor: RunCursor = None, limit: Limit = DEFAULT_LIMIT
) -> HealingRunList:
    """Return what playbooks have done, the newest incident first; of a flow the newest 50, on one page."""
    entries = services.ports.key_values
    if flow_id is not None:
        runs = sorted(await stored.runs_of(entries, flow_id), key=lambda one: one.incident.raised_at, reverse=True)
        return HealingRunList(items=tuple(runs[:limit]))
    found, following = await stored.newest_runs(entries, cursor, limit)
    return HealingRunList(items=tuple(found), cursor=following)


@router.post("/healing-runs/rehearse", responses=problems(404, *BODY_PROBLEMS), openapi_extra=json_body(RehearsalForm))
async def rehearse_healing(services: Services, request: Request) -> Rehearsal:
    """Return what a playbook would do now about an incident that a flow has had. Nothing is done."""
    form = await read_json(request, RehearsalForm, limit=MAX_FORM)
    return await services.engine.rehearse_healing(form.flow_id, form.incident_id, form.playbook)
