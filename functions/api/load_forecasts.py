"""How many flows will come in the next day, by those that came in the last two weeks."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.learning.load_forecast import (
    BUCKET,
    HORIZONS,
    LEAST_BUCKETS,
    LoadForecast,
    forecast_load,
    load_series,
)
from functions._core.learning.series import UnusableSeries
from functions._core.records.record import Record, encode
from functions._core.records.values import Timestamp, add_time
from functions.api.analyst_state import beside
from functions.api.documents import problems
from functions.api.newest_rows import LOOKBACK
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/predictions", tags=["predictions"])

FLOWS = 5_000
"""Ended flows that are looked at, the newest: they are read without their tickets."""

LONGEST = HORIZONS[-1]

Minutes = Annotated[int, Query(ge=15, le=LONGEST, description="How far ahead, in minutes, a quarter of an hour each")]


class LoadView(Record):
    """The flows that are to come, or why nobody knows."""

    forecast: LoadForecast | None
    """The forecast, up to the asked horizon; null where there is too little history."""
    reason: str | None
    """Why there is none, a sentence; null with a forecast."""
    flows: int
    """Ended flows that it is made of."""
    since: Timestamp
    """The begin of the time that was looked at."""
    until: Timestamp
    """Its end; the forecast begins there."""


class _Known:
    """The forecast of a process: made once for each quarter of an hour, as it takes up to a second."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.view: LoadView | None = None

    async def of(self, services: ApiServices) -> LoadView:
        """Return the forecast from the last full quarter of an hour on; two at once make it once."""
        until = _floor(services.ports.clock.now())
        async with self.lock:
            if self.view is None or self.view.until != until:
                self.view = await _made(services, until)
                if self.view.forecast is not None:
                    services.analysts.forecasted(self.view.forecast.mape)
            return self.view


@router.get("/load", responses={**problems(422), 200: {"model": LoadView}})
async def get_load_forecast(services: Services, request: Request, minutes: Minutes = LONGEST) -> Response:
    """Return how many flows are expected in each quarter of an hour, with bounds of 90 %.

    It is made of the newest 5,000 flows that ended within 14 days, counted when they arrived; it takes two days of
    them. Flows under way are not counted, so where flows take hours, the last hours of the history are too low.
    """
    state = request.app.state
    if not hasattr(state, "load_forecast"):
        state.load_forecast = _Known()
    view: LoadView = await state.load_forecast.of(services)
    if view.forecast is not None:
        view = view.but(forecast=view.forecast.but(points=view.forecast.within(minutes)))
    return Response(encode(view), media_type="application/json")


async def _made(services: ApiServices, until: datetime) -> LoadView:
    since = add_time(until, -LOOKBACK)
    ended = await services.ports.statistics.ended(since, until, FLOWS)
    arrived = sorted(flow.received_at for flow in ended)
    if len(ended) == FLOWS:  # what is older than the oldest of them was not counted whole
        since = _floor(max(since, min(flow.ended_at or until for flow in ended))) + BUCKET
    else:
        since = max(since, _floor(arrived[0])) if arrived else until
    view = LoadView(forecast=None, reason=None, flows=len(ended), since=since, until=until)
    try:
        forecast = await beside(partial(_forecast, arrived, since, until))
    except UnusableSeries:
        days = LEAST_BUCKETS * BUCKET
        return view.but(reason=f"A forecast takes {days.days} days of ended flows, and there are fewer.")
    return view.but(forecast=forecast)


def _forecast(arrived: Sequence[datetime], since: datetime, until: datetime) -> LoadForecast:
    return forecast_load(load_series(((moment, 1.0) for moment in arrived), since, until), until)


def _floor(moment: datetime) -> datetime:
    """Return the begin of the quarter of an hour."""
    minute = moment.minute - moment.minute % (BUCKET.seconds // 60)
    return moment.replace(minute=minute, second=0, microsecond=0)
