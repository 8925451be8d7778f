"""Guard policies: which tasks must not be done, or not before a person has looked at them."""

from fastapi import Request, Response

from functions._core.errors import Rejected
from functions._core.guards.policy import GUARD_POLICIES, GuardPolicy, GuardPolicyForm
from functions._core.records.values import Model
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.problems import not_found
from functions.api.questions import named, sound
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.slo_changes import BODY_PROBLEMS

router = Routes(prefix="/api/v1/guard-policies", tags=["guards"])

MAX_FORM = 32 * 1024
"""Bytes of a guard policy: it is one small record of the store, and all are read and listed together."""


class GuardPolicyList(Model):
    """All stored guard policies, by name."""

    items: tuple[GuardPolicy, ...]


@router.put(
    "/{name}",
    responses={**problems(409, *BODY_PROBLEMS), 201: {"model": GuardPolicy}},
    openapi_extra=json_body(GuardPolicyForm),
)
async def put_guard_policy(
    services: Services,
    request: Request,
    response: Response,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> GuardPolicy:
    """Make a guard policy, or replace it. Others know of it in ten seconds, of the first in two minutes."""
    named(name)
    form = await read_json(request, GuardPolicyForm, limit=MAX_FORM)
    entries, now = services.ports.key_values, services.ports.clock.now()
    _, version = await GUARD_POLICIES.one(entries, name)
    if not version and await GUARD_POLICIES.full(entries):
        text = f"there are {GUARD_POLICIES.at_most} guard policies, which is as many as there may be"
        raise Rejected(text, code="too_many", status=409)
    await record(services, "put_guard_policy", name, who=acting(request, requested_by), why=why)

    def made(known: GuardPolicy | None, _version: int) -> GuardPolicy:
        created = now if known is None else known.created_at
        return GuardPolicy(**dict(form), name=name, created_at=created, updated_at=now)

    policy, _ = await GUARD_POLICIES.changed(entries, name, made)
    services.ports.guards.forget()
    response.status_code = 200 if version else 201
    return policy


@router.get("")
async def list_guard_policies(services: Services) -> GuardPolicyList:
    """Return all stored guard policies, by name; those that come with Flow C are not among them."""
    return GuardPolicyList(items=tuple(await GUARD_POLICIES.all(services.ports.key_values)))


@router.get("/{name}", responses=problems(404))
async def get_guard_policy(services: Services, name: str) -> GuardPolicy:
    """Return a guard policy."""
    sound("guard policy", name)
    found = await GUARD_POLICIES.get(services.ports.key_values, name)
    if found is None:
        raise not_found("guard policy", name)
    return found


@router.delete("/{name}", status_code=204, responses=problems(404, 422))
async def delete_guard_policy(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget a guard policy; a ticket that is in quarantine by it stays there until a person decides."""
    sound("guard policy", name)
    await record(services, "delete_guard_policy", name, who=acting(request, requested_by), why=why)
    if not await GUARD_POLICIES.removed(services.ports.key_values, name):
        raise not_found("guard policy", name)
    services.ports.guards.forget()
