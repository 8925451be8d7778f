"""Calculate the error budgets of all SLOs that are due, side by side; one that fails stops no other.

Consumes clock.ticked. Emits sla.budget.updated and sla.slo.violated, stored before they are told: what a crash leaves
untold the next tick tells, with the same ids.
Gives up on an SLO that cannot be measured until the next tick: its last budget stays, and the failure is counted.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from functions._core.errors import Rejected
from functions._core.ports import Ports
from functions._core.slo.budget import DEFAULT_THRESHOLDS, ErrorBudget, Thresholds
from functions._core.slo.calculating import Calculation, calculated, tell_done
from functions._core.slo.definition import Slo
from functions._core.slo.indicator import MetricsAway, OwnHistory, histories_of
from functions._core.slo.stored import BudgetState, budget_state, budget_states, slo, slos

AT_ONCE = 16
"""SLOs that are calculated side by side."""

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
    """How many SLOs were calculated (`success`), had no data (`no_data`), or failed (`error`)."""


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
    histories = await histories_of(due, ports, now)
    slots, results = asyncio.Semaphore(AT_ONCE), Counter({"success": 0, "no_data": 0, "error": 0})

    async def one(which: Slo) -> Calculation | None:
        async with slots:
            begun = asyncio.get_running_loop().time()
            try:
                done = await _one(ports, which, now, histories, thresholds, tell)
            except Exception as error:  # noqa: BLE001 one that fails stops no other
                failed(which, error)
                results["error"] += 1
                return None
            seconds(asyncio.get_running_loop().time() - begun)
            results["success" if done is not None else "no_data"] += 1
            return done

    found = [done for done in await asyncio.gather(*map(one, due)) if done is not None]
    budgets = {which.slo_id: states[which.slo_id][0].budget for which in enabled if which.slo_id in states}
    budgets |= {done.budget.slo_id: done.budget for done in found}
    return Calculated(known, budgets, [done.budget for done in found if done.new and done.violation], results)


async def recalculate(
    ports: Ports, slo_id: str, tell: Tell | None, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> tuple[Slo, Calculation]:
    """Calculate the budget of one SLO now, and `tell` it; see `Engine.recalculate`."""
    found, now = await slo(ports.key_values, slo_id), ports.clock.now()
    if found is None or not found.enabled:
        raise Rejected(f"there is no SLO {slo_id}", code="unknown_slo", status=404)
    state, version = await budget_state(ports.key_values, slo_id)
    if state is not None:
        await _tell_left(ports, [found], {slo_id: (state, version)}, tell)
    try:
        done = await _one(ports, found, now, await histories_of([found], ports, now), thresholds, tell)
    except MetricsAway as away:
        raise Rejected(f"the server of metrics does not answer: {away}", code="metrics_away", status=504) from away
    if done is None:
        text = f"nothing was measured for SLO {found.name!r} in its window: the last budget stays"
        raise Rejected(text, code="no_data", status=409)
    return found, done


async def _one(
    ports: Ports,
    which: Slo,
    now: datetime,
    histories: Mapping[str, OwnHistory],
    thresholds: Thresholds,
    tell: Tell | None,
) -> Calculation | None:
    done = await calculated(which, ports, now, histories, thresholds, told=tell is None)
    if done is not None and done.new and tell is not None:
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


def _is_due(known: tuple[BudgetState, int] | None, now: datetime, interval: timedelta) -> bool:
    return known is None or not timedelta() <= now - known[0].budget.calculated_at < interval * (1 - EARLY)
