"""The state of what works beside flows: consumers of events, stores and servers, models, and what was found."""

import asyncio
from typing import Literal

from functions._core.errors import FlowcError
from functions._core.insights.analysis import analysis_state
from functions._core.insights.stored import EVERYTHING
from functions._core.learning import registry
from functions._core.learning.model_record import DURATION
from functions._core.records.values import Model, Timestamp
from functions.api.analyses import embeddings_of
from functions.api.documents import problems
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/status", tags=["system"])

PATIENCE_S = 1.0
"""Seconds that the store has to answer."""

READING_S = 10.0
"""Seconds that it has for all insights: thousands take longer, and a store that gives them is not away."""


class ConsumerStatus(Model):
    """Something that takes events, or looks at history as time passes."""

    name: str
    """`flows`, `analyze` or `learn`."""
    status: Literal["running", "stopped", "elsewhere", "off"]
    """Whether it works in this process; `off`: by its setting."""
    lag: int | None = None
    """Events that wait for it, where that is known."""


class StoreStatus(Model):
    """Something that is asked for data."""

    name: str
    """`records`, `metrics_server` or `embeddings`."""
    status: Literal["answers", "away", "refuses", "none", "not_asked"]
    """How it stands; `none`: none is named; `not_asked`: it is, and only who compares texts asks it."""
    detail: str | None = None
    """What is used."""


class InsightsStatus(Model):
    """What was found."""

    kept: int
    """Insights that are kept."""
    newest: Timestamp | None
    """When the newest one was found; null for none."""
    looked_until: Timestamp | None
    """Up to when history was looked through; null while `analyze` has never run."""


class PlatformStatus(Model):
    """The state of what looks at flows."""

    status: Literal["ok", "degraded"]
    """Whether everything that is switched on works."""
    version: str
    """Version of the platform."""
    consumers: tuple[ConsumerStatus, ...]
    """Who takes events."""
    stores: tuple[StoreStatus, ...]
    """What is asked for data."""
    models: tuple[str, ...]
    """Names of the models that serve."""
    insights: InsightsStatus
    """What was found."""
    generated_at: Timestamp
    """When it was looked at."""


@router.get("", responses=problems())
async def get_platform_status(services: Services) -> PlatformStatus:
    """Return who takes events, which stores answer, and which models serve; the store has a second to answer."""
    ports, state = services.ports, services.state()
    records, models, insights = await _stored(services)
    metrics = await services.metrics_state.of(ports)
    consumers = (
        ConsumerStatus(name="flows", status=state.consumer, lag=state.lag),
        *(
            ConsumerStatus(name=name, status="running" if learns else "off")
            for name, learns in sorted(services.learns.items())
        ),
    )
    stores = (
        StoreStatus(name="records", status=records),
        StoreStatus(name="metrics_server", status=metrics),
        StoreStatus(
            name="embeddings",
            status="none" if ports.embeddings is None else "not_asked",
            detail=embeddings_of(services).space,
        ),
    )
    troubled = state.consumer == "stopped" or any(one.status in {"away", "refuses"} for one in stores)
    return PlatformStatus(
        status="degraded" if troubled else "ok",
        version=services.version,
        consumers=consumers,
        stores=stores,
        models=models,
        insights=insights,
        generated_at=ports.clock.now(),
    )


async def _stored(services: ApiServices) -> tuple[Literal["answers", "away"], tuple[str, ...], InsightsStatus]:
    """Return whether the store answers, the models that serve, and what was found."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            number, _ = await registry.serving(services.ports.key_values)
        async with asyncio.timeout(READING_S):
            insights = await services.analysts.insights(services.ports).query(EVERYTHING)
            state = await analysis_state(services.ports.key_values)
    except (FlowcError, TimeoutError):
        return "away", (), InsightsStatus(kept=0, newest=None, looked_until=None)
    found = InsightsStatus(
        kept=len(insights),
        newest=max((one.created_at for one in insights), default=None),
        looked_until=None if state is None else state.closed_until,
    )
    return "answers", (DURATION,) if number else (), found
