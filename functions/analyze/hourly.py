"""The hourly look at history: bottlenecks ahead, what drives what, and tickets and loads that are not as usual.

It reads history once, by increments, into sums of the last weeks, from the first time on: a platform that has a past
knows it after some ticks. Heavy work is done beside the event loop, or in steps of some milliseconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from functions._core.insights.drivers import driver_steps
from functions._core.insights.findings import ProblemFound
from functions._core.insights.hour_state import HourState, keep_sums, sums_of
from functions._core.insights.hour_sums import ARRIVALS, LOAD_BUCKETS, HourSums, Sums
from functions._core.insights.load_ahead import (
    bottlenecks_ahead,
    enough,
    error_share,
    errors_by_horizon,
    near_capacity,
    slots_of,
)
from functions._core.insights.odd_rows import OddRows, load_problems, odd_rows, row_problems
from functions._core.learning.anomaly_kinds import AnomalyKind, RowAnomaly, load_anomalies
from functions._core.learning.history import TicketRow
from functions._core.learning.history_reader import Ended, HistoryCursor, ended_between
from functions._core.learning.load_forecast import BUCKET, LoadForecast, forecast_load
from functions._core.ports import Ports
from functions._core.records.values import EARLIEST, add_time
from functions._core.rules import Rules

HOUR = timedelta(hours=1)

DAY = timedelta(days=1)

AT_ONCE = 200
"""Flows that are read at once."""

EACH_HOUR = 4
"""Buckets of a load in an hour."""

SETTLES_BUCKETS = 2 * EACH_HOUR
"""Buckets after which arrivals are compared with their forecast: a flow is known when it has ended."""

Rows = Callable[[datetime, datetime], Awaitable[Sequence[Ended]]]
"""Reads the flows that ended in a time, a bounded number of them."""


class HourResult(NamedTuple):
    """What an hourly look has brought."""

    state: HourState
    """What the next one has to know."""
    done: bool = False
    """Whether the hour was looked at; else history is still being read."""
    problems: Sequence[ProblemFound] = ()
    """The findings."""
    forecast: Mapping[int, float | None] = {}
    """The horizons of the forecast of flows in minutes, with its error as a share; empty without one."""
    bottlenecks: int = 0
    """Capabilities that will not suffice."""
    odd: Mapping[AnomalyKind, int] = {}
    """Anomalies of tickets and of loads, by kind."""
    failed: Mapping[str, str] = {}
    """Parts of the look that failed, with the error."""


def full_hour(moment: datetime) -> datetime:
    """Return the begin of the hour of a moment."""
    return moment - (moment - EARLIEST.replace(microsecond=0)) % HOUR


class HourLook:
    """The look at one full hour, by who has claimed the analysis."""

    def __init__(self, ports: Ports, rows: Rows, rules: Rules, hour: datetime, until: float) -> None:
        """Look at the hour that ends at `hour`; begin nothing more once the time of the event loop is `until`."""
        self._ports, self._read_rows, self._rules = ports, rows, rules
        self._hour, self._until = hour, until
        self._problems: list[ProblemFound] = []
        self._failed: dict[str, str] = {}
        self._odd: dict[AnomalyKind, int] = {}
        self._forecast: LoadForecast | None = None
        self._errors: Mapping[int, float | None] = {}
        self._bottlenecks = 0

    @property
    def _in_time(self) -> bool:
        return asyncio.get_running_loop().time() < self._until

    async def look(self, known: HourState | None) -> HourResult:
        """Return what the hour brings. Raises `Unavailable` when the store does not answer."""
        state, loads, course, complete = await self._read(known)
        if not complete:
            return HourResult(state)
        parts: Mapping[str, Callable[[], Awaitable[None]]] = {
            "load-ahead": partial(self._look_ahead, loads),
            "drivers": partial(self._look_for_drivers, course),
            "odd-rows": self._look_at_rows,
            "odd-load": partial(self._look_at_load, state, loads),
        }
        for name, part in parts.items():
            try:
                await part()
            except (ValueError, ArithmeticError, LookupError) as error:  # what strangers sent ends no other part
                self._failed[name] = repr(error)
        forecast = self._forecast
        state = state.but(done_until=self._hour)
        if forecast is not None:
            points = {one.start: one for one in (*state.expected, *forecast.points[:EACH_HOUR])}
            least = add_time(self._hour, -SETTLES_BUCKETS * BUCKET)
            state = state.but(
                expected=tuple(one for start, one in sorted(points.items()) if start >= least),
                error=error_share(forecast, loads.by_name[ARRIVALS]),
            )
        return HourResult(
            state=state,
            done=True,
            problems=self._problems,
            forecast=self._errors,
            bottlenecks=self._bottlenecks,
            odd=self._odd,
            failed=self._failed,
        )

    async def _read(self, known: HourState | None) -> tuple[HourState, Sums, Sums, bool]:
        """Read on in history up to the hour, as far as there is time; return whether all of it is in the sums."""
        sums = None if known is None else await sums_of(self._ports.key_values, known)
        if known is None or sums is None or known.cursor.at > self._hour:  # from the future, by a wrong clock
            begin = add_time(self._hour, -LOAD_BUCKETS * BUCKET)
            known, sums = HourState(done_until=begin, cursor=HistoryCursor(at=begin)), None
        made = HourSums(None, None, self._hour) if sums is None else HourSums(*sums, self._hour)
        cursor, complete = known.cursor, False
        while not complete and self._in_time:
            batch = await ended_between(
                self._ports, cursor, self._hour, AT_ONCE, now=add_time(self._hour, HOUR), most_tickets=2_000
            )
            await self._ports.beside(partial(made.add, batch.flows))
            cursor, complete = batch.cursor, batch.complete
        loads, course = await self._ports.beside(made.built)
        side = 1 - known.side
        await keep_sums(self._ports.key_values, side, loads, course)
        return known.but(cursor=cursor, side=side, names=tuple(loads.by_name)), loads, course, complete

    async def _look_ahead(self, loads: Sums) -> None:
        if not enough(loads):
            return
        arrivals = loads.by_name[ARRIVALS]
        self._forecast = await self._ports.beside(partial(forecast_load, arrivals, self._hour))
        self._errors = await self._ports.beside(partial(errors_by_horizon, arrivals, self._hour))
        workers = await self._ports.registry.workers()
        slots, forecasts = slots_of(workers, self._ports.clock.now(), self._rules), {}
        for capability, values in near_capacity(loads, slots).items():
            if self._in_time:
                forecasts[capability] = await self._ports.beside(partial(forecast_load, values, self._hour))
        found = list(bottlenecks_ahead(forecasts, slots, loads, self._hour))
        self._bottlenecks = len(found)
        self._problems += found

    async def _look_for_drivers(self, course: Sums) -> None:
        steps = driver_steps(course)
        while self._in_time:
            try:
                next(steps)
            except StopIteration as done:
                self._problems += done.value
                return
            await asyncio.sleep(0)

    async def _look_at_rows(self) -> None:
        begin = add_time(self._hour, -HOUR)
        before = await self._rows(add_time(begin, -DAY), begin)
        hour = await self._rows(begin, self._hour)
        odd: OddRows = await self._ports.beside(partial(odd_rows, before, hour))
        self._odd |= {kind: len(found) for kind, found in odd.anomalies.items()}
        self._problems += row_problems(odd, hour)

    async def _rows(self, start: datetime, end: datetime) -> Sequence[TicketRow]:
        return [row for _, rows in await self._read_rows(start, end) for row in rows]

    async def _look_at_load(self, state: HourState, loads: Sums) -> None:
        """Compare the hour before this one with what was expected: by now most flows that came then have ended."""
        begin = add_time(self._hour, -SETTLES_BUCKETS * BUCKET)
        points = tuple(one for one in state.expected if begin <= one.start < begin + HOUR)
        arrivals = loads.by_name.get(ARRIVALS, ())
        first = len(arrivals) - SETTLES_BUCKETS
        if not points or points[0].start != begin or first < 0 or self._forecast is None:
            return
        found: Sequence[RowAnomaly] = load_anomalies(
            arrivals[first : first + len(points)], self._forecast.but(points=points), ARRIVALS
        )
        if found:
            self._odd[AnomalyKind.LOAD] = len(found)
            self._problems += load_problems(found, 1 - state.error)
