"""Second attempts in a simulated world: they are asked for at random moments, for tickets that workers are at."""

import asyncio
from typing import TYPE_CHECKING

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.commands import HedgeRequest
from functions._core.records.models import HELD_TICKETS
from functions._engine.clock import fresh_id
from functions._hosts.wiring_api import ApiServices
from functions._simulator.environment import HORIZON

if TYPE_CHECKING:
    from functions._simulator.world import World

HEDGE = "hedge"

PAUSE = 4.0
"""Seconds between two of them at most."""


async def hedges(world: "World") -> None:
    """Ask for second attempts again and again, as a policy does that hedges what is late; often none is possible."""
    begun = world.clock.now()
    while not world.faults.calm and (world.clock.now() - begun).total_seconds() < HORIZON:
        await asyncio.sleep(world.faults.chance(HEDGE).random() * PAUSE)
        try:
            await world.outside.ask(lambda services: _hedge(services, world))
        except (Conflict, Rejected, Unavailable):
            continue


async def _hedge(services: ApiServices, world: "World") -> None:
    draw = world.faults.chance(HEDGE)
    live = await services.ports.store.tickets_of(world.flow_id, live_only=True)
    held = [ticket for ticket in live if ticket.status in HELD_TICKETS and ticket.acknowledged_at is not None]
    if held:
        ticket = draw.choice(held)
        order = HedgeRequest(flow_id=world.flow_id, ticket_id=ticket.ticket_id, requested_by="hedger")
        await services.engine.order(order, order_id=fresh_id(draw))
        world.faults.struck[HEDGE] += 1
