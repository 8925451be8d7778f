"""The calculation of a budget in nine steps: measure, what is left, burn rates, class, violations, record, store, tell.

    1  the indicator over the window of the SLO        6  the record
    2  what is used and left of the budget             7  stored, with a point of its course
    3  burn rates over shorter windows                 8  the stored record is the cache: one read by its key
    4  the class of what is left                       9  events, sent by whoever calls, then `told`
    5  violations: found violated, not so before

A budget is stored on the version that was read before it was measured: of two who calculate at once one is first, and
its budget is that of both. It is stored before it is told, and says so; whoever calculates next, after a crash in
between, tells it with the same ids. What cannot be measured is not stored: the last budget stays.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from functions._core.errors import Conflict
from functions._core.ports import Ports
from functions._core.records.values import NAMESPACE, add_time, format_time, name_uuid
from functions._core.slo.budget import (
    DEFAULT_THRESHOLDS,
    BurnRate,
    ErrorBudget,
    Indicator,
    Thresholds,
    budget_of,
    exhaustion_of,
)
from functions._core.slo.definition import WINDOW, Slo
from functions._core.slo.indicator import NoData, OwnHistory, StillCounting, histories_of, measured
from functions._core.slo.stored import BudgetState, add_point, budget_state, put_budget

BURN_WINDOWS: Sequence[timedelta] = (
    *(timedelta(hours=hours) for hours in (1, 6, 24)),
    *(timedelta(minutes=minutes) for minutes in (5, 30)),
    *(timedelta(hours=hours) for hours in (2, 72)),
)
"""The windows of burn rates: 1, 6 and 24 h, and the others of the pairs 5 m/1 h, 30 m/6 h, 2 h/24 h and 6 h/3 d."""

FORECAST_HOURS = frozenset({1.0, 6.0, 24.0, 72.0})
"""The windows, in hours, whose burn rates are taken for what may come; shorter ones tell of single flows."""

VIOLATIONS = 100
"""Violations of an SLO that are kept, the newest."""


class Calculation(NamedTuple):
    """The newest budget as it is stored at `version`; `new` when this calculation has stored it."""

    state: BudgetState
    version: int
    new: bool = False

    @property
    def budget(self) -> ErrorBudget:
        """The budget."""
        return self.state.budget

    @property
    def violation(self) -> bool:
        """Whether it found the SLO violated, and the calculation before did not."""
        return self.state.violations[-1:] == (self.budget.calculated_at,)


async def calculate(slo: Slo, ports: Ports, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> ErrorBudget:
    """Calculate and store the budget of an SLO, and return it.

    Nothing is told; see `calculated`, which says what is to be. Raises as `indicator` does: the last budget stays.
    """
    now = ports.clock.now()
    return (await calculated(slo, ports, now, await histories_of([slo], ports, now), thresholds)).budget


async def calculated(
    slo: Slo,
    ports: Ports,
    now: datetime,
    histories: Mapping[str, OwnHistory],
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    *,
    told: bool = False,
) -> Calculation:
    """Calculate and store the budget of an SLO with its `histories_of`.

    With `told` nobody wants its events. Raises as `indicator` does: the last budget stays.
    """
    last, version = await budget_state(ports.key_values, slo.slo_id)
    whole = await measured(slo, ports, timedelta(days=slo.window_days), now, histories)
    windows = await _windows(slo, ports, now, histories)
    known = last.violations if last is not None else ()
    budget_id = name_uuid(str(NAMESPACE), f"budget/{slo.slo_id}/{version}/{format_time(now)}")
    budget = budget_of(slo, now, budget_id, whole, windows, known, thresholds)
    violation = budget.violated and not (last is not None and last.budget.violated)
    if violation:
        known = (*known, now)[-VIOLATIONS:]
        budget = budget_of(slo, now, budget_id, whole, windows, known, thresholds)
    earliest, latest = forecast(budget, slo.window_days)
    budget = budget.but(exhaustion_earliest=earliest, exhaustion_latest=latest)
    state = BudgetState(budget=budget, violations=known, told=told)
    try:
        stored = await put_budget(ports.key_values, state, version)
    except Conflict:
        other, other_version = await budget_state(ports.key_values, slo.slo_id)
        if other is None:
            raise
        return Calculation(other, other_version)
    await add_point(ports.key_values, budget)
    return Calculation(state, stored, new=True)


async def tell_done(ports: Ports, done: Calculation) -> None:
    """Take note that the events of a budget have been sent."""
    try:
        await put_budget(ports.key_values, done.state.but(told=True), done.version)
    except Conflict:
        return  # it was calculated again meanwhile


def forecast(budget: ErrorBudget, window_days: int) -> tuple[datetime | None, datetime | None]:
    """Return when a budget may be spent at the earliest and at the latest, if it burns on as in the recent past.

    The recent past are the last hour, 6 hours, day and 3 days: their burn rates span what is to be expected.
    At the earliest it is spent at the highest of them, if none of the errors so far leaves the window; None if that
    takes longer than the window. At the latest it is spent at the lowest of them, if all of the errors so far leave
    the window at once; None, perhaps never, if that rate is 1 or less. Both are None with fewer than two windows: one
    has no spread. A budget that is spent is so since its calculation at the latest.
    """
    now, left = budget.calculated_at, budget.error_budget_remaining
    if left <= 0:
        return now, now
    rates = [burn.rate for burn in budget.burn_rates if burn.window_hours in FORECAST_HOURS]
    if len(rates) < 2:  # noqa: PLR2004 a spread needs two
        return None, None
    earliest = exhaustion_of(now, left, window_days, max(rates))
    if earliest is None or earliest > add_time(now, timedelta(days=window_days)):
        return None, None
    return earliest, exhaustion_of(now, 100, window_days, min(rates)) if min(rates) > 1 else None


def burn_over(budget: ErrorBudget, hours: float) -> BurnRate | None:
    """Return the burn rate of a budget over a window of so many hours; None where that was not measured."""
    return next((burn for burn in budget.burn_rates if burn.window_hours == hours), None)


async def _windows(
    slo: Slo, ports: Ports, now: datetime, histories: Mapping[str, OwnHistory]
) -> Mapping[float, Indicator]:
    """Return what was measured over the windows of burn rates, by their hours; where nothing can be there is none.

    A query that has no place for a window tells of one window alone.
    """
    if slo.sli_query.query is not None and WINDOW not in slo.sli_query.query:
        return {}
    found: dict[float, Indicator] = {}
    for span in BURN_WINDOWS:
        with suppress(NoData, StillCounting):
            found[round(span / timedelta(hours=1), 6)] = await measured(slo, ports, span, now, histories)
    return found
