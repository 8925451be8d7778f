"""Flow SLA policies: what is done when a flow comes at risk of missing its deadline, or has missed it."""

from fastapi import Request, Response
from pydantic import Field

from functions._core.errors import Rejected
from functions._core.records.values import Model
from functions._core.slo import stored_policies as stored
from functions._core.slo.flow_policies import FlowSlaPolicy, FlowSlaPolicyForm
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.preconditions import IfMatch, IfNoneMatch, names, unmoved
from functions.api.problems import not_found
from functions.api.questions import named, sound
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/flow-sla-policies", tags=["flow SLA policies"])

MAX_FORM = 8 * 1024
"""Bytes of a policy: all are read and compared together."""

BODY_PROBLEMS = (400, 403, 412, 413, 415, 422)

KIND = "flow policy"


class FlowSlaPolicyList(Model):
    """All flow SLA policies, by name."""

    items: tuple[FlowSlaPolicy, ...] = Field(description="Policies")


@router.get("")
async def list_flow_sla_policies(services: Services) -> FlowSlaPolicyList:
    """Return all policies, by name, which is also the order in which they act."""
    return FlowSlaPolicyList(items=tuple(await stored.FLOW_POLICIES.all(services.ports.key_values)))


@router.get(
    "/{name}",
    response_model=FlowSlaPolicy,
    responses={**problems(400, 404), 304: {"description": "It is still the one that If-None-Match names"}},
)
async def get_flow_sla_policy(
    services: Services, response: Response, name: str, if_none_match: IfNoneMatch = None
) -> FlowSlaPolicy | Response:
    """Return a policy, and its version as the ETag."""
    policy, version = await stored.FLOW_POLICIES.one(services.ports.key_values, sound(KIND, name))
    if policy is None:
        raise not_found(KIND, name)
    etag = {"etag": f'"{version}"'}
    if if_none_match is not None and names(if_none_match, str(version)):
        return Response(status_code=304, headers=etag)
    response.headers.update(etag)
    return policy


@router.put(
    "/{name}",
    responses={**problems(409, *BODY_PROBLEMS), 201: {"model": FlowSlaPolicy}},
    openapi_extra=json_body(FlowSlaPolicyForm),
)
async def put_flow_sla_policy(  # noqa: PLR0913, PLR0917 a parameter for each header and question
    services: Services,
    request: Request,
    response: Response,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> FlowSlaPolicy:
    """Make a policy, or replace it; what it has begun to do for a flow it does as it is then.

    With `If-Match` only that version is replaced, with `If-None-Match: *` only a new one is made: else 412.
    """
    named(name)
    form = await read_json(request, FlowSlaPolicyForm, limit=MAX_FORM)
    entries, now = services.ports.key_values, services.ports.clock.now()
    _, version = await stored.FLOW_POLICIES.one(entries, name)
    check = unmoved("policy", name, if_match, if_none_match)
    check(version)
    if not version and await stored.FLOW_POLICIES.full(entries):
        text = f"there are {stored.FLOW_POLICIES.at_most} flow SLA policies, which is as many as there may be"
        raise Rejected(text, code="too_many_policies", status=409)
    await record(services, "put_flow_sla_policy", name, who=acting(request, requested_by), why=why)

    def made(known: FlowSlaPolicy | None, known_version: int) -> FlowSlaPolicy:
        check(known_version)
        created = now if known is None else known.created_at
        return FlowSlaPolicy(**dict(form), name=name, created_at=created, updated_at=now)

    policy, stored_version = await stored.FLOW_POLICIES.changed(entries, name, made)
    services.engine.flow_policies_changed()
    response.status_code = 200 if version else 201
    response.headers["etag"] = f'"{stored_version}"'
    return policy


@router.delete("/{name}", status_code=204, responses=problems(400, 404, 412, 422))
async def delete_flow_sla_policy(
    services: Services,
    request: Request,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
    if_match: IfMatch = None,
) -> None:
    """Forget a policy; what it has done stays, and flows that it has paused for another one go on when that ends."""
    sound(KIND, name)
    check = unmoved("policy", name, if_match, None)
    _, version = await stored.FLOW_POLICIES.one(services.ports.key_values, name)
    if not version:
        raise not_found(KIND, name)
    check(version)
    await record(services, "delete_flow_sla_policy", name, who=acting(request, requested_by), why=why)
    if not await stored.FLOW_POLICIES.removed(services.ports.key_values, name, check):
        raise not_found(KIND, name)
    services.engine.flow_policies_changed()
