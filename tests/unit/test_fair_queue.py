"""In which turn a ticket waits for a slot: the rule by itself, and the functions that apply it."""

from datetime import datetime
from operator import attrgetter

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._core.events.data import WorkersDiscovered
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Assigned
from functions._core.machine.context import Context
from functions._core.placement.fair_queue import QueuePosition, next_turn
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._core.rules import TICKETS_PER_TURN, Rules
from functions._engine.dispatch import Dispatcher
from functions.assign.function import assign
from tests.support.builders import T0, make_event, make_flow, make_plan, make_ticket, make_worker, seconds

FULL = TICKETS_PER_TURN


@pytest.mark.parametrize(
    ("line", "turn"),
    [
        pytest.param(QueuePosition(), 0, id="the first to wait"),
        pytest.param(QueuePosition(7), 7, id="nobody waits for a later turn"),
        pytest.param(QueuePosition(7, own={7: FULL - 1}), 7, id="the last that fits"),
        pytest.param(QueuePosition(7, own={7: FULL}), 8, id="one too many"),
        pytest.param(QueuePosition(7, T0 - seconds(1)), 8, id="somebody waits for a later turn"),
        pytest.param(QueuePosition(7, T0 + seconds(1)), 8, id="somebody less urgent waits for a later turn"),
        pytest.param(
            QueuePosition(7, T0 + seconds(1), {7: 1, 9: FULL}), 7, id="the flow's own, more urgent than who comes next"
        ),
        pytest.param(
            QueuePosition(7, T0 + seconds(1), {7: FULL, 9: 3}), 9, id="more urgent, but the flow has no room there"
        ),
        pytest.param(
            QueuePosition(7, T0, {7: 1, 8: FULL, 9: 3}), 9, id="the flow's own, not more urgent than who comes next"
        ),
        pytest.param(QueuePosition(7, T0, {7: 1, 8: 2}), 8, id="behind the flow's others"),
        pytest.param(QueuePosition(7, T0, {8: 3, 12: FULL}), 8, id="room in the next turn"),
        pytest.param(QueuePosition(7, T0, {8: FULL, 12: FULL}), 13, id="the flow's last turn is full"),
        pytest.param(QueuePosition(7, T0, {5: 4}), 8, id="the flow's others are before the current turn"),
    ],
)
def test_the_turn_of_a_ticket_that_must_start_at_t0(line: QueuePosition, turn: int) -> None:
    assert next_turn(line, T0) == turn


def executing(number: int = 1) -> Flow:
    return make_flow(number, status=FlowStatus.EXECUTING, tickets_generated=100)


async def world(*tickets: Ticket, slots: int = 1) -> Ports:
    """Return ports over a memory store with one busy worker and what waits already."""
    stores = MemoryStore().stores
    await stores.registry.put(make_worker(slots=slots, last_seen=T0))
    held = make_ticket(executing(9), 1, status=TicketStatus.ASSIGNED, worker_id="worker-1", assigned_at=T0)
    await stores.store.commit(ChangeSet(flow_id=held.flow_id, tickets=(held, *tickets)))
    unused = dict.fromkeys(("telemetry_sink", "gateway", "tokens"))
    ports = {name: getattr(stores, name) for name in Ports.__slots__ if hasattr(stores, name)}
    return Ports(**ports, **unused, clock=AtT0())  # type: ignore[arg-type]


class AtT0:
    """A clock that stands still."""

    def now(self) -> datetime:
        return T0


def context(flow: Flow, *tickets: Ticket) -> Context:
    by_id = {ticket.ticket_id: ticket for ticket in tickets}
    return Context(flow=flow, tickets=by_id, now=T0, function="test", cause="cause")


async def discovered(ports: Ports, flow: Flow, *tickets: Ticket) -> ChangeSet:
    """Let the dispatcher bring the tickets to C3, and return what was committed."""
    if await ports.store.flow(flow.flow_id) is None:
        await ports.store.commit(ChangeSet(flow_id=flow.flow_id, flow=flow))
    ready = {"flow_id": flow.flow_id, "ticket_ids": [ticket.ticket_id for ticket in tickets]}
    event = make_event(event_type="tickets.ready", data=ready, extensions={"partitionkey": flow.flow_id})
    dispatcher = Dispatcher(ports, Rules(), committed=lambda _step: None, observed=lambda _handling: None)
    return (await dispatcher.handle(event)).step


def turns(step: ChangeSet) -> list[int | None]:
    return sorted((ticket.turn for ticket in step.tickets), key=lambda turn: -1 if turn is None else turn)


