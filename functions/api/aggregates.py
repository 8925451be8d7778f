"""How the platform as a whole is doing, from the records of all flows."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import Query

from functions._core.errors import Unavailable
from functions._core.events.telemetry import error_of
from functions._core.planning.slack import missed
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Model, Timestamp, milliseconds
from functions.api.documents import problems
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Cursor, Limit, found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/flow-c", tags=["system"])

WINDOW_HOURS = 24
LONGEST_WINDOW_HOURS = 24 * 366
"""Beyond this, 0 asks for everything."""


class Consumer(Model):
    """Whether events are handled, and how many wait for it; null when that is not known."""

    status: Literal["running", "stopped", "unavailable"]
    lag: int | None


class FlowCStatus(Model):
    """Flows that ended within the window: how many, the share that COMPLETED (0..1), and how long they took.

    `active_executions` are those that have not ended, whenever they began. Without an ended flow there are no rates
    and latencies. `p95_latency_ms` is by nearest rank.
    """

    total_processed: int
    success_rate: float | None
    average_latency_ms: float | None
    p95_latency_ms: int | None
    active_executions: int
    window_hours: int
    generated_at: Timestamp
    consumer: Consumer


class Execution(Model):
    """One flow that has ended: `flow_c_executions`, under its ids."""

    flow_id: str
    decision_id: str
    plan_id: str | None
    intent_id: str | None
    correlation_id: str
    tenant_id: str | None
    status: FlowStatus
    started_at: Timestamp
    ended_at: Timestamp
    duration_ms: int
    sla_deadline: Timestamp
    sla_violated: bool
    tickets_generated: int
    tickets_by_status: Mapping[str, int]
    telemetry_published: bool
    error: str | None


@router.get("/status", responses=problems(422))
async def get_flow_c_status(
    services: Services,
    window_hours: Annotated[
        int, Query(ge=0, le=LONGEST_WINDOW_HOURS, description="How far back to look; 0 looks at all that is kept")
    ] = WINDOW_HOURS,
) -> FlowCStatus:
    """Return how many flows ended lately, how well and how fast, and how many are under way."""
    now = services.ports.clock.now()
    since = now - timedelta(hours=window_hours) if window_hours else None
    numbers = await services.ports.statistics.flows(since)
    return FlowCStatus(
        total_processed=numbers.ended,
        success_rate=numbers.completed / numbers.ended if numbers.ended else None,
        average_latency_ms=numbers.average_ms,
        p95_latency_ms=numbers.p95_ms,
        active_executions=numbers.active,
        window_hours=window_hours,
        generated_at=now,
        consumer=await _consumer(services),
    )


class ExecutionPage(Model):
    """Ended flows, the newest first; `cursor` asks for the next page, null means that there is none."""

    items: tuple[Execution, ...]
    cursor: str | None


@router.get("/executions", responses=problems(400, 422))
async def list_executions(services: Services, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> ExecutionPage:
    """Return one document for each flow that has ended; a page may hold fewer, where flows have not ended yet."""
    flows, following = await services.ports.views.flows(status=None, cursor=cursor, limit=limit)
    ended = [flow for flow in flows if flow.ended_at is not None]
    return ExecutionPage(items=tuple(map(_execution, ended)), cursor=following)


@router.get("/executions/{flow_id}", responses=problems(404))
async def get_execution(services: Services, flow_id: str) -> Execution:
    """Return the document of a flow that has ended; 404 before."""
    flow = await found("flow", flow_id, services.ports.store.flow)
    if flow.ended_at is None:
        raise not_found("execution", flow_id)
    return _execution(flow)


def _execution(flow: Flow) -> Execution:
    ended = flow.ended_at or flow.phase.entered_at
    return Execution(
        flow_id=flow.flow_id,
        decision_id=flow.decision_id,
        plan_id=flow.plan_id,
        intent_id=flow.intent_id,
        correlation_id=flow.correlation_id,
        tenant_id=flow.tenant_id,
        status=flow.status,
        started_at=flow.received_at,
        ended_at=ended,
        duration_ms=milliseconds(ended - flow.received_at),
        sla_deadline=flow.sla_deadline,
        sla_violated=missed(flow),
        tickets_generated=flow.tickets_generated,
        tickets_by_status=flow.tally,
        telemetry_published=bool(flow.telemetry_published),
        error=error_of(flow.reasons),
    )


async def _consumer(services: ApiServices) -> Consumer:
    try:
        state: Mapping[str, object] = await services.ready()
    except Unavailable:
        return Consumer(status="unavailable", lag=None)
    queue = state.get("queue")
    lag = queue if isinstance(queue, int) else None
    return Consumer(status="running" if state.get("ready", True) else "stopped", lag=lag)
