"""The queue: retried with growing pauses, buried when hopeless, resumed by a new process, bounded in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import letter_of
from functions._core.records.models import Reason
from functions._core.records.values import FlowStatus
from functions._engine import local_broker
from tests.support.builders import T0
from tests.support.world import LocalWorld, decision, running_world, task, until


class Subscriber:
    """A broker that keeps what it takes and refuses as told."""

    def __init__(self, *refusals: Exception) -> None:
        """Raise `refusals` one after the other, then take everything."""
        self.refusals = list(refusals)
        self.events: list[CloudEvent] = []

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Take events or refuse them."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.events.extend(events)


@asynccontextmanager
async def subscribed(tmp_path: Path, subscriber: Subscriber) -> AsyncIterator[LocalWorld]:
    """Run a world whose transitions go to `subscriber`."""
    async with running_world(tmp_path, subscriber_url="http://127.0.0.1:1/") as world:
        world.platform.outbox.subscriber = Subscriber()
        await world.register()
        await until(lambda: drained(world), "the registration to be told")
        world.platform.outbox.subscriber = subscriber
        yield world


def event(event_id: str, event_type: str = "ticket.completed", flow_id: str = "nobody") -> CloudEvent:
    """Build an event for subscribers."""
    return CloudEvent(
        id=event_id,
        source="/tests",
        type=type_of(event_type),
        time=T0,
        subject=flow_id,
        data={"flow_id": flow_id, "ticket_ids": []},
        extensions={"partitionkey": flow_id},
    )


async def drained(world: LocalWorld) -> bool | None:
    """Tell whether the queue is empty."""
    depth = await world.platform.instruments.queue.depth()
    return True if depth == 0 and world.platform.outbox.held == 0 else None


async def test_subscribers_get_every_transition_once_and_in_order(tmp_path: Path) -> None:
    subscriber = Subscriber()
    async with subscribed(tmp_path, subscriber) as world:
        flow = await world.run(task("a"))
        await until(lambda: drained(world), "the queue to empty")
        history = [kind for kind, _ in await world.transitions(flow.flow_id)]
    assert [e.event_type for e in subscriber.events] == history
    assigned = next(e for e in subscriber.events if e.event_type == "ticket.assigned")
    assert (assigned.data["token"], assigned.data["worker_id"]) == (None, "w1")
    assert "token-" not in str([e.data for e in subscriber.events])


async def test_an_event_that_a_subscriber_cannot_take_yet_is_sent_again(tmp_path: Path) -> None:
    subscriber = Subscriber(Unavailable(), Unavailable())
    async with subscribed(tmp_path, subscriber) as world:
        world.platform.outbox.take([event("e1")])
        await until(lambda: drained(world), "the queue to empty")
        letters, _ = await world.ports.dead_letters.letters(None, 10)
    assert [e.id for e in subscriber.events] == ["e1"]
    assert not letters


async def test_an_event_that_a_subscriber_refuses_becomes_a_dead_letter_and_can_be_replayed(tmp_path: Path) -> None:
    subscriber = Subscriber(Rejected("no such thing", code="refused_by_subscriber"))
    async with subscribed(tmp_path, subscriber) as world:
        await world.platform.instruments.queue.enqueue([event("e1")])
        world.platform.outbox.take([event("e1")])
        await until(lambda: drained(world), "the queue to empty")
        letters, _ = await world.ports.dead_letters.letters(None, 10)
        assert [(x.letter_id, x.function, x.reason.code) for x in letters] == [
            ("e1", "subscriber", "refused_by_subscriber")
        ]
        await world.platform.replay("e1")
        await until(lambda: drained(world), "the queue to empty")
        left, _ = await world.ports.dead_letters.letters(None, 10)
    assert [e.id for e in subscriber.events] == ["e1"]
    assert not left


async def test_a_function_that_raises_three_times_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_broker, "FIRST_PAUSE", 0.001)
    async with running_world(tmp_path, joins=False) as world:
        calls = 0

        async def broken(_flow_id: str) -> bytes:
            nonlocal calls
            calls += 1
            raise ZeroDivisionError

        monkeypatch.setattr(world.ports.store, "decision", broken)
        flow = await world.run(task("a"))
        letters, _ = await world.ports.dead_letters.letters(None, 10)
    assert calls == 3
    assert flow.status is FlowStatus.FAILED
    assert "ZeroDivisionError" in flow.reasons[0].message
    assert [(letter.function, letter.attempts) for letter in letters] == [("validate", 3)]


async def test_more_events_than_fit_into_memory_are_all_handled(tmp_path: Path) -> None:
    subscriber = Subscriber()
    async with running_world(tmp_path, subscriber_url="http://127.0.0.1:1/", queue_memory=100) as world:
        world.platform.outbox.subscriber = subscriber
        events = [event(f"e{n}", flow_id=f"flow-{n % 7}") for n in range(1000)]
        await world.platform.instruments.queue.enqueue(events)
        world.platform.outbox.take(events)
        assert world.platform.outbox.held <= 100
        await until(lambda: drained(world), "the queue to empty")
    assert sorted(e.id for e in subscriber.events) == sorted(f"e{n}" for n in range(1000))


async def test_a_new_process_takes_up_what_was_queued(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        data = decision(task("a"))
        flow_id = await world.submit(data)
        await world.ended(flow_id)
        await world.ports.store.commit(ChangeSet(flow_id=flow_id, events=(event("left", "tickets.ready", flow_id),)))
        await world.platform.start()
        await until(lambda: drained(world), "the queue to empty")


async def test_replayed_telemetry_goes_back_to_the_buffer_and_from_there_to_the_sink(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        frame = event("frame-1", "telemetry.frame")
        reason = Reason(code="sink_unavailable", message="away")
        await world.ports.dead_letters.put(letter_of(frame, "publish_telemetry", reason, 1, T0))
        await world.platform.replay("frame-1")
        await until(lambda: sent(world), "the sink to get it")
        letters, _ = await world.ports.dead_letters.letters(None, 10)
    assert [e.id for e in world.sink.events] == ["frame-1"]
    assert not letters


async def test_a_letter_that_nobody_would_take_is_not_replayed_into_the_void(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        reason = Reason(code="refused_by_subscriber", message="no")
        await world.ports.dead_letters.put(letter_of(event("e1"), "subscriber", reason, 1, T0))
        with pytest.raises(Rejected, match="FLOWC_SUBSCRIBER_URL"):
            await world.platform.replay("e1")
        assert await world.ports.dead_letters.letter("e1") is not None


async def test_a_subscriber_that_hangs_holds_up_no_flow(tmp_path: Path) -> None:
    class Hanging:
        async def publish(self, _events: Sequence[CloudEvent]) -> None:
            await asyncio.Event().wait()

    async with running_world(tmp_path, subscriber_url="http://127.0.0.1:1/", queue_memory=100) as world:
        world.platform.outbox.subscriber = Hanging()
        await world.register()
        flows = await asyncio.gather(*(world.run(task("a"), task("b", "a")) for _ in range(60)))
    assert {flow.status for flow in flows} == {FlowStatus.COMPLETED}


async def sent(world: LocalWorld) -> bool | None:
    """Tell whether the sink has anything."""
    return True if world.sink.events else None
