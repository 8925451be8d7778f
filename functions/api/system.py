"""Whether the platform is there, whether it can work, and its numbers."""

from typing import Literal

from fastapi import Response

from functions._core.records.set_aside import LISTED
from functions._core.records.values import Model, Timestamp
from functions.api.documents import problems
from functions.api.problems import Itemised
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(tags=["system"])

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ConsumerState(Model):
    """Whether this process handles the events of flows, how many wait in it, and when the last one came.

    In a cluster others handle them (`elsewhere`). Times are null for what this process has not seen.
    """

    status: Literal["running", "stopped", "elsewhere"]
    lag: int | None
    last_event_at: Timestamp | None
    last_decision_at: Timestamp | None


class HealthView(Model):
    """That the process answers, its version, and its part in the handling of events."""

    status: Literal["ok"]
    version: str
    consumer: ConsumerState


class LivenessView(Model):
    """That the process answers."""

    status: Literal["live"]


@router.get("/health")
async def get_health(services: Services) -> HealthView:
    """Return that the process answers, its version and the state of its consumer. Asks nobody for it."""
    state = services.state()
    consumer = ConsumerState(
        status=state.consumer,
        lag=state.lag,
        last_event_at=state.last_event_at,
        last_decision_at=state.last_decision_at,
    )
    return HealthView(status="ok", version=services.version, consumer=consumer)


@router.get("/live")
async def get_liveness() -> LivenessView:
    """Return that the process answers. Asks nobody for it."""
    return LivenessView(status="live")


@router.get("/ready", responses=problems(503))
async def get_readiness(services: Services) -> dict[str, object]:
    """Return what is known of the platform's state; 503 while it cannot handle events.

    Stored records that this process could not read are listed: the platform works without them. So it does without the
    server of metrics, where one is named: budgets stay as they were.
    """
    state = {"ready": True, **await services.ready()}
    if not state["ready"]:
        members = {"state": state}
        raise Itemised("the platform cannot handle events now", code="not_ready", status=503, members=members)
    metrics = await services.metrics_state.of(services.ports)
    if metrics != "none":
        state["metrics_server"] = metrics
    left_out = services.ports.set_aside.records()
    if left_out:
        state["unreadable_records"] = len(left_out)
        state["unreadable"] = [record.model_dump() for record in left_out[:LISTED]]
    return state


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(services: Services) -> Response:
    """Return the metrics in the Prometheus text format."""
    return Response(await services.metrics(), media_type=METRICS_TYPE)
