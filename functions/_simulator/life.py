"""The life of a simulated world: what is in it begins, the decision comes, and the world is watched to its rest."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from random import Random
from typing import Any

from functions._core.errors import Conflict, Unavailable
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import LATEST, FlowStatus, TicketStatus, Waiting, add_time, time_span
from functions._core.records.worker import AssignmentMode
from functions._core.rules import Rules
from functions._engine.flow_policies import LOOK_SECONDS
from functions._engine.sweep import LEASE
from functions._simulator.actions import approver, people
from functions._simulator.bystanders import Bystanders
from functions._simulator.deployments import (
    FREEZE,
    held_back,
    held_too_long,
    is_held_no_longer,
    waits_for_nothing,
)
from functions._simulator.environment import events_of
from functions._simulator.freezes import freezes
from functions._simulator.guarded_tasks import GUARD, in_quarantine_too_long, leaves_quarantine
from functions._simulator.guards import guards, prepare
from functions._simulator.healing import incidents_end, playbook_put, under_way
from functions._simulator.hedges import HEDGE, hedges
from functions._simulator.host import LONGEST_DOWN
from functions._simulator.late_flows import goes_on_again, make_policies, paused_too_long
from functions._simulator.ledger import Ledger
from functions._simulator.ports import LATE
from functions._simulator.quiescence import AT_THE_END
from functions._simulator.rivals import POLICY
from functions._simulator.workers import AskingWorker, SimulatedWorker
from functions._simulator.world import World

STORM = 30.0
"""Seconds after the deadline, or after the flow's end, for which faults go on."""

REST = 1800.0
"""Seconds after which everything must have come to rest once there are no faults any more."""


async def live(world: World) -> None:
    """Let everything happen; the ledger says afterwards what was broken."""
    bystanders = Bystanders(world)
    world.observers.append(bystanders.observe)
    await prepare(world)
    for host in world.hosts:
        world.outside.spawn(host.run())
    for registration in world.scenario.fleet:
        kind = AskingWorker if registration.delivery is AssignmentMode.PULL else SimulatedWorker
        worker = kind(
            registration,
            world.outside,
            world.faults,
            Random(f"{world.seed}/{registration.worker_id}"),
            world.hosts[0].settings.heartbeat_seconds,
            world.scenario.failing.get(registration.worker_id, 0.0),
            world.scenario.latency.get(registration.worker_id, 0.0),
        )
        world.outside.workers[worker.worker_id] = worker
        world.outside.spawn(worker.work())
    await playbook_put(world.entries, world.ledger, world.faults)
    own = {FREEZE: lambda: freezes(world), HEDGE: lambda: hedges(world), GUARD: lambda: guards(world)}
    for name, begin in {**events_of(world), **own}.items():
        if name in world.faults.active:
            world.outside.spawn(begin())
    await make_policies(world)
    for number, decision in enumerate(world.scenario.decisions):
        if number and world.scenario.pause:
            await asyncio.sleep(world.scenario.pause)
        await _admit(world, decision)
    if world.scenario.drawn:
        await people(world, Random(f"{world.seed}/people"))
        world.outside.spawn(bystanders.come_early())
    else:
        world.outside.spawn(approver(world))
    while await _ends_in_time(world):
        if await _comes_to_rest(world):
            world.ledger.check(AT_THE_END, world)
            world.ledger.check((incidents_end,), world.store.state)
            return


async def _admit(world: World, decision: Mapping[str, Any]) -> None:
    while True:
        try:
            await world.outside.ask(lambda services: services.engine.admit(world.decision_event(decision)))
        except (Unavailable, Conflict):
            await asyncio.sleep(0.5)
        else:
            return


async def _ends_in_time(world: World) -> bool:
    """Wait for the end of all flows; tell whether no invariant was violated."""
    past: Counter[str] = Counter()
    while not world.ledger.violations:
        if not world.under_way:
            return True
        world.ledger.check((wakeups_are_set,), world)
        for ticket in world.store.state.live_tickets():
            if ticket.status is TicketStatus.WAITING and ticket.waiting is not Waiting.CHILDREN:
                key = f"{ticket.ticket_id} {ticket.waiting_since}"
                past[key] += world.clock.now() >= wait_limit_of(ticket)
                if past[key] > grace():
                    world.ledger.check((waits_end_in_time,), (world, ticket))
        _look_at_frozen(world, past)
        _look_at_guarded(world, past)
        _look_at_paused(world, past)
        for flow in world.under_way:
            late = world.clock.now() >= limit_of(flow, world.rules)
            past[flow.flow_id] = past[flow.flow_id] + 1 if late else 0
            world.faults.calm = world.faults.calm or past[flow.flow_id] > STORM
            if past[flow.flow_id] > grace():
                world.ledger.check((goes_on_in_time,), (world, flow))
        await asyncio.sleep(1)
    return False


