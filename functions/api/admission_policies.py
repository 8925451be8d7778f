"""Admission policies: what becomes of flows while an error budget is spent, or a freeze lasts."""

from fastapi import Request, Response

from functions._core.errors import Rejected
from functions._core.records.values import Model
from functions._core.slo import stored
from functions._core.slo.admission import AdmissionPolicy, AdmissionPolicyForm
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.problems import not_found
from functions.api.questions import named, sound
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.slo_changes import BODY_PROBLEMS

router = Routes(prefix="/api/v1/admission-policies", tags=["freezes"])

MAX_FORM = 16 * 1024
"""Bytes of an admission policy: it is one small record of the store, and all are read and listed together."""


class AdmissionPolicyList(Model):
    """All admission policies, in the order in which they are looked at."""

    items: tuple[AdmissionPolicy, ...]


@router.put(
    "/{name}",
    responses={**problems(409, *BODY_PROBLEMS), 201: {"model": AdmissionPolicy}},
    openapi_extra=json_body(AdmissionPolicyForm),
)
async def put_admission_policy(
    services: Services,
    request: Request,
    response: Response,
    name: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> AdmissionPolicy:
    """Make an admission policy, or replace it. Processes know of it within ten seconds, this one at once."""
    named(name)
    form = await read_json(request, AdmissionPolicyForm, limit=MAX_FORM)
    entries, now = services.ports.key_values, services.ports.clock.now()
    _, version = await stored.ADMISSION_POLICIES.one(entries, name)
    if not version and await stored.ADMISSION_POLICIES.full(entries):
        text = f"there are {stored.ADMISSION_POLICIES.at_most} admission policies, which is as many as there may be"
        raise Rejected(text, code="too_many", status=409)
    await record(services, "put_admission_policy", name, who=acting(request, requested_by), why=why)

    def made(known: AdmissionPolicy | None, _version: int) -> AdmissionPolicy:
        created = now if known is None else known.created_at
        return AdmissionPolicy(**dict(form), name=name, created_at=created, updated_at=now)

    policy, _ = await stored.ADMISSION_POLICIES.changed(entries, name, made)
    services.ports.budget_gate.forget()
    response.status_code = 200 if version else 201
    return policy


@router.get("")
async def list_admission_policies(services: Services) -> AdmissionPolicyList:
    """Return all admission policies, in the order in which they are looked at."""
    found = await stored.ADMISSION_POLICIES.all(services.ports.key_values)
    return AdmissionPolicyList(items=tuple(sorted(found, key=lambda one: (one.order, one.name))))


@router.get("/{name}", responses=problems(404))
async def get_admission_policy(services: Services, name: str) -> AdmissionPolicy:
    """Return an admission policy."""
    sound("admission policy", name)
    found = await stored.ADMISSION_POLICIES.get(services.ports.key_values, name)
    if found is None:
        raise not_found("admission policy", name)
    return found


@router.delete("/{name}", status_code=204, responses=problems(404, 422))
async def delete_admission_policy(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget an admission policy; flows that it holds go on within a minute."""
    sound("admission policy", name)
    await record(services, "delete_admission_policy", name, who=acting(request, requested_by), why=why)
    if not await stored.ADMISSION_POLICIES.removed(services.ports.key_values, name):
        raise not_found("admission policy", name)
    services.ports.budget_gate.forget()
