"""Pipelines of the code forge: begun, looked at and cancelled. Each is a flow, and all that is shown is made of it."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.decision.reading import document_in
from functions._core.errors import Rejected
from functions._core.events.commands import CancelRequest
from functions._core.forge.pipeline import (
    PIPELINES,
    REQUEST_LABEL,
    PipelineRequest,
    decision_id_for,
    is_pipeline,
    pipeline_decision,
    request_hash,
)
from functions._core.forge.progress import (
    ForgeStatus,
    PipelineView,
    by_task,
    composed_code,
    open_merge_request,
    packaged_code,
    pipeline_view,
)
from functions._core.forge.templates import template_cards
from functions._core.jobs.records import jobs_of
from functions._core.records.models import Flow
from functions._core.records.values import flow_id_of, format_time
from functions.api.access import acting
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.forms import OrderForm
from functions.api.pipeline_forms import PipelineArtifacts, PipelineForm, PipelinePage
from functions.api.preconditions import IdempotencyKey, own_key
from functions.api.problems import checked, not_found
from functions.api.questions import Cursor, found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.workflows import admitted

router = Routes(prefix="/api/v1/pipelines", tags=["pipelines"])

BODY_PROBLEMS = (400, 413, 415, 422)

MAX_FORM = 160 * 1024
"""Bytes of a request: 64 KiB of inputs, escaped at worst, and a few texts."""

PAGE = 20
LONGEST_PAGE = 100
"""Pipelines of one page: the tickets of each are read."""

AT_ONCE = 10
"""Pipelines of a page that are read at the same time."""

WORDS = frozenset(PipelineRequest.model_fields) - {"artifact_id", "ticket_id", "inputs"}
"""Parameters that the forge itself understands; all others are inputs of the template."""

Pages = Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="How many to look at most")]


@router.post(
    "",
    status_code=202,
    responses={**problems(409, *BODY_PROBLEMS, 503), 200: {"model": PipelineView, "description": "Known before"}},
    openapi_extra=json_body(PipelineForm),
)
async def begin_pipeline(
    services: Services, request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> PipelineView:
    """Begin a pipeline: 202, or 200 for one that is known by its key.

    The key is the header's, else the ticket with its attempt; without both each request begins another pipeline. The
    same key with another request is refused (409 `key_reused`), and so is what no template fits (422 `no_template`).
    """
    form = await read_json(request, PipelineForm, limit=MAX_FORM)
    asked = _asked(form)
    key = _key(services, request, form, asked, idempotency_key)
    known = await services.ports.store.flow(flow_id_of(decision_id_for(key)))
    if known is None:
        cards = await template_cards(services.ports.key_values)
        known, there = await admitted(services, request, pipeline_decision(asked, cards, key))
        response.status_code = 200 if there else 202
    else:
        await _check_same(services, known, asked)
        response.status_code = 200
    return await _view(services, known)


@router.get("", responses=problems(400, 422))
async def list_pipelines(
    services: Services,
    status: Annotated[ForgeStatus | None, Query(description="In any letter case")] = None,
    cursor: Cursor = None,
    limit: Pages = PAGE,
) -> PipelinePage:
    """Return pipelines, the newest first, without those whose plan was refused.

    With a `status`, those among the next `limit` that have it: a page may hold fewer, or none; its `cursor` goes on.
    """
    flows, following = await services.ports.views.flows(status=None, cursor=cursor, limit=limit, labels=PIPELINES)
    turns = asyncio.Semaphore(AT_ONCE)

    async def seen(flow: Flow) -> PipelineView:
        async with turns:
            return await _view(services, flow)

    views = await asyncio.gather(*(seen(flow) for flow in flows if is_pipeline(flow)))
    return PipelinePage(items=tuple(one for one in views if status in {None, one.status}), cursor=following)


@router.get("/{pipeline_id}", responses=problems(404))
async def get_pipeline(services: Services, pipeline_id: str) -> PipelineView:
    """Return a pipeline with its stages, and what it has made."""
    return await _view(services, await _pipeline(services, pipeline_id))


@router.get("/{pipeline_id}/artifacts", responses=problems(404))
async def list_artifacts(services: Services, pipeline_id: str) -> PipelineArtifacts:
    """Return all that a pipeline has made, with places, hashes and signatures."""
    flow = await _pipeline(services, pipeline_id)
    tasks = by_task(await services.ports.store.tickets_of(flow.flow_id))
    packaged, composed = packaged_code(tasks), composed_code(tasks)
    code = composed.artifacts if composed is not None else ()
    if packaged is None:
        return PipelineArtifacts(pipeline_id=flow.flow_id, code=code)
    return PipelineArtifacts(
        pipeline_id=flow.flow_id,
        items=packaged.artifacts,
        code=code,
        sbom=packaged.sbom,
        provenance=packaged.provenance,
        key_id=packaged.key_id,
        public_key=packaged.public_key,
        log=packaged.log,
    )


@router.post(
    "/{pipeline_id}/cancel",
    status_code=202,
    responses=problems(404, 409, *BODY_PROBLEMS),
    openapi_extra=json_body(OrderForm, required=False),
)
async def cancel_pipeline(
    services: Services, request: Request, pipeline_id: str, idempotency_key: IdempotencyKey = None
) -> PipelineView:
    """Stop a pipeline: what is open is cancelled, what was pushed is taken away again.

    One that has its outcome already is returned as it is.
    """
    form = await read_json(request, OrderForm)
    flow = await _pipeline(services, pipeline_id)
    order = CancelRequest(
        flow_id=flow.flow_id,
        requested_by=acting(request, form.requested_by),
        reason=form.reason,
        dry_run=form.dry_run,
    )
    carried = await services.engine.order(order, order_id=form.order_id or own_key(request, idempotency_key))
    return await _view(services, carried.flow)


def _asked(form: PipelineForm) -> PipelineRequest:
    """Return the request within a form; raise `Rejected`, status 422, with all its faults."""
    given = {name: value for name, value in form.parameters.items() if value is not None}
    own = given.pop("inputs", {})
    if not isinstance(own, Mapping):
        raise Rejected("body.parameters.inputs: is no object", code="invalid_data", status=422)
    mixed = {name: value for name, value in given.items() if name not in WORDS}
    words = {name: value for name, value in given.items() if name in WORDS}
    about = {"artifact_id": form.artifact_id, "ticket_id": form.ticket_id, "inputs": {**mixed, **own}}
    return checked(PipelineRequest, {**words, **about}, "body.parameters")


def _key(services: ApiServices, request: Request, form: PipelineForm, asked: PipelineRequest, key: str | None) -> str:
    """Return the key of a pipeline: the header's, which is the caller's own, else its ticket's, else a new one."""
    if key is not None:
        return own_key(request, key) or key
    if form.ticket_id is not None:
        return f"ticket:{form.ticket_id}:{form.attempt}"
    return f"{request_hash(asked)}:{format_time(services.ports.clock.now())}"


