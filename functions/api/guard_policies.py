"""Guard policies: which tasks must not be done, or not before a person has looked at them."""

from functools import partial

from fastapi import Request, Response

from functions._core.guards.policy import GUARD_POLICIES, GuardPolicy, GuardPolicyForm
from functions._core.records.values import Model
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.named_changes import delete_named, put_named
from functions.api.questions import found, named
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.slo_changes import BODY_PROBLEMS

router = Routes(prefix="/api/v1/guard-policies", tags=["guards"])

KIND = "guard policy"

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
    who = acting(request, requested_by)
    policy = await put_named(services, response, GUARD_POLICIES, name, dict(form), kind=KIND, who=who, why=why)
    services.ports.guards.forget()
    return policy


@router.get("")
async def list_guard_policies(services: Services) -> GuardPolicyList:
    """Return all stored guard policies, by name; those that come with Flow C are not among them."""
    return GuardPolicyList(items=tuple(await GUARD_POLICIES.all(services.ports.key_values)))


@router.get("/{name}", responses=problems(404))
async def get_guard_policy(services: Services, name: str) -> GuardPolicy:
    """Return a guard policy."""
    return await found(KIND, name, partial(GUARD_POLICIES.get, services.ports.key_values))


@router.delete("/{name}", status_code=204, responses=problems(404, 422))
async def delete_guard_policy(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget a guard policy; a ticket that is in quarantine by it stays there until a person decides."""
    await delete_named(services, GUARD_POLICIES, name, kind=KIND, who=acting(request, requested_by), why=why)
    services.ports.guards.forget()
