"""How the code forge as a whole is doing, from the records of its newest pipelines."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query

from functions._core.forge.pipeline import PIPELINES, is_pipeline
from functions._core.forge.statistics import CountedPipeline, PipelineNumbers, counted, numbers_of
from functions._core.records.models import Flow
from functions._core.records.values import Timestamp
from functions.api.aggregates import LONGEST_WINDOW_HOURS, WINDOW_HOURS
from functions.api.documents import problems
from functions.api.flow_search import CLOCKS
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/statistics", tags=["pipelines"])

LOOKED_AT = 500
"""Pipelines that are looked at for one request: the tickets of each are read."""

PAGE = 100
AT_ONCE = 10
"""Pipelines that are read at the same time."""


class PipelineStatistics(PipelineNumbers):
    """Numbers over the pipelines that were begun within the window."""

    window_hours: int
    """How far back was looked; 0: at all that is kept."""
    complete: bool
    """Whether all of them were looked at; else the newest 500."""
    generated_at: Timestamp
    """When they were looked at."""


@router.get("", responses=problems(422))
async def get_statistics(
    services: Services,
    window_hours: Annotated[
        int, Query(ge=0, le=LONGEST_WINDOW_HOURS, description="How far back to look; 0 looks at all that is kept")
    ] = WINDOW_HOURS,
) -> PipelineStatistics:
    """Return how pipelines have ended, how long they took, how good they were, and who has decided on them."""
    now = services.ports.clock.now()
    found, complete = await _pipelines(services, now - timedelta(hours=window_hours) if window_hours else None)
    numbers: Mapping[str, object] = numbers_of(found).model_dump()
    about = {"window_hours": window_hours, "complete": complete, "generated_at": now}
    return PipelineStatistics.model_validate({**numbers, **about})


async def _pipelines(services: ApiServices, since: datetime | None) -> tuple[list[CountedPipeline], bool]:
    """Return what counts of the newest pipelines that were begun since then, and whether these are all of them."""
    turns, cursor = asyncio.Semaphore(AT_ONCE), None
    found: list[CountedPipeline] = []

    async def seen(flow: Flow) -> CountedPipeline:
        async with turns:
            return counted(flow, await services.ports.store.tickets_of(flow.flow_id))

    looked_at = 0
    while looked_at < LOOKED_AT:
        flows, cursor = await services.ports.views.flows(status=None, cursor=cursor, limit=PAGE, labels=PIPELINES)
        looked_at += len(flows)
        within = [one for one in flows if is_pipeline(one) and (since is None or one.received_at >= since)]
        found += await asyncio.gather(*map(seen, within))
        # Flows are stored nearly in the order in which they were received.
        if cursor is None or (since is not None and flows[-1].received_at < since - CLOCKS):
            return found, True
    return found, False
