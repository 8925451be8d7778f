"""Waiting for the end of a flow: told of it where it ends in this process, asking ever less often everywhere else."""

from datetime import timedelta

from functions._core.records.models import Flow
from functions.api.questions import found
from functions.api.services import ApiServices

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


async def end_of(services: ApiServices, flow_id: str, seconds: float) -> Flow:
    """Return a flow once it has ended, or as it is after `seconds`, or when the platform waits no longer."""
    until = services.ports.clock.now() + timedelta(seconds=min(seconds, services.longest_wait))
    pause = FIRST_PAUSE
    while True:
        flow = await found("flow", flow_id, services.ports.store.flow)
        left = (until - services.ports.clock.now()).total_seconds()
        if flow.ended_at is not None or left <= 0:
            return flow
        await services.ended(flow_id, min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)
