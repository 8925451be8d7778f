"""Plans that are stored by name and version, to be used by decisions."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Request, Response

from functions._core.decision.named_plans import PLAN_NAME, PLAN_VERSION, PlanReference
from functions._core.decision.reading import InvalidDecision, check_plan, decision_in
from functions._core.decision.stored_plans import (
    PLAN_BYTES,
    StoredPlan,
    content_of,
    described,
    remove_version,
    store_version,
    stored_version,
    versions_of,
)
from functions._core.records.models import Reason
from functions._core.records.record import Record, fields_of
from functions._core.records.values import JsonObject, Timestamp
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.forms import PlanForm
from functions.api.problems import MAX_ERRORS, Itemised, not_found
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/plans", tags=["plans"])

Name = Annotated[str, Path(pattern=f"^{PLAN_NAME}$", description="Letters, digits, dots, dashes and underscores")]
Version = Annotated[str, Path(pattern=f"^{PLAN_VERSION}$", description="MAJOR.MINOR.PATCH")]


class StoredPlanView(StoredPlan):
    """A version of a plan with its content."""

    plan: JsonObject
    """The plan itself."""


class StoredVersion(StoredPlan):
    """A version that was stored, with what C1 warns of."""

    warnings: tuple[Reason, ...]
    """Warnings of C1, which change nothing."""


class PlanVersions(Record):
    """The versions of a plan, the newest first."""

    items: tuple[StoredPlan, ...]
    """Versions."""


class NamedPlan(Record):
    """A name, with its newest version."""

    name: str
    """Name of the plan."""
    newest: str
    """Newest version, by semantic version; a decision that names no version gets it."""
    versions: int
    """Number of versions."""
    created_at: Timestamp
    """When the newest version was stored."""


class NamedPlans(Record):
    """All stored plans, by name."""

    items: tuple[NamedPlan, ...]
    """Plans."""


@router.get("")
async def list_plans(services: Services) -> NamedPlans:
    """Return the names under which plans are stored, each with its newest version."""
    by_name: dict[str, list[StoredPlan]] = {}
    for one in await versions_of(services.ports.key_values):
        by_name.setdefault(one.name, []).append(one)
    return NamedPlans(
        items=tuple(
            NamedPlan(name=name, newest=found[0].version, versions=len(found), created_at=found[0].created_at)
            for name, found in sorted(by_name.items())
        )
    )


@router.get("/{name}/versions", responses=problems(404, 422))
async def list_plan_versions(services: Services, name: Name) -> PlanVersions:
    """Return the versions of a plan, the newest first."""
    found = await versions_of(services.ports.key_values, name)
    if not found:
        raise not_found("plan", name)
    return PlanVersions(items=tuple(found))


@router.get("/{name}/versions/{version}", responses=problems(404, 422, 503))
async def get_plan(services: Services, name: Name, version: Version) -> StoredPlanView:
    """Return a version of a plan, with its content."""
    one = await stored_version(services.ports.key_values, PlanReference(name, version))
    if one is None:
        raise not_found("plan", f"{name}@{version}")
    return StoredPlanView(**fields_of(one), plan=await content_of(services.ports.key_values, one))


@router.put(
    "/{name}/versions/{version}",
    status_code=201,
    responses={
        **problems(400, 409, 413, 415, 422, 503),
        200: {"model": StoredVersion, "description": "It was stored before, with the same content"},
    },
    openapi_extra=json_body(PlanForm),
)
async def put_plan(
    services: Services,
    request: Request,
    response: Response,
    name: Name,
    version: Version,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> StoredVersion:
    """Store a version of a plan, once C1 finds nothing wrong with it; a version never changes afterwards.

    The same content again is answered with 200, other content with 409.
    """
    form = await read_json(request, PlanForm, limit=PLAN_BYTES)
    plan = {key: value for key, value in form.root.items() if key not in {"plan_id", "$schema"}}
    now = services.ports.clock.now()
    who = acting(request, requested_by)
    named = await asyncio.to_thread(described, name, version, plan, now, who)
    warnings = await asyncio.to_thread(_checked, plan, f"{name}@{version}", now)
    one, new = await store_version(services.ports.key_values, named, plan)
    if new:
        await record(services, "store_plan", f"{name}@{version}", who=who, why=why)
    response.status_code = 201 if new else 200
    return StoredVersion(**fields_of(one), warnings=warnings)


@router.delete("/{name}/versions/{version}", status_code=204, responses=problems(404, 422, 503))
async def delete_plan(
    services: Services,
    request: Request,
    name: Name,
    version: Version,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> None:
    """Forget a version of a plan. Flows keep theirs; what still names the version is refused from now on."""
    reference = PlanReference(name, version)
    if await stored_version(services.ports.key_values, reference) is None:
        raise not_found("plan", f"{name}@{version}")
    await record(services, "delete_plan", f"{name}@{version}", who=acting(request, requested_by), why=why)
    await remove_version(services.ports.key_values, reference)


def _checked(plan: Mapping[str, Any], plan_id: str, now: datetime) -> tuple[Reason, ...]:
    """Return the warnings of C1 about a plan; raise `Itemised`, status 422, with its errors."""
    decision = {
        "decision_id": plan_id,
        "plan_id": plan_id,
        "intent_id": plan_id,
        "final_decision": "approve",
        "cognitive_plan": {**plan, "plan_id": plan_id},
    }
    try:
        errors, warnings = check_plan(decision_in(decision), now)
    except InvalidDecision as invalid:
        errors, warnings = invalid.reasons, ()
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        members = {"errors": [fields_of(reason) for reason in errors[:MAX_ERRORS]]}
        raise Itemised(f"{errors[0].message}{more}", code="invalid_plan", status=422, members=members)
    return warnings
