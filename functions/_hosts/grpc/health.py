"""The calls of `grpc.health.v1.Health`, by which orchestrators of containers ask."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from functions._hosts.grpc.calls import Caller, RefusedCall
from functions._hosts.grpc.methods import Asked, Method, absent

SERVICES = frozenset(
    {
        "",
        "ticket_service.TicketService",
        "neural_hive.service_registry.ServiceRegistry",
        "analyst_agent.AnalystAgentService",
    }
)


async def check(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /ready."""
    if asked.service not in SERVICES:
        raise absent("there is no such service")
    try:
        await caller.get("/ready")
    except RefusedCall as refused:
        if refused.status != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return {"status": "NOT_SERVING"}
    return {"status": "SERVING"}


METHODS: Mapping[str, Method] = {"Check": check}
