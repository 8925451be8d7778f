"""Freezes in a simulated world: they begin and end at random moments, and people let a ticket pass."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.commands import FreezeException
from functions._core.records.models import Ticket
from functions._core.records.values import TaskType, TicketStatus, Waiting
from functions._core.slo.freezing import FreezeAction, FreezeEvent, FreezeScope, ended
from functions._core.slo.stored import put_freeze
from functions._engine.clock import fresh_id
from functions._hosts.wiring_api import ApiServices
from functions._simulator.environment import HORIZON
from functions._simulator.ledger import CommittedChange, Ledger
from functions._simulator.plans import Scenario, all_tasks, plan_of

if TYPE_CHECKING:
    from functions._simulator.world import World

FREEZE = "freeze"
"""The fault with which there are freezes."""

SERVICES = ("checkout", "search")
DEPLOYING = 0.5
"""The share of the plain tasks that deploy, where there are freezes."""

PLAIN = frozenset({"QUERY", "BUILD", "TEST", "EXECUTE", "TRANSFORM"})

KNOWN_WITHIN = timedelta(seconds=1)
"""A list of freezes may be so old."""


def with_deployments(scenario: Scenario, seed: int) -> Scenario:
    """Return a drawn scenario in which some tasks deploy a service."""
    draw = Random(f"{seed}/deployments")
    decisions = deepcopy(list(scenario.decisions))
    for task in (task for one in decisions for task in all_tasks(plan_of(one))):
        if task.get("task_type") in PLAIN and isinstance(task, dict) and draw.random() < DEPLOYING:
            task["task_type"] = TaskType.DEPLOY.value
            task["parameters"] = {**task.get("parameters", {}), "service": draw.choice(SERVICES)}
    return replace(scenario, decisions=decisions)


async def freezes(world: "World") -> None:
    """Freeze a service, or all of them, a few times for a while."""
    draw = world.faults.chance(FREEZE)
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
    await services.engine.freezes_changed()  # type: ignore[attr-defined]


async def _ask(world: "World", action: Callable[[ApiServices, "World"], Awaitable[None]]) -> None:
    try:
        await world.outside.ask(lambda services: action(services, world))
    except (Conflict, Rejected, Unavailable):
        return


def nothing_frozen_starts(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """No ticket begins to deploy to a service that is frozen, unless a person lets it pass."""
    for before, after in change.moves():
        given = after.status is TicketStatus.ASSIGNED and (before is None or before.status is TicketStatus.PENDING)
        if given and after.assigned_at is not None:
            for freeze in _freezing(after, ledger, after.assigned_at - KNOWN_WITHIN):
                yield f"ticket {after.task_id} was assigned while {freeze.target} was frozen by {freeze.policy_name}"


def held_back(ticket: Ticket, ledger: Ledger, now: datetime) -> bool:
    """Whether a freeze that lasts holds a ticket back."""
    return bool(_freezing(ticket, ledger, now))


def waits_for_nothing(late: tuple["World", Ticket], _ledger: Ledger) -> Iterator[str]:
    """A ticket waits no longer for a freeze that has ended, but for a grace that faults can cost."""
    _, ticket = late
    yield f"ticket {ticket.task_id} waits since {ticket.waiting_since:%H:%M:%S} for a freeze that ended long ago"


def _freezing(ticket: Ticket, ledger: Ledger, by: datetime) -> Sequence[FreezeEvent]:
    """Return the freezes that hold a ticket back and began before `by`."""
    if ticket.task_type is not TaskType.DEPLOY or ticket.freeze_exception:
        return ()
    service = ticket.parameters.get("service")
    return [
        freeze
        for freeze, since in ledger.frozen.values()
        if since < by and (freeze.scope is FreezeScope.GLOBAL or freeze.target == service)
    ]
