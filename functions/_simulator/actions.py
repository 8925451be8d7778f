"""What people do in a simulated world, at random moments: what a platform must survive besides faults."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from random import Random
from typing import TYPE_CHECKING

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.commands import (
    ORDERS,
    AdjustRequest,
    ApprovalGrant,
    ClaimRequest,
    FreezeException,
    HedgeRequest,
    PauseRequest,
    QuarantineDecision,
    ReplanRequest,
    ResumeRequest,
    TicketApproval,
    TicketCommand,
    TicketDenial,
)
from functions._core.records.values import FlowStatus
from functions._engine.clock import fresh_id
from functions._hosts.wiring_api import ApiServices

if TYPE_CHECKING:
    from functions._simulator.world import World

MOMENTS = 60.0
APPROVED_WITHIN = 5.0
OTHERS = frozenset(
    {
        AdjustRequest,
        ClaimRequest,
        FreezeException,
        HedgeRequest,
        QuarantineDecision,
        ReplanRequest,
        TicketApproval,
        TicketDenial,
    }
)
"""Commands that need more than a flow or a ticket; tests of their own give them at random moments."""

ANY_ORDER = tuple(model for model in ORDERS.values() if model not in OTHERS)
"""What people may order; a claim is a worker's."""

Action = Callable[[ApiServices, "World"], Awaitable[object]]


async def order(services: ApiServices, world: "World") -> None:
    """Give an order about the flow or one of its tickets, which may be impossible just then, perhaps twice."""
    model = world.chance.choice(ANY_ORDER)
    about = {"flow_id": world.flow_id, "requested_by": "somebody", "reason": "for reasons of their own"}
    if issubclass(model, TicketCommand):
        tickets = await services.ports.store.tickets_of(world.flow_id)
        if not tickets:
            return
        about["ticket_id"] = world.chance.choice(tickets).ticket_id
    given = model.model_validate(about)
    order_id = fresh_id(world.chance)
    for _ in range(world.chance.choice((1, 1, 2))):
        await services.engine.order(given, order_id=order_id)


async def approve(services: ApiServices, world: "World") -> None:
    """Let the flow begin."""
    await services.engine.order(ApprovalGrant(flow_id=world.flow_id))


async def pause_and_resume(services: ApiServices, world: "World") -> None:
    """Pause the flow, and let it go on a while later."""
    await services.engine.order(PauseRequest(flow_id=world.flow_id))
    await asyncio.sleep(world.chance.random() * MOMENTS)
    await services.engine.order(ResumeRequest(flow_id=world.flow_id))


async def drain_a_worker(services: ApiServices, world: "World") -> None:
    """Give one of the workers no new tickets for a while."""
    worker_id = world.chance.choice(world.scenario.fleet).worker_id
    await services.engine.drain(worker_id, draining=True)
    await asyncio.sleep(world.chance.random() * MOMENTS)
    await services.engine.drain(worker_id, draining=False)


async def send_again(services: ApiServices, world: "World") -> None:
    """Send the same decision once more."""
    await services.engine.admit(world.decision_event())


async def send_other_content(services: ApiServices, world: "World") -> None:
    """Send another decision under the same id."""
    await services.engine.admit(world.decision_event(somebody="else"))


async def look_again(services: ApiServices, world: "World") -> None:
    """Have the flow looked at now instead of later."""
    if await services.ports.store.flow(world.flow_id) is not None:
        await services.engine.recheck(world.flow_id)


async def flush(services: ApiServices, _world: "World") -> None:
    """Send buffered telemetry."""
    await services.engine.flush_telemetry(None)


async def replay(services: ApiServices, _world: "World") -> None:
    """Replay the newest dead letter."""
    letters, _ = await services.ports.dead_letters.letters(None, 1)
    for letter in letters:
        await services.engine.replay(letter.letter_id)


async def replan(services: ApiServices, world: "World") -> None:
    """Send another plan: a task takes longer, or is not wanted, or there is one more."""
    plan = deepcopy(dict(world.decision["cognitive_plan"]))
    tasks, change = plan["tasks"], world.chance.choice(("longer", "without", "more"))
    last = tasks[-1]
    if change == "longer":
        last["estimated_duration_ms"] = 2 * last.get("estimated_duration_ms", 1_000)
    elif change == "more":
        tasks.append({**last, "task_id": "one-more", "dependencies": [last["task_id"]]})
    elif len(tasks) > 1:
        del tasks[-1]
    force = world.chance.random() < 0.5
    await services.engine.order(ReplanRequest(flow_id=world.flow_id, cognitive_plan=plan, force=force))


async def adjust(services: ApiServices, world: "World") -> None:
    """Give the flow another deadline."""
    seconds = world.chance.choice((30, 300, 600))
    await services.engine.order(AdjustRequest(flow_id=world.flow_id, sla_seconds=seconds))


ACTIONS: Sequence[tuple[float, Action]] = (
    (0.5, approve),
    (0.1, pause_and_resume),
    *((0.15, order) for _ in range(4)),
    (0.3, send_again),
    (0.1, send_other_content),
    (0.2, look_again),
    (0.2, flush),
    (0.2, replay),
    (0.1, replan),
    (0.05, adjust),
    *((0.2, drain_a_worker) for _ in range(2)),
)
"""What is done, each with its chance."""


async def people(world: "World", draw: Random) -> None:
    """Do some of it."""
    for chance, action in ACTIONS:
        if draw.random() < chance:
            world.outside.spawn(_later(world, action, draw.random() * MOMENTS))


async def approver(world: "World") -> None:
    """Approve the flow as soon as it asks for it."""
    while (flow := world.flow) is None or flow.outcome is None:
        if flow is not None and flow.status is FlowStatus.AWAITING_APPROVAL:
            await _later(world, approve, 0)
        await asyncio.sleep(APPROVED_WITHIN)


async def _later(world: "World", action: Action, seconds: float) -> None:
    await asyncio.sleep(seconds)
    try:
        await world.outside.ask(lambda services: action(services, world))
    except (Conflict, Rejected, Unavailable):
        return
