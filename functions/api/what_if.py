"""What a policy would have done in the last days: `flowc slo what-if` asks it."""

from datetime import datetime
from functools import partial

from fastapi import Request, Response

from functions._core.ports import Ports
from functions._core.records.record import encode
from functions._core.slo import stored
from functions._core.slo.admission import AdmissionPolicy
from functions._core.slo.freezing import FreezePolicy
from functions._core.slo.replaying import what_if_admission, what_if_freeze
from functions._core.slo.what_if import WhatIf
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.questions import found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.slo_changes import BODY_PROBLEMS, MAX_FORM
from functions.api.slo_forms import WhatIfForm

router = Routes(prefix="/api/v1/slos", tags=["slos"])

INLINE = "what-if"
"""The name of an admission policy, and the id of a freeze policy, that are not stored."""


@router.post(
    "/what-if",
    response_model=None,
    responses={**problems(404, 429, 503, *BODY_PROBLEMS), 200: {"model": WhatIf}},
    openapi_extra=json_body(WhatIfForm),
)
async def what_if(services: Services, request: Request) -> Response:
    """Try a policy on the history of the last days: what would it have held, refused, sent to approval, or lowered?

    Nothing is stored. One policy is tried at a time (429 else), on 20,000 flows at most.
    """
    form = await read_json(request, WhatIfForm, limit=MAX_FORM)
    with services.replays.one():
        told = await _tried(services, form)
    return Response(await services.ports.beside(partial(encode, told)), media_type="application/json")


async def _tried(services: ApiServices, form: WhatIfForm) -> WhatIf:
    ports, now = services.ports, services.ports.clock.now()
    if form.freeze_policy is not None or form.freeze_policy_id is not None:
        freezing = await _freeze_policy(ports, form, now)
        return await what_if_freeze(ports, freezing.but(enabled=True), form.days)
    admitting = await _admission_policy(ports, form, now)
    return await what_if_admission(ports, admitting.but(enabled=True), form.days)


async def _freeze_policy(ports: Ports, form: WhatIfForm, now: datetime) -> FreezePolicy:
    if form.freeze_policy is not None:
        return FreezePolicy(**dict(form.freeze_policy), policy_id=INLINE, created_at=now, updated_at=now)
    return await found("policy", form.freeze_policy_id or "", lambda one: stored.policy(ports.key_values, one))


async def _admission_policy(ports: Ports, form: WhatIfForm, now: datetime) -> AdmissionPolicy:
    if form.policy is not None:
        return AdmissionPolicy(**dict(form.policy), name=INLINE, created_at=now, updated_at=now)
    look = partial(stored.ADMISSION_POLICIES.get, ports.key_values)
    return await found("admission policy", form.policy_name or "", look)
