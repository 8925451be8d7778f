"""Guards in a simulated world: policies come while flows are under way, a server is away, and people decide, or not."""

import asyncio
from random import Random
from typing import TYPE_CHECKING

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.commands import QuarantineDecision, QuarantineRuling
from functions._core.guards.policy import GUARD_POLICIES, GuardAction, GuardPolicy
from functions._core.records.models import Ticket
from functions._core.records.values import Waiting
from functions._hosts.wiring_api import ApiServices
from functions._simulator.environment import HORIZON
from functions._simulator.guarded_tasks import GUARD, OTHERS, PROVIDERS, UNKNOWN

if TYPE_CHECKING:
    from functions._simulator.world import World


async def prepare(world: "World") -> None:
    """Make a policy that nothing breaks before anything begins: so processes look for others every ten seconds."""
    if GUARD in world.faults.active:
        await _put(world, "harmless", UNKNOWN, GuardAction.DENY)


async def guards(world: "World") -> None:
    """Make policies, at once or while flows are under way; let the server be away for a while; let people decide."""
    draw = world.faults.chance(GUARD)
    world.faults.struck[GUARD] += 1
    world.outside.spawn(_people(world, draw))
    if draw.random() < 0.5:
        world.outside.spawn(_away(world, draw))
    for action in (GuardAction.QUARANTINE, GuardAction.DENY):
        if action is GuardAction.DENY or draw.random() < 0.5:
            await asyncio.sleep(draw.random() * HORIZON / 4)
        await _put(world, action.lower(), PROVIDERS[action], action)
        world.ledger.guarding[PROVIDERS[action]] = world.clock.now()


async def _put(world: "World", name: str, provider: str, action: GuardAction) -> None:
    now = world.clock.now()
    policy = GuardPolicy(
        name=name,
        providers=(provider,),
        allowed_providers=(OTHERS,),
        action=action,
        created_at=now,
        updated_at=now,
    )
    await GUARD_POLICIES.put(world.entries, policy.name, policy)


async def _away(world: "World", draw: Random) -> None:
    await asyncio.sleep(draw.random() * HORIZON)
    world.policies.down = not world.faults.calm
    await asyncio.sleep(draw.choice((1, 10, 90)))
    world.policies.down = False


async def _people(world: "World", draw: Random) -> None:
    """Decide about some of the tickets in quarantine, now and then."""
    while True:
        await asyncio.sleep(1 + draw.random() * HORIZON / 2)
        waiting = [one for one in world.store.state.live_tickets() if one.waiting is Waiting.QUARANTINE]
        if waiting:
            ticket, ruling = draw.choice(waiting), draw.choice([*QuarantineRuling, QuarantineRuling.RELEASE])
            await _decide(world, ticket, ruling)


async def _decide(world: "World", ticket: Ticket, ruling: QuarantineRuling) -> None:
    order = QuarantineDecision(flow_id=ticket.flow_id, ticket_id=ticket.ticket_id, ruling=ruling)

    async def decided(services: ApiServices) -> object:
        return await services.engine.order(order)

    try:
        await world.outside.ask(decided)
    except (Conflict, Rejected, Unavailable):
        return
