"""The registry of templates of the code forge: those that Flow C brings, and those that administrators register."""

import re
from functools import partial

from fastapi import Request, Response

from functions._core.errors import Rejected
from functions._core.forge.stages import TemplateCard
from functions._core.forge.templates import (
    SHIPPED,
    SHIPPED_IDS,
    TEMPLATE_NAME,
    TEMPLATES,
    Template,
    TemplateForm,
    template_cards,
)
from functions._core.records.values import Model
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why
from functions.api.bodies import SMALL, read_json
from functions.api.documents import json_body, problems
from functions.api.named_changes import delete_named, put_named
from functions.api.questions import found
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.slo_changes import BODY_PROBLEMS

router = Routes(prefix="/api/v1/templates", tags=["pipelines"])

KIND = "template"


class TemplateList(Model):
    """All templates: those that Flow C brings, then the registered ones by name."""

    items: tuple[TemplateCard, ...]
    """Templates."""


@router.get("")
async def list_templates(services: Services) -> TemplateList:
    """Return all templates of the code forge."""
    return TemplateList(items=tuple(await template_cards(services.ports.key_values)))


@router.get("/{template_id}", responses=problems(404))
async def get_template(services: Services, template_id: str) -> TemplateCard:
    """Return a template of the code forge."""
    shipped = next((card for card in SHIPPED if card.template_id == template_id), None)
    if shipped is not None:
        return shipped
    return (await found(KIND, template_id, partial(TEMPLATES.get, services.ports.key_values))).card


@router.put(
    "/{template_id}",
    responses={**problems(403, 409, *BODY_PROBLEMS), 201: {"model": Template}},
    openapi_extra=json_body(TemplateForm),
)
async def put_template(
    services: Services,
    request: Request,
    response: Response,
    template_id: str,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> Template:
    """Register a template, or replace it; pipelines that have begun keep theirs.

    A template is code that a worker runs its renderer on, so an administrator registers it, and the worker's owner says
    which repositories it is fetched from. Addresses have no credentials.
    """
    if re.fullmatch(TEMPLATE_NAME, template_id) is None:
        text = "the id of a template has 1 to 64 lower-case letters, digits, `_` and `-`"
        raise Rejected(text, code="bad_name", status=422)
    _changeable(template_id)
    form = await read_json(request, TemplateForm, limit=SMALL)
    who = acting(request, requested_by)
    fields = {**dict(form), "created_by": who}
    return await put_named(services, response, TEMPLATES, template_id, fields, kind=KIND, who=who, why=why)


@router.delete("/{template_id}", status_code=204, responses=problems(404, 409, 422))
async def delete_template(
    services: Services, request: Request, template_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Forget a registered template; pipelines that have begun keep theirs."""
    _changeable(template_id)
    await delete_named(services, TEMPLATES, template_id, kind=KIND, who=acting(request, requested_by), why=why)


def _changeable(template_id: str) -> None:
    """Raise `Rejected`, status 409, for a template that Flow C brings."""
    if template_id in SHIPPED_IDS:
        text = f"the template {template_id} is brought by Flow C; register yours under another id"
        raise Rejected(text, code="taken_name", status=409)
