"""What people order about flows and tickets, one POST for each verb: cancel, approve, redrive, skip and so on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request, Response

from functions._core.events import commands
from functions._core.events.commands import AnyCommand
from functions.api.access import acting, principal_of
from functions.api.approvals import check_decision
from functions.api.bodies import MAX_JSON, SMALL, read_json
from functions.api.documents import json_body, problems
from functions.api.forms import AdjustForm, DecideForm, OrderForm, QuarantineForm, RedriveForm, ReplanForm, SkipForm
from functions.api.preconditions import IdempotencyKey, own_key
from functions.api.questions import found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services, services_of
from functions.api.ticket_forms import RetryForm
from functions.api.tickets import ticket_named
from functions.api.views import OrderView, order_view

router = Routes(prefix="/api/v1")


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of a path, the order that it stands for, the body that it takes, and what it does."""

    name: str
    order: type[AnyCommand]
    says: str
    form: type[OrderForm] = OrderForm


OF_FLOWS = (
    Verb(
        "cancel",
        commands.CancelRequest,
        "Stop a flow: what is open is cancelled. One that has its outcome already is returned as it is.",
    ),
    Verb("approve", commands.ApprovalGrant, "Let a flow that awaits approval begin."),
    Verb("deny", commands.ApprovalDenial, "End a flow that awaits approval as REJECTED."),
    Verb("pause", commands.PauseRequest, "Assign nothing more of a flow; what runs goes on."),
    Verb("resume", commands.ResumeRequest, "Let a paused flow go on, with the time that it had left."),
    Verb("redrive", commands.RedriveRequest, "Let a flow that did not succeed go on where it failed.", RedriveForm),
    Verb(
        "adjust",
        commands.AdjustRequest,
        "Give the open tickets of a flow another priority, other retries, or the flow another deadline.",
        AdjustForm,
    ),
    Verb(
        "replan",
        commands.ReplanRequest,
        "Let a flow go on by another plan: tickets of the same tasks stay, others are cancelled, changed or made.",
        ReplanForm,
    ),
)
OF_TICKETS = (
    Verb("retry", commands.RetryRequest, "Try a ticket now that waits, or once more if it FAILED.", RetryForm),
    Verb("reassign", commands.ReassignRequest, "Take a ticket from its worker and give it to another one."),
    Verb("freeze-exception", commands.FreezeException, "Let a DEPLOY ticket pass the freezes of its service."),
    Verb(
        "quarantine",
        commands.QuarantineDecision,
        "Release a ticket that a guard holds back, or let it fail; the reason is needed.",
        QuarantineForm,
    ),
    Verb("skip", commands.SkipRequest, "Take a ticket as done, with the given output.", SkipForm),
    Verb("approve", commands.TicketApproval, "Agree to a ticket that waits for the decision of a person.", DecideForm),
    Verb(
        "deny", commands.TicketDenial, "Do not agree to a ticket that waits for the decision of a person.", DecideForm
    ),
)
OF_WORKFLOWS = ("pause", "resume", "replan")

Endpoint = Callable[..., Awaitable[OrderView]]


def _of_flow(verb: Verb) -> Endpoint:
    async def carry_out(
        services: Services, request: Request, response: Response, flow_id: str, idempotency_key: IdempotencyKey = None
    ) -> OrderView:
        form = await _said(request, verb, idempotency_key)
        flow = await found("flow", flow_id, services.ports.store.flow)
        return await _carried(services, request, response, verb, form, flow_id=flow.flow_id)

    return carry_out


def _of_ticket(verb: Verb) -> Endpoint:
    async def carry_out(
        services: Services, request: Request, response: Response, ticket_id: str, idempotency_key: IdempotencyKey = None
    ) -> OrderView:
        form = await _said(request, verb, idempotency_key)
        ticket = await ticket_named(services, ticket_id)
        return await _carried(
            services, request, response, verb, form, flow_id=ticket.flow_id, ticket_id=ticket.ticket_id
        )

    return carry_out


async def _said(request: Request, verb: Verb, key: str | None) -> OrderForm:
    """Return the body of an order; a key in a header is the order's id where the body names none."""
    limit = {ReplanForm: services_of(request).max_body, DecideForm: SMALL}.get(verb.form, MAX_JSON)
    form = await read_json(request, verb.form, limit=limit)
    return form if form.order_id is not None else form.but(order_id=own_key(request, key))


async def _carried(
    services: ApiServices, request: Request, response: Response, verb: Verb, form: OrderForm, **target: str
) -> OrderView:
    given = form.model_dump(exclude={"order_id"}) | {"requested_by": acting(request, form.requested_by)}
    order = verb.order.model_validate({**target, **given})
    await check_decision(services, principal_of(request), order)
    carried = await services.engine.order(order, order_id=form.order_id)
    if carried.dry_run:
        response.status_code = 200
    return order_view(carried, services.ports.clock.now())


def _route(path: str, name: str, tag: str, verb: Verb, endpoint: Endpoint) -> None:
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        name=name,
        tags=[tag],
        description=verb.says,
        status_code=202,
        responses=problems(400, 403, 404, 409, 413, 415, 422)
        | {200: {"model": OrderView, "description": "A dry run: nothing was changed"}},
        openapi_extra=json_body(verb.form, required=verb.form in {ReplanForm, QuarantineForm}),
    )


for _verb in OF_FLOWS:
    _route(f"/flows/{{flow_id}}/{_verb.name}", f"{_verb.name}_flow", "flows", _verb, _of_flow(_verb))
    if _verb.name in OF_WORKFLOWS:
        path = f"/workflows/{{flow_id}}/{_verb.name}"
        _route(path, f"{_verb.name}_workflow", "workflows", _verb, _of_flow(_verb))
for _verb in OF_TICKETS:
    _route(
        f"/tickets/{{ticket_id}}/{_verb.name}",
        f"{_verb.name.replace('-', '_')}_ticket",
        "tickets",
        _verb,
        _of_ticket(_verb),
    )