def _look_at_frozen(world: World, past: Counter[str]) -> None:
    """Count for how long tickets wait for freezes that have ended, and flows are held that should be no more."""
    if FREEZE not in world.faults.active:
        return
    for ticket in world.store.state.live_tickets():
        if ticket.waiting is Waiting.FREEZE:
            key = f"frozen {ticket.ticket_id}"
            past[key] = 0 if held_back(ticket, world.ledger, LATEST) else past[key] + 1
            if past[key] > world.rules.freeze_look.total_seconds() + grace():
                world.ledger.check((waits_for_nothing,), ticket)
    for flow in world.under_way:
        key = f"held {flow.flow_id}"
        past[key] = past[key] + 1 if held_too_long(flow, world.clock.now()) else 0
        if past[key] > grace():
            world.ledger.check((is_held_no_longer,), flow)


def _look_at_guarded(world: World, past: Counter[str]) -> None:
    """Count for how long tickets are in quarantine past the deadlines of their flows."""
    if GUARD not in world.faults.active:
        return
    for ticket in world.store.state.live_tickets():
        flow, key = world.store.state.flows.get(ticket.flow_id), f"guarded {ticket.ticket_id}"
        past[key] = past[key] + 1 if in_quarantine_too_long(ticket, flow, world.clock.now()) else 0
        if past[key] > grace():
            world.ledger.check((leaves_quarantine,), ticket)


def _look_at_paused(world: World, past: Counter[str]) -> None:
    """Count for how long flows are paused in favour of flows that have ended."""
    for flow in world.under_way if POLICY in world.faults.active else ():
        key = f"paused {flow.flow_id}"
        past[key] = past[key] + 1 if paused_too_long(world, flow) else 0
        if past[key] > LOOK_SECONDS + grace():
            world.ledger.check((goes_on_again,), flow)


async def _comes_to_rest(world: World) -> bool:
    """Let late messages arrive, start the platform once more, and wait until nothing is left to do.

    Tell whether that is so; somebody may have driven a flow once more.
    """
    await asyncio.sleep(STORM)
    world.faults.calm = True
    for host in world.hosts:
        host.crash()
    for _ in range(int(REST / 5)):
        await asyncio.sleep(5)
        if world.ledger.violations or world.under_way:
            return False
        owing = any(worker.owes for worker in world.outside.workers.values())
        if not owing and not len(world.store.state.queue) and not under_way(world.store.state):
            break
    return True


def grace() -> float:
    """Return the seconds after the limit of its status within which a flow must have gone on, in the worst case.

    Faults go on for a while; then a late schedule, leases of processes that died and a start after a crash may
    add up.
    """
    return STORM + LATE + 2 * LEASE.total_seconds() + LONGEST_DOWN + 10


def wakeups_are_set(world: World, _ledger: Ledger) -> Iterator[str]:
    """No live record is without a wake-up."""
    state = world.store.state
    for ticket in state.live_tickets():
        if ("ticket", ticket.ticket_id) not in state.wakeups:
            yield f"ticket {ticket.task_id} is {ticket.status} and nothing will wake it"
    for flow in state.flows:
        if flow.status not in ENDED_FLOWS and ("flow", flow.flow_id) not in state.wakeups:
            yield f"the flow is {flow.status} and nothing will wake it"


def goes_on_in_time(late: tuple[World, Flow], _ledger: Ledger) -> Iterator[str]:
    """A flow ends by its deadline and stays nowhere longer than it may, but for a grace that faults can cost."""
    world, flow = late
    yield f"the flow is {flow.status} {grace():.0f} s after {limit_of(flow, world.rules):%H:%M:%S}"


def waits_end_in_time(late: tuple[World, Ticket], _ledger: Ledger) -> Iterator[str]:
    """A ticket waits for a moment, a person or an event no longer than it may, but for a grace that faults can cost."""
    _, ticket = late
    yield f"ticket {ticket.task_id} waits {grace():.0f} s after {wait_limit_of(ticket):%H:%M:%S}"


def wait_limit_of(ticket: Ticket) -> datetime:
    """Return when a ticket has to stop waiting."""
    approval = ticket.control.approval if ticket.control else None
    since = ticket.waiting_since or ticket.created_at
    return ticket.until or since if approval is None else add_time(since, time_span(approval.timeout_ms))


def limit_of(flow: Flow, rules: Rules) -> datetime:
    """Return when the flow has to be out of its present status."""
    waits = {
        FlowStatus.AWAITING_APPROVAL: rules.approval,
        FlowStatus.PAUSED: rules.pause,
        FlowStatus.COMPENSATING: rules.compensation,
        FlowStatus.PUBLISHING: rules.sink,
    }
    wait = waits.get(flow.status)
    return flow.sla_deadline if wait is None else flow.phase.entered_at + wait
