"""Freezes in a simulated world: they begin and end at random moments, and people let a ticket pass."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.commands import FreezeException
from functions._core.records.policies import AdmissionAction
from functions._core.records.values import Waiting
from functions._core.slo.admission import AdmissionPolicy
from functions._core.slo.budget import Indicator, budget_of
from functions._core.slo.definition import SliQuery, Slo
from functions._core.slo.freezing import FreezeAction, FreezeEvent, FreezeScope, SloSelector, ended
from functions._core.slo.stored import ADMISSION_POLICIES, BudgetState, put_budget, put_freeze, put_new
from functions._engine.clock import fresh_id
from functions._hosts.wiring_api import ApiServices
from functions._simulator.deployments import FREEZE, SERVICES
from functions._simulator.environment import HORIZON

if TYPE_CHECKING:
    from functions._simulator.world import World


SPENT = 0.5
"""The share of these worlds in which the budget of a service is spent when the decisions come."""


async def freezes(world: "World") -> None:
    """Freeze a service, or all of them, a few times for a while; in half of the worlds a budget is spent besides."""
    draw = world.faults.chance(FREEZE)
    admission = Random(f"{world.seed}/admission")
    if admission.random() < SPENT:
        world.outside.spawn(spent(world, admission))
    for number in range(draw.randint(1, 3)):
        await asyncio.sleep(draw.random() * HORIZON / 2)
        if world.faults.calm:
            return
        world.faults.struck[FREEZE] += 1
        entries, freeze = world.entries, _drawn(world, draw, number)
        version = await put_freeze(entries, freeze, 0)
        world.ledger.frozen[freeze.event_id] = freeze, world.clock.now()
        lasts = draw.choice((1, 10, 40, 90))
        await asyncio.sleep(lasts / 2)
        if draw.random() < 0.3:
            await _ask(world, _let_one_pass)
        await asyncio.sleep(lasts / 2)
        await put_freeze(entries, ended(freeze, world.clock.now(), "budget", "it has recovered"), version)
        del world.ledger.frozen[freeze.event_id]
        if draw.random() < 0.5:
            await _ask(world, _tell)


async def spent(world: "World", draw: Random) -> None:
    """Let the budget of a service be spent from the beginning on, and recover after a while, or not."""
    entries, now = world.entries, world.clock.now()
    slo = Slo(
        slo_id="slo",
        name="slo",
        service_name=SERVICES[0],
        target=0.9,
        sli_query=SliQuery(query="good / all"),
        created_at=now,
        updated_at=now,
    )
    policy = AdmissionPolicy(
        name="spent",
        action=draw.choice([one for one in AdmissionAction if one is not AdmissionAction.REFUSE]),
        slo_selector=SloSelector(slo_ids=(slo.slo_id,)),
        hold_at_most_seconds=draw.choice((5, 30, 120)),
        created_at=now,
        updated_at=now,
    )
    await put_new(entries, slo)
    state = BudgetState(budget=budget_of(slo, now, "spent", Indicator(0.5), {}), told=True)
    version = await put_budget(entries, state, 0)
    await ADMISSION_POLICIES.put(entries, policy.name, policy)
    if draw.random() < 0.7:
        await asyncio.sleep(draw.random() * HORIZON)
        now = world.clock.now()
        well = BudgetState(budget=budget_of(slo, now, "recovered", Indicator(1.0), {}), told=True)
        await put_budget(entries, well, version)


def _drawn(world: "World", draw: Random, number: int) -> FreezeEvent:
    everything = draw.random() < 0.4
    return FreezeEvent(
        event_id=fresh_id(draw),
        policy_id=f"policy-{number}",
        policy_name=f"policy {number}",
        scope=FreezeScope.GLOBAL if everything else FreezeScope.SERVICE,
        target="*" if everything else draw.choice(SERVICES),
        actions=(FreezeAction.BLOCK_DEPLOY,),
        slo_id="slo",
        service_name=SERVICES[0],
        trigger_reason="the budget is spent",
        budget_remaining=0.0,
        triggered_at=world.clock.now(),
    )


async def _let_one_pass(services: ApiServices, world: "World") -> None:
    found = await services.ports.store.tickets_of(world.flow_id, live_only=True)
    waiting = [ticket for ticket in found if ticket.waiting is Waiting.FREEZE]
    if waiting:
        ticket_id = world.faults.chance(FREEZE).choice(waiting).ticket_id
        await services.engine.order(FreezeException(flow_id=world.flow_id, ticket_id=ticket_id))


async def _tell(services: ApiServices, _world: "World") -> None:
    await services.engine.budgets.release.freezes_changed()  # type: ignore[attr-defined]


async def _ask(world: "World", action: Callable[[ApiServices, "World"], Awaitable[None]]) -> None:
    try:
        await world.outside.ask(lambda services: action(services, world))
    except (Conflict, Rejected, Unavailable):
        return
