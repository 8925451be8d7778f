"""An event that its receiver never takes holds up no other, wherever events leave the platform."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from functions._adapters.http.client import HttpClient
from functions._adapters.http.workers import HttpBroker
from functions._adapters.memory.store import MemoryStore
from functions._core.events.envelope import CloudEvent
from functions._engine.clock import SystemClock
from functions._engine.outbox_relay import PAGE, OutboxRelay
from tests.support.builders import make_event
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import running_world, until

POISON = "event-0"


@pytest.fixture
async def receiver() -> AsyncIterator[Loopback]:
    """Take everything but one event, which makes it stumble."""
    async with Loopback() as server:

        async def answer(request: Request) -> Answer:
            return Answer(503 if request.headers["ce-id"] == POISON else 202)

        server.answer = answer
        yield server


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    opened = HttpClient()
    yield opened
    await opened.aclose()


def taken(receiver: Loopback) -> list[str]:
    """Return the ids of the events that were taken."""
    return [request.headers["ce-id"] for request in receiver.requests if request.headers["ce-id"] != POISON]


def events(count: int) -> list[CloudEvent]:
    """Build events of one flow, the first of which is never taken."""
    before = datetime.now(UTC) - timedelta(minutes=1)
    return [make_event(n, extensions={"partitionkey": "flow-1"}, time=before) for n in range(count)]


async def test_the_sweep_of_the_outbox_goes_past_what_the_broker_does_not_take(
    receiver: Loopback, client: HttpClient
) -> None:
    stores = MemoryStore().stores
    publisher = OutboxRelay(stores.queue, stores.store, HttpBroker(client, receiver.url), SystemClock())
    left = events(PAGE + 20)
    await stores.queue.enqueue(left)
    await publisher.recover()
    assert sorted(taken(receiver)) == sorted(event.id for event in left if event.id != POISON)
    assert [queued.event.id for queued in await stores.queue.pending(0, 10)] == [POISON]
    await publisher.close()


async def test_the_sweep_of_the_outbox_leaves_a_broker_alone_that_takes_nothing(client: HttpClient) -> None:
    async with Loopback() as server:

        async def away(_: Request) -> Answer:
            return Answer(503)

        server.answer = away
        stores = MemoryStore().stores
        publisher = OutboxRelay(stores.queue, stores.store, HttpBroker(client, server.url), SystemClock())
        await stores.queue.enqueue(events(PAGE + 20))
        await publisher.recover()
        assert len(server.requests) == PAGE
        assert await stores.queue.depth() == PAGE + 20
        await publisher.close()


async def test_a_page_of_the_outbox_that_the_broker_never_takes_keeps_nothing_behind_it(client: HttpClient) -> None:
    async with Loopback() as server:
        poison = {event.id for event in events(PAGE)}

        async def answer(request: Request) -> Answer:
            return Answer(503 if request.headers["ce-id"] in poison else 202)

        server.answer = answer
        stores = MemoryStore().stores
        publisher = OutboxRelay(stores.queue, stores.store, HttpBroker(client, server.url), SystemClock())
        await stores.queue.enqueue(events(PAGE + 20))
        for _ in range(2):
            await publisher.recover()
        assert {queued.event.id for queued in await stores.queue.pending(0, 2 * PAGE)} == poison
        asked = len(server.requests)
        await publisher.recover()  # the sweep begins again at the head
        assert len(server.requests) == asked + PAGE
        await publisher.close()


async def test_an_event_that_the_subscriber_does_not_take_holds_up_none_of_its_flow(
    tmp_path: Path, receiver: Loopback, client: HttpClient
) -> None:
    async with running_world(tmp_path, subscriber_url=receiver.url) as world:
        world.platform.outbox.subscriber = HttpBroker(client, receiver.url)
        sent = events(50)
        await world.platform.instruments.queue.enqueue(sent)
        world.platform.outbox.take(sent)

        async def others() -> bool | None:
            return True if await world.platform.instruments.queue.depth() == 1 else None

        await until(others, "all others to be told")
        assert taken(receiver) == [event.id for event in sent if event.id != POISON]
        assert [queued.event.id for queued in await world.platform.instruments.queue.pending(0, 10)] == [POISON]
