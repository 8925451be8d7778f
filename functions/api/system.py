"""Whether the platform is there, whether it can work, and its numbers."""

from fastapi import APIRouter, Response

from functions._core.records.set_aside import LISTED
from functions.api.documents import problems
from functions.api.problems import Itemised
from functions.api.services import Services

router = APIRouter(tags=["system"])

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/health")
async def get_health(services: Services) -> dict[str, str]:
    """Return that the process answers, and its version. Looks at nothing else."""
    return {"status": "ok", "version": services.version}


@router.get("/ready", responses=problems(503))
async def get_readiness(services: Services) -> dict[str, object]:
    """Return what is known of the platform's state; 503 while it cannot handle events.

    Stored records that this process could not read are listed: the platform works without them.
    """
    state = {"ready": True, **await services.ready()}
    if not state["ready"]:
        members = {"state": state}
        raise Itemised("the platform cannot handle events now", code="not_ready", status=503, members=members)
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
