"""What answers of workers lead to, over real HTTP: the circuit breaker, refusals for good, answers without an end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.http.client import HttpClient
from functions._adapters.http.workers import HttpBroker, HttpWorkerGateway
from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import Stores
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._core.records.worker import Worker
from functions._engine.clock import SystemClock
from functions._engine.platform import Platform
from functions._engine.tokens import JwtTokens
from tests.support.loopback import Answer, Loopback, Request
from tests.support.loopback import until as until_true
from tests.support.world import LocalWorld, decision, running_world, task, until

LIMITS = {"redeliver": 0.2, "unreachable": 20, "breaker_pause": 1.5}
PATIENCE = 60
NEVER = {"initial_ms": 3_600_000, "max_ms": 3_600_000}
"""Pauses that no test outlasts: what goes on is what needs none."""


@asynccontextmanager
async def world_of(
    tmp_path: Path, subscriber: Loopback | None = None, stores: Stores | None = None
) -> AsyncIterator[LocalWorld]:
    """Run a platform that calls workers over HTTP, with short limits."""
    clock, client = SystemClock(), HttpClient()
    limits = {name: timedelta(seconds=seconds) for name, seconds in LIMITS.items()}
    gateway = HttpWorkerGateway(client, JwtTokens(b"k" * 32, clock), clock)
    given: dict[str, Any] = {"subscriber_url": subscriber.url} if subscriber else {}
    try:
        async with running_world(tmp_path, stores, gateway, limits=limits, **given) as world:
            if subscriber:
                world.platform.outbox.subscriber = HttpBroker(client, subscriber.url)
            yield world
    finally:
        await client.aclose()


async def register(platform: Platform, server: Loopback, worker_id: str = "w1") -> Worker:
    """Register a worker at a server."""
    return await platform.register(
        Registration(worker_id=worker_id, endpoint=server.url, capabilities=("python",), slots=10)
    )


def assigned(server: Loopback) -> list[Request]:
    """Return the assignments that a worker got."""
    return [request for request in server.requests if request.headers["ce-type"].endswith("ticket.assigned.v1")]


def suspensions(subscriber: Loopback) -> list[Request]:
    """Return what a subscriber was told of circuit breakers that have opened."""
    return [request for request in subscriber.requests if "worker.suspended" in request.headers["ce-type"]]


async def only_ticket(world: LocalWorld, flow_id: str) -> Ticket:
    """Return the ticket of a plan with one task."""

    async def found() -> Ticket | None:
        tickets = await world.ports.store.tickets_of(flow_id)
        return tickets[0] if tickets else None

    return await until(found, "the ticket", PATIENCE)


async def test_the_breaker_opens_after_five_failures_and_lets_one_trial_through(tmp_path: Path) -> None:
    answers = {"status": 500}
    let_go = asyncio.Event()
    let_go.set()

    async def answer(_: Request) -> Answer:
        await let_go.wait()
        return Answer(answers["status"])

    async with Loopback() as server, Loopback() as subscriber, world_of(tmp_path, subscriber) as world:
        server.answer = answer
        worker = await register(world.platform, server)
        flow_id = await world.submit(decision(*(task(f"t{number}") for number in range(8))))
        await until_true(lambda: suspensions(subscriber), "the breaker to open", PATIENCE)
        first = len(assigned(server))
        assert 5 <= first <= 8
        await until_true(lambda: len(suspensions(subscriber)) == 2, "the trial to fail", PATIENCE)
        assert len(assigned(server)) == first + 1
        until_times = [request.json["until"] for request in suspensions(subscriber)]
        assert len(set(until_times)) == 2
        # The next trial takes long: nothing else is sent, however often somebody looks around.
        answers["status"] = 202
        let_go.clear()
        await until_true(lambda: len(assigned(server)) == first + 2, "the second trial", PATIENCE)
        for _ in range(5):
            await world.platform.heartbeat(worker.worker_id, Heartbeat())
            await world.platform.catch_up()
            await asyncio.sleep(0.05)
        assert len(assigned(server)) == first + 2
        let_go.set()
        # It is taken: two acknowledgements close the breaker, and the worker gets all that waits.
        await until_true(
            lambda: len({request.headers["ce-subject"] for request in assigned(server)[first + 1 :]}) == 8,
            "all tickets to be assigned",
            PATIENCE,
        )

        async def closed() -> bool | None:
            row = await world.ports.registry.worker("w1")
            return True if row and row.suspended_until is None and row.failures == 0 else None

        await until(closed, "the breaker to close", PATIENCE)
        assert len(suspensions(subscriber)) == 2
        tickets = await world.ports.store.tickets_of(flow_id)
        assert {ticket.status for ticket in tickets} == {TicketStatus.ASSIGNED}


async def test_of_two_processes_one_has_the_trial(tmp_path: Path) -> None:
    stores = MemoryStore().stores
    async with (
        Loopback() as server,
        world_of(tmp_path, stores=stores) as one,
        world_of(tmp_path, stores=stores) as other,
    ):
        waiting = asyncio.Event()

        async def hang(_: Request) -> Answer:
            await waiting.wait()
            return Answer(500)

        server.answer = hang
        worker = await register(one.platform, server)
        past = worker.last_seen
        await one.ports.registry.put(
            worker.but(failures=5, doubt="worker_unreachable", suspended_until=past, version=worker.version + 1)
        )
        for world in (one, other):
            await world.submit(decision(*(task(f"t{number}") for number in range(4))))
        await until_true(lambda: assigned(server), "the trial", PATIENCE)
        for _ in range(10):
            await asyncio.gather(one.platform.catch_up(), other.platform.catch_up())
            await asyncio.sleep(0.05)
        # The other process may have sent the same attempt once more.
        assert len({request.headers["ce-id"] for request in assigned(server)}) == 1
        waiting.set()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
async def test_a_refusal_is_final_for_that_worker_until_it_registers_again(tmp_path: Path, status: int) -> None:
    async def refuse(_: Request) -> Answer:
        return Answer(status, b"not mine")

    async with Loopback() as server, world_of(tmp_path) as world:
        server.answer = refuse
        worker = await register(world.platform, server)
        flow_id = await world.submit(decision(task("a", retry=NEVER)))
        ticket_id = (await only_ticket(world, flow_id)).ticket_id

        async def left_alone() -> Ticket | None:
            ticket = (await world.ports.store.tickets([ticket_id]))[ticket_id]
            return ticket if ticket.waiting is Waiting.WORKER else None

        ticket = await until(left_alone, "the ticket to wait for another worker", PATIENCE)
        assert [refusal.reason for refusal in ticket.refusals] == [
            "has refused this ticket, and is asked again only when it registers again"
        ]
        assert ticket.reason is not None
        assert (ticket.reason.code, "not mine" in ticket.reason.message) == ("worker_refused", True)
        for _ in range(5):
            await world.platform.heartbeat(worker.worker_id, Heartbeat())
            await world.platform.catch_up()
            await asyncio.sleep(0.05)
        assert len(assigned(server)) == 1
        server.reset()
        await register(world.platform, server)
        await until_true(lambda: assigned(server), "the worker to be asked again", PATIENCE)


async def test_the_next_candidate_gets_what_a_worker_refuses_at_once(tmp_path: Path) -> None:
    async def refuse(_: Request) -> Answer:
        return Answer(400)

    async with Loopback() as refusing, Loopback() as willing, world_of(tmp_path) as world:
        refusing.answer = refuse
        for number in range(6):
            await register(world.platform, refusing, f"no{number}")
        await register(world.platform, willing, "yes")
        await world.submit(decision(task("a"), risk_band="low"))
        await until_true(lambda: assigned(willing), "the one that takes it", PATIENCE)
        assert len(assigned(refusing)) <= 6


async def test_an_acknowledgement_without_an_end_is_one(tmp_path: Path) -> None:
    posts: list[bytes] = []
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        posts.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nx")
        await over.wait()
        writer.close()

    async with world_of(tmp_path) as world, await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await world.platform.register(Registration(worker_id="w1", endpoint=endpoint, capabilities=("python",)))
        flow_id = await world.submit(decision(task("a")))
        ticket_id = (await only_ticket(world, flow_id)).ticket_id

        async def acknowledged() -> Ticket | None:
            ticket = (await world.ports.store.tickets([ticket_id]))[ticket_id]
            return ticket if ticket.acknowledged_at else None

        ticket = await until(acknowledged, "the acknowledgement", PATIENCE)
        assert (ticket.attempt, ticket.status) == (1, TicketStatus.ASSIGNED)
        over.set()
        assert len({post for post in posts if b"ce-id" in post}) >= 1