async def test_a_flow_takes_as_many_turns_as_its_tickets_need() -> None:
    flow, ports = executing(), await world()
    plan = make_plan(flow, 60)
    await ports.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=plan))
    given = [turns(await discovered(ports, flow, *plan[at : at + 20])) for at in (0, 20, 40)]
    assert given == [[0] * 20, [0] * 5 + [1] * 15, [1] * 10 + [2] * 10]


async def test_the_most_urgent_of_a_batch_get_the_turn_that_is_filled_first() -> None:
    flow, ports = executing(), await world()
    full = [make_ticket(flow, 100 + number, waiting=Waiting.SLOT, turn=0) for number in range(TICKETS_PER_TURN - 1)]
    plan = [make_ticket(flow, number, latest_start=T0 - seconds(number)) for number in range(1, 4)]
    await ports.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(*full, *plan)))
    step = await discovered(ports, flow, *plan)
    assert {ticket.task_id: ticket.turn for ticket in step.tickets} == {"task-3": 0, "task-2": 1, "task-1": 1}


async def test_of_a_batch_the_highest_score_gets_the_slot_that_is_left() -> None:
    flow = executing()
    *others, last = sorted(make_plan(flow, 5), key=attrgetter("ticket_id"))
    plan = (*others, last.but(priority_score=1.0))
    ports = await world(*plan, slots=2)
    [found] = (await discovered(ports, flow, *plan)).events
    candidates = WorkersDiscovered.model_validate(found.data).candidates
    assert candidates.keys() == {last.ticket_id}
    crowd = WorkersDiscovered(
        flow_id=flow.flow_id, candidates={ticket.ticket_id: candidates[last.ticket_id] for ticket in plan}
    )
    outcome = await assign(crowd, context(flow, *plan), ports)
    assert isinstance(outcome, Assigned)
    assert outcome.chosen.keys() == {last.ticket_id}


async def test_tickets_with_other_requirements_have_turns_of_their_own() -> None:
    flow = executing()
    build = [
        make_ticket(flow, 100 + number, waiting=Waiting.SLOT, turn=0, required_capabilities=("build",))
        for number in range(TICKETS_PER_TURN)
    ]
    ports = await world(*build)
    plan = [
        make_ticket(flow, 1, required_capabilities=("build",)),
        make_ticket(flow, 2, required_capabilities=("fly",)),
    ]
    await ports.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=tuple(plan)))
    step = await discovered(ports, flow, *plan)
    assert {ticket.task_id: (ticket.waiting, ticket.turn) for ticket in step.tickets} == {
        "task-1": (Waiting.SLOT, 1),
        "task-2": (Waiting.WORKER, 0),
    }


async def test_a_ticket_that_waits_again_keeps_its_turn() -> None:
    flow = executing()
    ahead = [make_ticket(executing(2), number, waiting=Waiting.SLOT, turn=5) for number in range(3)]
    ticket = make_ticket(flow, 1, waiting=Waiting.SLOT, turn=3)
    ports = await world(*ahead, ticket)
    assert turns(await discovered(ports, flow, ticket)) == [3]


async def test_a_ticket_whose_candidates_are_all_taken_waits_in_a_turn() -> None:
    flow = executing()
    ahead = [make_ticket(executing(2), number, waiting=Waiting.SLOT, turn=number) for number in (5, 6)]
    plan = make_plan(flow, 2)
    ports = await world(*ahead, *plan, slots=2)
    found = (await discovered(ports, flow, *plan)).events[0]
    event = WorkersDiscovered.model_validate(found.data)
    one_left = dict.fromkeys((ticket.ticket_id for ticket in plan), *event.candidates.values())
    crowd = WorkersDiscovered(flow_id=flow.flow_id, candidates=one_left)
    outcome = await assign(crowd, context(flow, *plan), ports)
    assert isinstance(outcome, Assigned)
    step = advance(context(flow, *plan), outcome)
    assert {t.task_id: (t.status, t.waiting, t.turn) for t in step.tickets} == {
        "task-1": (TicketStatus.ASSIGNED, None, None),
        "task-2": (TicketStatus.PENDING, Waiting.SLOT, 6),
    }


async def test_a_ticket_that_is_assigned_gives_its_turn_back() -> None:
    flow = executing()
    ticket = make_ticket(flow, 1, waiting=Waiting.SLOT, turn=3)
    ports = await world(ticket, slots=2)
    found = (await discovered(ports, flow, ticket)).events[0]
    outcome = await assign(WorkersDiscovered.model_validate(found.data), context(flow, ticket), ports)
    assert [(t.status, t.turn) for t in advance(context(flow, ticket), outcome).tickets] == [
        (TicketStatus.ASSIGNED, None)
    ]
