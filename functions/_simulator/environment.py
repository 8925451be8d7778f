"""Things that happen around the platform in a simulated world: outages, clock jumps, deployments, damaged records."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from functions._adapters.memory.state import State
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.record import Record, as_json, from_json
from functions._core.records.values import TicketStatus
from functions._engine.clock import fresh_id

if TYPE_CHECKING:
    from functions._simulator.world import World

R = TypeVar("R", bound=Record)
POISON = "/poison"
"""Source of events that come from nowhere."""

HORIZON = 60.0
"""Seconds within which what happens once begins: when most simulated plans are under way."""


async def outage(world: "World", name: str, place: Any) -> None:
    """Let `place` be down for a while."""
    draw = world.faults.chance(name)
    await asyncio.sleep(draw.random() * HORIZON)
    place.down = not world.faults.calm
    world.faults.struck[name] += 1
    await asyncio.sleep(draw.choice((1, 10, 90)))
    place.down = False


async def clock_jumps(world: "World") -> None:
    """Set the clock, forward or back, a few times."""
    draw = world.faults.chance("clock-jump")
    for _ in range(draw.randint(1, 3)):
        await asyncio.sleep(draw.random() * HORIZON)
        if world.faults.calm:
            return
        world.clock.jump(timedelta(seconds=draw.uniform(-30, 30)))
        world.ledger.clock_was_set()
        world.faults.struck["clock-jump"] += 1


async def poison(world: "World") -> None:
    """Send events that nobody can handle: unknown types, wrong data, flows that do not exist."""
    draw = world.faults.chance("poison")
    for _ in range(draw.randint(1, 4)):
        await asyncio.sleep(draw.random() * HORIZON)
        if world.faults.calm:
            return
        world.faults.struck["poison"] += 1
        await draw.choice(world.hosts).take(_poison(draw, world.flow_id, world))


def _poison(draw: Random, flow_id: str, world: "World") -> CloudEvent:
    event_type = draw.choice(
        ("tickets.ready", "workers.discovered", "worker.unhealthy", "nobody.knows", "plan.validated")
    )
    data: Any = draw.choice((None, [], "text", {"flow_id": 7}, {"flow_id": flow_id, "ticket_ids": ["none"]}))
    where = draw.choice((flow_id, "00000000-0000-5000-8000-000000000000"))
    return CloudEvent(
        id=fresh_id(draw),
        source=POISON,
        type=type_of(event_type),
        time=world.clock.now(),
        subject=where,
        data=data,
        extensions={"partitionkey": where} if draw.random() < 0.8 else {},
    )


async def deploy(world: "World") -> None:
    """Replace the platform by one with other limits, which finds fields in the records that it does not know."""
    draw = world.faults.chance("deploy")
    await asyncio.sleep(draw.random() * HORIZON)
    if world.faults.calm:
        return
    world.faults.struck["deploy"] += 1
    settings = world.settings(heartbeat_seconds=20, no_worker_seconds=120)
    for host in world.hosts:
        host.settings = settings
        host.crash()
    rewrite(world.store.state)
    world.ledger.reread()


def rewrite(state: State) -> None:
    """Write every record again, as JSON with a field that this version does not know."""
    for flow in list(state.flows):
        state.flows.put(flow.flow_id, reread(flow))
    for worker in list(state.workers):
        state.workers.put(worker.worker_id, reread(worker))
    for old in list(state.tickets):
        ticket = reread(old)
        state.tickets.put(ticket.ticket_id, ticket)
        if ticket.ticket_id in state.live[ticket.flow_id]:
            state.live[ticket.flow_id][ticket.ticket_id] = ticket


def reread(record: R) -> R:
    """Return the record as another version reads it."""
    text = as_json(record) | {"of_another_version": {"it": ["is", "ignored"]}}
    return from_json(type(record), text)


async def changed_ticket(world: "World") -> None:
    """Change what a ticket asks for where it is stored, while no worker has it."""
    draw, state = world.faults.chance("changed-ticket"), world.store.state
    await asyncio.sleep(draw.random() * HORIZON)
    waiting = [ticket for ticket in state.live_tickets() if ticket.status is TicketStatus.PENDING]
    if world.faults.calm or not waiting:
        return
    world.faults.struck["changed-ticket"] += 1
    ticket = draw.choice(waiting)
    ticket = ticket.but(parameters={**ticket.parameters, "amount": 1_000_000})
    state.tickets.put(ticket.ticket_id, ticket)
    state.live[ticket.flow_id][ticket.ticket_id] = ticket
    world.ledger.changed(ticket)


def events_of(world: "World") -> Mapping[str, Any]:
    """Return what may happen in the environment, by the name of its fault."""
    return {
        "sink-down": lambda: outage(world, "sink-down", world.sink),
        "subscriber-down": lambda: outage(world, "subscriber-down", world.subscriber),
        "clock-jump": lambda: clock_jumps(world),
        "poison": lambda: poison(world),
        "deploy": lambda: deploy(world),
        "changed-ticket": lambda: changed_ticket(world),
    }
