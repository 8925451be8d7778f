"""Workflows: a plan or a decision started in one call, asked about by queries, told by signals."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import Query, Request, Response

from functions._core.decision.admission import decision_id_of
from functions._core.decision.model import unwrap_plan
from functions._core.decision.reading import content_hash
from functions._core.errors import FlowcError, Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.planning.slack import closed_at, deadline_at
from functions._core.records.models import Flow
from functions._core.records.record import fields_of
from functions._core.records.values import FlowStatus, TicketStatus, flow_id_of, milliseconds
from functions.api.bodies import json_answer, read_json
from functions.api.documents import json_body, problems
from functions.api.questions import found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.views import FlowResult, flow_detail, flow_result, ticket_view
from functions.api.waiting import end_of
from functions.api.workflow_forms import (
    Arguable,
    FlowUnderWay,
    WholeDecision,
    WorkflowQuery,
    WorkflowStart,
    WorkflowStarted,
    WorkflowStatus,
    WorkflowTickets,
    WorkflowView,
)

router = Routes(prefix="/api/v1", tags=["workflows"])

BODY_PROBLEMS = (400, 413, 415, 422)
WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 300.0
DECISION_PREFIX = "orch-flow-c-"

NO_TICKET_YET: dict[int | str, Any] = {202: {"model": WorkflowTickets, "description": "No ticket exists yet"}}
Answered = WorkflowStatus | WorkflowTickets


@router.post(
    "/workflows/start",
    status_code=202,
    responses=problems(*BODY_PROBLEMS) | {200: {"model": WorkflowStarted, "description": "Known before"}},
    openapi_extra=json_body(WorkflowStart),
)
async def start_workflow(services: Services, request: Request, response: Response) -> WorkflowStarted:
    """Carry out a plan as if it were decided on: 202, or 200 when it is known already."""
    asked = await read_json(request, WorkflowStart, limit=services.max_body)
    flow, known = await admitted(services, request, _decision_of(asked))
    response.status_code = 200 if known else 202
    return WorkflowStarted(workflow_id=flow.flow_id, status=flow.status, correlation_id=flow.correlation_id)


@router.post(
    "/flow-c/execute",
    response_model=FlowResult,
    responses=problems(*BODY_PROBLEMS) | {202: {"model": FlowUnderWay, "description": "It has not ended yet"}},
    openapi_extra=json_body("Decision"),
)
async def execute_flow(
    services: Services,
    request: Request,
    wait_seconds: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = WAIT_SECONDS,
) -> FlowResult | Response:
    """Carry out a decision and wait for the end of its flow. Sent again it waits for the same flow."""
    decision = (await read_json(request, WholeDecision, limit=services.max_body)).root
    taken, _ = await admitted(services, request, decision)
    flow = await end_of(services, taken.flow_id, wait_seconds)
    if flow.ended_at is None:
        path = f"/api/v1/flows/{flow.flow_id}"
        links = {"self": path, "result": f"{path}/result"}
        under_way = FlowUnderWay(flow_id=flow.flow_id, status=flow.status, links=links)
        return json_answer(202, under_way.model_dump(mode="json"))
    tickets = await services.ports.store.tickets_of(flow.flow_id)
    return flow_result(flow, tickets, flow.tally, services.ports.clock.now())


@router.get("/workflows/{workflow_id}", responses=problems(404))
async def get_workflow(services: Services, workflow_id: str) -> WorkflowView:
    """Return a workflow, its tickets counted, and its steps."""
    flow = await found("workflow", workflow_id, services.ports.store.flow)
    tickets = await services.ports.store.tickets_of(flow.flow_id)
    tally = await services.ports.ticket_counts.by_status(flow.flow_id)
    detail = flow_detail(flow, tickets, tally, services.ports.clock.now())
    return WorkflowView(**fields_of(detail), workflow_id=flow.flow_id)


@router.post(
    "/workflows/{workflow_id}/query",
    responses=problems(404, *BODY_PROBLEMS) | NO_TICKET_YET,
    openapi_extra=json_body(WorkflowQuery),
)
async def query_workflow(services: Services, request: Request, response: Response, workflow_id: str) -> Answered:
    """Answer a query that the body names: `get_status` or `get_tickets`, the latter with 202 while there is none."""
    asked = await read_json(request, WorkflowQuery)
    return await _answered(services, response, workflow_id, asked.query_name)


@router.post(
    "/workflows/{workflow_id}/query/{query_name}",
    responses=problems(404, *BODY_PROBLEMS) | NO_TICKET_YET,
    openapi_extra=json_body(Arguable, required=False),
)
async def query_workflow_by_name(
    services: Services, request: Request, response: Response, workflow_id: str, query_name: str
) -> Answered:
    """Answer a query that the path names."""
    await read_json(request, Arguable)
    return await _answered(services, response, workflow_id, query_name)


def _decision_of(asked: WorkflowStart) -> Mapping[str, Any]:
    """Return the decision to carry out a plan; its id follows from what was asked, so that a repeat is recognised."""
    plan, _ = unwrap_plan(dict(asked.cognitive_plan))
    plan_id = plan.get("plan_id") if isinstance(plan, dict) else None
    if not isinstance(plan_id, str) or not plan_id:
        raise Rejected("body.cognitive_plan.plan_id: is missing", code="invalid_data", status=422)
    decision = {
        "plan_id": plan_id,
        "intent_id": (isinstance(plan, dict) and plan.get("intent_id")) or asked.correlation_id or plan_id,
        "final_decision": "approve",
        "cognitive_plan": plan,
        **asked.model_dump(exclude={"cognitive_plan"}, exclude_none=True),
    }
    key = asked.correlation_id or f"{plan_id[:150]}-{content_hash(decision)[:32]}"
    return {"decision_id": f"{DECISION_PREFIX}{key}", **decision}


async def admitted(services: ApiServices, request: Request, decision: Mapping[str, Any]) -> tuple[Flow, bool]:
    """Take a decision in as the ingress does; return its flow, and whether that was known before."""
    ports = services.ports
    known = await ports.store.flow(flow_id_of(decision_id_of(decision))) is not None
    trace = request.headers.get("traceparent")
    event = CloudEvent(
        id=content_hash(decision),
        source="/flowc/api",
        type=type_of("decision.consolidated"),
        time=ports.clock.now(),
        data=decision,
        extensions={"traceparent": trace} if trace else {},
    )
    flow_id = await services.engine.admit(event)
    return await found("flow", flow_id, ports.store.flow), known


async def _answered(services: ApiServices, response: Response, workflow_id: str, name: str) -> Answered:
    """Answer a query, and make known how long that took or why it failed."""
    began = services.ports.clock.now()
    failure: str | None = "internal"
    try:
        query = QUERIES.get(name)
        if query is None:
            known = ", ".join(QUERIES)
            raise Rejected(f"there is no query {name[:100]!r}; known are {known}", code="unknown_query", status=404)
        flow = await found("workflow", workflow_id, services.ports.store.flow)
        status, answer = await query(services, flow)
        failure = None
    except FlowcError as error:
        failure = getattr(error, "code", type(error).__name__.lower())
        raise
    finally:
        took = services.ports.clock.now() - began
        services.queried(name if name in QUERIES else "unknown", took.total_seconds(), failure)
    response.status_code = status
    return answer


async def _status(services: ApiServices, flow: Flow) -> tuple[int, Answered]:
    tally = await services.ports.ticket_counts.by_status(flow.flow_id)
    moment = closed_at(flow) or services.ports.clock.now()
    answer = WorkflowStatus(
        workflow_id=flow.flow_id,
        status=flow.status,
        outcome=flow.outcome,
        tickets_generated=flow.tickets_generated,
        tickets_completed=tally.get(TicketStatus.COMPLETED, 0),
        tickets_failed=tally.get(TicketStatus.FAILED, 0),
        tickets_by_status=tally,
        sla_deadline=flow.sla_deadline,
        sla_remaining_ms=milliseconds(deadline_at(flow, moment) - moment),
    )
    return 200, answer


async def _tickets(services: ApiServices, flow: Flow) -> tuple[int, Answered]:
    tickets = await services.ports.store.tickets_of(flow.flow_id)
    now = services.ports.clock.now()
    status = 202 if flow.status in BEFORE_TICKETS and not tickets else 200
    return status, WorkflowTickets(tickets=tuple(ticket_view(ticket, now) for ticket in tickets))


BEFORE_TICKETS = frozenset({FlowStatus.VALIDATING, FlowStatus.GENERATING})
QUERIES: Mapping[str, Callable[[ApiServices, Flow], Awaitable[tuple[int, Answered]]]] = {
    "get_status": _status,
    "get_tickets": _tickets,
}
