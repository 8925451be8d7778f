"""How the platform as a whole is doing, from the records of all flows."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from functions._core.errors import Unavailable
from functions._core.records.values import Model, Timestamp
from functions.api.documents import problems
from functions.api.services import ApiServices, Services

router = APIRouter(prefix="/api/v1/flow-c", tags=["system"])

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


async def _consumer(services: ApiServices) -> Consumer:
    try:
        state: Mapping[str, object] = await services.ready()
    except Unavailable:
        return Consumer(status="unavailable", lag=None)
    queue = state.get("queue")
    lag = queue if isinstance(queue, int) else None
    return Consumer(status="running" if state.get("ready", True) else "stopped", lag=lag)
