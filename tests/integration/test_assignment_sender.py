"""Deliveries: hung workers do not starve healthy ones, nothing stale is delivered, nothing twice at once."""

import asyncio
from dataclasses import replace
from pathlib import Path

from functions._core.events.envelope import CloudEvent
from functions._core.planning.tickets import ticket_hash
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus
from functions._core.records.worker import Answer, Worker
from functions._engine.assignment_sender import AssignmentSender
from tests.support.builders import T0, make_flow, make_plan
from tests.support.world import ClosedBreaker, running_world, until


class Gateway:
    """Workers of which those called `hung…` never answer; `asked` counts the deliveries to each worker."""

    def __init__(self) -> None:
        """Begin with nobody asked."""
        self.asked: list[tuple[str, str]] = []

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """Answer 202, or never."""
        self.asked += [(worker.worker_id, event.event_type) for event in events]
        if worker.worker_id.startswith("hung"):
            await asyncio.Event().wait()
        return Answer(202)


def assigned(number: int, worker_id: str, size: int = 1) -> tuple[Ticket, ...]:
    """Build tickets that a worker was given."""
    made = make_plan(
        make_flow(number), size, status=TicketStatus.ASSIGNED, worker_id=worker_id, attempt=1, assigned_at=T0
    )
    return tuple(ticket.but(hash=ticket_hash(ticket)) for ticket in made)


async def store(ports: Ports, tickets: tuple[Ticket, ...]) -> list[Delivery]:
    """Store tickets and return the deliveries that are owed for them."""
    await ports.store.commit(ChangeSet(flow_id=tickets[0].flow_id, tickets=tickets))
    return [Delivery(ticket, ticket.worker_id or "", ticket.attempt) for ticket in tickets]


async def test_a_worker_that_hangs_does_not_keep_others_from_their_work(tmp_path: Path) -> None:
    gateway, answered = Gateway(), []
    async with running_world(tmp_path) as world:
        await world.register("hung")
        await world.register("healthy")
        assignment_sender = AssignmentSender(
            replace(world.ports, gateway=gateway),
            ClosedBreaker(),
            "http://127.0.0.1:1",
            16,
            answered=lambda delivery, _answer: answered.append(delivery.worker_id),
            unresolved=lambda _delivery, _missing: None,
        )
        assignment_sender.send(await store(world.ports, assigned(1, "hung", 300)))
        assignment_sender.send(await store(world.ports, assigned(2, "healthy", 50)))
        await until(lambda: _all(answered, 50), "the healthy worker to be asked")
        await assignment_sender.close()
    assert answered == ["healthy"] * 50
    assert gateway.asked.count(("hung", "ticket.assigned")) == 2


async def test_an_assignment_that_no_longer_holds_is_not_delivered(tmp_path: Path) -> None:
    gateway = Gateway()
    async with running_world(tmp_path) as world:
        await world.register("w1")
        ports = replace(world.ports, gateway=gateway)
        answered: list[str] = []
        assignment_sender = AssignmentSender(
            ports,
            ClosedBreaker(),
            "http://127.0.0.1:1",
            16,
            answered=lambda delivery, _answer: answered.append(delivery.ticket.ticket_id),
            unresolved=lambda _delivery, _missing: None,
        )
        old, held = await store(ports, assigned(1, "w1", 2))
        assignment_sender.send([replace(old, attempt=2), held, held])
        await until(lambda: _all(answered, 1), "the one that holds")
        await assignment_sender.close()
    assert answered == [held.ticket.ticket_id]
    assert gateway.asked == [("w1", "ticket.assigned")]


async def test_a_ticket_that_was_changed_where_it_is_stored_is_not_delivered_again(tmp_path: Path) -> None:
    gateway, refused = Gateway(), []
    async with running_world(tmp_path) as world:
        await world.register("w1")
        ports = replace(world.ports, gateway=gateway)
        assignment_sender = AssignmentSender(
            ports,
            ClosedBreaker(),
            "http://127.0.0.1:1",
            16,
            answered=lambda _delivery, _answer: None,
            unresolved=lambda _delivery, why: refused.append(why.code),
        )
        (delivery,) = await store(ports, assigned(1, "w1"))
        changed = delivery.ticket.but(parameters={"amount": 1_000_000}, version=2)
        await ports.store.commit(ChangeSet(flow_id=changed.flow_id, tickets=(changed,)))
        assignment_sender.send([delivery])
        await until(lambda: _all(refused, 1), "the refusal")
        await assignment_sender.close()
    assert refused == ["ticket_corrupted"]
    assert gateway.asked == []


async def _all(found: list[str], number: int) -> bool | None:
    return True if len(found) >= number else None
