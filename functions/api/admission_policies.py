"""Admission policies: what becomes of flows while an error budget is spent, or a freeze lasts."""

from functools import partial

from fastapi import Request, Response

from functions._core.records.values import Model
from functions._core.slo import stored
from functions._core.slo.admission import AdmissionPolicy, AdmissionPolicyForm
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.named_changes import delete_named, put_named
from functions.api.questions import found, named
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.slo_changes import BODY_PROBLEMS

router = Routes(prefix="/api/v1/admission-policies", tags=["freezes"])

KIND = "admission policy"

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
    who = acting(request, requested_by)
    policy = await put_named(
        services, response, stored.ADMISSION_POLICIES, name, dict(form), kind=KIND, who=who, why=why
    )
    services.ports.budget_gate.forget()
    return policy


@router.get("")
async def list_admission_policies(services: Services) -> AdmissionPolicyList:
    """Return all admission policies, in the order in which they are looked at."""
    found = await stored.ADMISSION_POLICIES.all(services.ports.key_values)
    return AdmissionPolicyList(items=tuple(sorted(found, key=lambda one: (one.order, one.name))))


@router.get("/{name}", responses=problems(404))
async def get_admission_policy(services: Services, name: str) -> AdmissionPolicy:
    """Return an admission policy."""
    return await found(KIND, name, partial(stored.ADMISSION_POLICIES.get, services.ports.key_values))


@router.delete("/{name}", status_code=204, responses=problems(404, 422))
async def delete_admission_policy(
    services: Services, request: Request, name: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget an admission policy; flows that it holds go on within a minute."""
    await delete_named(services, stored.ADMISSION_POLICIES, name, kind=KIND, who=acting(request, requested_by), why=why)
    services.ports.budget_gate.forget()
