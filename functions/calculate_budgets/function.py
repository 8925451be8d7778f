"""Calculate the error budgets of all SLOs that are due, side by side; one that fails stops no other.

Consumes clock.ticked. Emits sla.budget.updated and sla.slo.violated, stored before they are told: what a crash leaves
untold the next tick tells, with the same ids.
Gives up on an SLO that cannot be measured until the next tick: its last budget stays, and the failure is counted. So
it is with one whose history is still counted; a tick counts on for a few seconds, then the next one does.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from functions._core.errors import Rejected
from functions._core.ports import Ports
from functions._core.records.values import format_time
from functions._core.slo.budget import DEFAULT_THRESHOLDS, ErrorBudget, Thresholds
from functions._core.slo.calculating import Calculation, calculated, tell_done
from functions._core.slo.definition import Slo
from functions._core.slo.indicator import MetricsAway, NoData, OwnHistory, StillCounting, histories_of
from functions._core.slo.stored import BudgetState, budget_state, budget_states, slo, slos

AT_ONCE = 16
"""SLOs that are calculated side by side."""

COUNTING_SECONDS = 10.0
"""For how long a tick counts on in the history for new SLOs: a function of AWS has 30 s."""

EARLY = 0.1
"""The part of the interval by which a budget may be younger and is calculated again: ticks are not exact."""

Tell = Callable[[Slo, Calculation], Awaitable[None]]
"""Sends the events of a calculation; durable on return, and safe to repeat."""

Failed = Callable[[Slo, Exception], None]
"""Is told which SLO could not be calculated, and why."""


class Calculated(NamedTuple):
    """What one round did, and what there is after it."""

    slos: Sequence[Slo]
    """All SLOs."""
    budgets: Mapping[str, ErrorBudget]
    """The newest budgets of those that are enabled, by id."""
    violations: Sequence[ErrorBudget]
    """The budgets that were found spent here, and were not before."""
    results: Mapping[str, int]
    """How many were calculated (`success`), had no data (`no_data`), are still counted (`counting`), or failed."""


async def calculate_budgets(
    ports: Ports,
    tell: Tell | None,
    failed: Failed,
    *,
    interval: timedelta,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    seconds: Callable[[float], None] = lambda _seconds: None,
) -> Calculated:
    """Calculate the budgets that are older than the interval, and `tell` each; None: nobody wants to know.

    `seconds` is told how long each took. Raises `Unavailable` when the store does not answer.
    """
    now = ports.clock.now()
    states = {state.budget.slo_id: (state, version) for state, version in await budget_states(ports.key_values)}
    known = await slos(ports.key_values)
    enabled = [one for one in known if one.enabled]
    await _tell_left(ports, enabled, states, tell)
    due = [one for one in enabled if _is_due(states.get(one.slo_id), now, interval)]
    round_ = _Round(ports, now, thresholds, tell, failed, seconds)
    await round_.calculate(due)
    budgets = {which.slo_id: states[which.slo_id][0].budget for which in enabled if which.slo_id in states}
    budgets |= {done.budget.slo_id: done.budget for done in round_.found}
    violations = [done.budget for done in round_.found if done.new and done.violation]
    return Calculated(known, budgets, violations, round_.results)


class _Round:
    """One round of calculations."""

    def __init__(
        self,
        ports: Ports,
        now: datetime,
        thresholds: Thresholds,
        tell: Tell | None,
        failed: Failed,
        seconds: Callable[[float], None],
    ) -> None:
        self._ports, self._now, self._thresholds, self._tell = ports, now, thresholds, tell
        self._failed, self._seconds = failed, seconds
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.found: list[Calculation] = []
        self.results = Counter({"success": 0, "no_data": 0, "counting": 0, "error": 0})

    async def calculate(self, due: Sequence[Slo]) -> None:
        """Calculate the budgets of SLOs, first those whose history is counted."""
        time = asyncio.get_running_loop().time
        until = time() + COUNTING_SECONDS
        counting = await self._all(due, await histories_of(due, self._ports, self._now))
        if counting and time() < until:
            more = await histories_of(counting, self._ports, self._now, lambda: time() < until)
            counting = await self._all(counting, more)
        self.results["counting"] = len(counting)

    async def _all(self, slos: Sequence[Slo], histories: Mapping[str, OwnHistory]) -> Sequence[Slo]:
        """Calculate the budgets of SLOs, return those whose history is still counted."""
        done = await asyncio.gather(*(self._one(which, histories) for which in slos))
        return [which for which, is_done in zip(slos, done, strict=True) if not is_done]

    async def _one(self, which: Slo, histories: Mapping[str, OwnHistory]) -> bool:
        time = asyncio.get_running_loop().time
        async with self._slots:
            begun = time()
            try:
                done = await _one(self._ports, which, self._now, histories, self._thresholds, self._tell)
            except StillCounting:
                return False
            except Exception as error:  # noqa: BLE001 one that fails stops no other
                self._failed(which, error)
                self.results["no_data" if isinstance(error, NoData) else "error"] += 1
                return True
            self._seconds(time() - begun)
        self.found.append(done)
        self.results["success"] += 1
        return True


async def recalculate(
    ports: Ports, slo_id: str, tell: Tell | None, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> tuple[Slo, Calculation]:
    """Calculate the budget of one SLO now, and `tell` it; see `Engine.recalculate`.

    Raises `Rejected`, which says of when the last budget is where that stays.
    """
    found, now = await slo(ports.key_values, slo_id), ports.clock.now()
    if found is None or not found.enabled:
        raise Rejected(f"there is no SLO {slo_id}", code="unknown_slo", status=404)
    state, version = await budget_state(ports.key_values, slo_id)
    if state is not None:
        await _tell_left(ports, [found], {slo_id: (state, version)}, tell)
    try:
        done = await _one(ports, found, now, await histories_of([found], ports, now), thresholds, tell)
    except MetricsAway as away:
        text = f"the server of metrics does not answer: {away}; {_last(state, now)}"
        raise Rejected(text, code="metrics_away", status=504) from away
    except (NoData, StillCounting) as nothing:
        raise Rejected(f"{nothing}; {_last(state, now)}", code=nothing.code, status=nothing.status) from nothing
    return found, done


async def _one(
    ports: Ports,
    which: Slo,
    now: datetime,
    histories: Mapping[str, OwnHistory],
    thresholds: Thresholds,
    tell: Tell | None,
) -> Calculation:
    done = await calculated(which, ports, now, histories, thresholds, told=tell is None)
    if done.new and tell is not None:
        await tell(which, done)
        await tell_done(ports, done)
    return done


async def _tell_left(
    ports: Ports, which: Sequence[Slo], states: Mapping[str, tuple[BudgetState, int]], tell: Tell | None
) -> None:
    """Tell what was stored and not told: its calculation broke off."""
    for one in which:
        state, version = states.get(one.slo_id, (None, 0))
        if tell is not None and state is not None and not state.told:
            left = Calculation(state, version)
            await tell(one, left)
            await tell_done(ports, left)


def _last(state: BudgetState | None, now: datetime) -> str:
    """Return which budget stays, as the end of a sentence."""
    if state is None:
        return "there is no budget yet"
    minutes = (now - state.budget.calculated_at) // timedelta(minutes=1)
    return f"the last budget stays, that of {format_time(state.budget.calculated_at)} ({minutes} min ago)"


def _is_due(known: tuple[BudgetState, int] | None, now: datetime, interval: timedelta) -> bool:
    return known is None or not timedelta() <= now - known[0].budget.calculated_at < interval * (1 - EARLY)