async def _check_same(services: ApiServices, flow: Flow, asked: PipelineRequest) -> None:
    """Raise `Rejected`, status 409, where the pipeline of a key was asked for otherwise."""
    document = document_in(await services.ports.store.decision(flow.flow_id))
    plan = document.get("cognitive_plan") if isinstance(document, Mapping) else None
    labels = plan.get("labels") if isinstance(plan, Mapping) else None
    if not isinstance(labels, Mapping) or labels.get(REQUEST_LABEL) != request_hash(asked):
        text = f"pipeline {flow.flow_id} was begun with this key, and asked for something else"
        raise Rejected(text, code="key_reused", status=409)


async def _pipeline(services: ApiServices, pipeline_id: str) -> Flow:
    flow = await found("pipeline", pipeline_id, services.ports.store.flow)
    if not is_pipeline(flow):
        raise not_found("pipeline", pipeline_id)
    return flow


async def _view(services: ApiServices, flow: Flow) -> PipelineView:
    tickets = await services.ports.store.tickets_of(flow.flow_id)
    waiting, url = open_merge_request(tickets), None
    if waiting is not None:
        jobs = await jobs_of(services.ports.key_values, waiting.ticket_id, flow.flow_id)
        url = next((job.url for job, _ in jobs if job.url), None)
    view = pipeline_view(flow, tickets, url)
    page = f"tickets/{view.review.ticket_id}" if view.review else f"flows/{flow.flow_id}"
    return view.but(url=f"{services.base_url}/console/{page}" if services.base_url else None)
