"""A sink that refuses an event gets all the others: the refused one is a dead letter, and said to be one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from functions._adapters.http.client import HttpClient
from functions._adapters.http.telemetry import BrokerTelemetrySink, HttpTelemetrySink
from functions._adapters.http.workers import HttpBroker
from functions._adapters.memory.store import MemoryStore
from functions._core.events.envelope import type_of
from functions._core.ports import TelemetrySink
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.models import Flow
from functions._engine.compose import ports_of
from functions._engine.settings import Settings
from functions._engine.telemetry_flush import FIRST_PAUSE, LONGEST_PAUSE, TelemetryFlush
from tests.support.builders import T0, make_event, make_flow
from tests.support.http_api import Api, running_api
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import LocalWorld, decision, task, until

Judge = Callable[[dict[str, Any]], int]


class Sink(Loopback):
    """A sink that answers a message by the worst that `judge` says of an event in it, and keeps what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.judge: Judge = lambda _event: 202
        self.taken: list[dict[str, Any]] = []
        self.answer = self._judged

    async def _judged(self, request: Request) -> Answer:
        events = request.json if isinstance(request.json, list) else [request.json]
        status = max((self.judge(event) for event in events), default=202)
        if status == 202:
            self.taken += events
        return Answer(status)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    opened = HttpClient(timeout_seconds=10)
    yield opened
    await opened.aclose()


class Clock:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.time = T0

    def now(self) -> Any:
        """Return the time."""
        return self.time


@asynccontextmanager
async def sending(tmp_path: Path, sink: TelemetrySink) -> AsyncIterator[Api]:
    """Run the platform with its HTTP and with telemetry that goes to `sink`."""
    async with running_api(tmp_path) as api:
        api.world.sink.send = sink.send  # type: ignore[method-assign]
        # What a test sends itself must not be sent by the clock a moment before.
        api.world.platform.flush_telemetry.when_due = nothing  # type: ignore[method-assign]
        await api.world.register()
        yield api


async def nothing() -> None:
    """Do nothing."""


async def letters_of(world: LocalWorld) -> list[DeadLetter]:
    return list((await world.ports.dead_letters.letters(None, 500))[0])


async def published(api: Api, flow: Flow) -> tuple[bool, str]:
    """Return what the api says of a flow's telemetry, and `why`."""
    found = await api.get(f"/api/v1/flows/{flow.flow_id}")
    told = (await api.get(f"/api/v1/why/{flow.flow_id}"))["text"]
    return found["telemetry_published"], " ".join(told)


async def test_telemetry_that_is_refused_keeps_that_of_no_other_flow(
    tmp_path: Path, sink: Sink, client: HttpClient
) -> None:
    async with sending(tmp_path, HttpTelemetrySink(client, sink.url)) as api:
        refused = decision(task("a"))["decision_id"]
        sink.judge = lambda event: 400 if event["data"]["decision_id"] == refused else 202
        with capture_logs() as lines:
            bad = await api.world.ended(await api.world.submit(decision(task("a"), decision_id=refused)))
            good = [await api.world.run(task("a")) for _ in range(3)]
        assert [flow.telemetry_published for flow in (bad, *good)] == [False, True, True, True]
        letters = await letters_of(api.world)
        shown = api.world.platform.metrics.text().decode()
        assert await api.world.ports.telemetry_buffer.size() == 0
        said = await published(api, bad)
    assert [event["subject"] for event in sink.taken] == [flow.flow_id for flow in good for _ in range(7)]
    assert {(letter.function, letter.reason.code, letter.flow_id) for letter in letters} == {
        ("publish_telemetry", "refused_by_sink", bad.flow_id)
    }
    assert sorted(letter.letter_id for letter in letters) == sorted(bad.telemetry_refused)
    assert "400" in letters[0].reason.message
    told = [line for line in lines if line["event"] == "telemetry.given_up"]
    assert {(line["flow_id"], line["correlation_id"], line["code"]) for line in told} == {
        (bad.flow_id, bad.correlation_id, "refused_by_sink")
    }
    assert len(told) == len(letters) == 7
    assert "neural_hive_flow_c_telemetry_lost_total 7.0" in shown
    assert 'flowc_dead_letters_total{code="refused_by_sink",function="publish_telemetry"} 7.0' in shown
    assert said[0] is False
    assert "did not take 7 events of its telemetry" in said[1]
    assert "buffer" not in said[1]


async def test_of_a_refused_batch_only_the_refused_events_are_dead_letters_and_the_others_keep_their_order(
    tmp_path: Path, sink: Sink, client: HttpClient
) -> None:
    bad = {f"event-{number}" for number in (0, 17, 18, 99, 130)}
    async with sending(tmp_path, HttpTelemetrySink(client, sink.url)) as api:
        events = tuple(make_event(number, data={}, time=datetime.now(UTC)) for number in range(150))
        await api.world.ports.store.commit(ChangeSet(flow_id=make_flow().flow_id, telemetry=events))
        sink.judge = lambda event: 422 if event["id"] in bad else 202
        answer = await api.client.post("/api/v1/telemetry/flush")
        letters = await letters_of(api.world)
    assert answer.json() == {"flushed": 145, "dead_letters": 5, "left": 0, "sink": None}
    assert [event["id"] for event in sink.taken] == [event.id for event in events if event.id not in bad]
    assert {letter.letter_id for letter in letters} == bad
    assert len(sink.requests) < 70


async def test_a_batch_that_the_sink_stops_taking_half_way_is_sent_on_from_there(
    tmp_path: Path, sink: Sink, client: HttpClient
) -> None:
    async with sending(tmp_path, HttpTelemetrySink(client, sink.url)) as api:
        events = tuple(make_event(number, data={}, time=datetime.now(UTC)) for number in range(100))
        await api.world.ports.store.commit(ChangeSet(flow_id=make_flow().flow_id, telemetry=events))
        # The first half of the batch is taken, the refused event is found, and then the sink is away.

        def judge(event: dict[str, Any]) -> int:
            messages = [[one["id"] for one in request.json] for request in sink.requests[:-1]]
            return 503 if ["event-60"] in messages else 400 if event["id"] == "event-60" else 202

        sink.judge = judge
        answer = (await api.client.post("/api/v1/telemetry/flush")).json()
        assert answer == {"flushed": 60, "dead_letters": 1, "left": 39, "sink": "the telemetry sink answered 503"}
        sink.judge = lambda _event: 202
        answer = (await api.client.post("/api/v1/telemetry/flush")).json()
    assert answer == {"flushed": 39, "dead_letters": 0, "left": 0, "sink": None}
    assert [event["id"] for event in sink.taken] == [event.id for event in events if event.id != "event-60"]


async def test_a_flow_whose_telemetry_waited_says_so_until_it_is_sent(
    tmp_path: Path, sink: Sink, client: HttpClient
) -> None:
    async with sending(tmp_path, HttpTelemetrySink(client, sink.url)) as api:
        sink.judge = lambda _event: 503
        flow = await api.world.run(task("a"))
        before = await published(api, flow)
        assert before[0] is False
        assert "waits in the buffer" in before[1]
        sink.judge = lambda event: 400 if event["data"].get("step") == "C2" else 202
        await api.client.post("/api/v1/telemetry/flush")
        half = await published(api, flow)
        assert half[0] is False
        assert "did not take 1 event of its telemetry" in half[1]
        assert "buffer" not in half[1]
        sink.judge = lambda _event: 202
        (letter,) = await letters_of(api.world)
        assert (await api.client.post(f"/api/v1/dead-letters/{letter.letter_id}/replay")).status_code == 202
        assert "waits in the buffer" in (await published(api, flow))[1]
        await api.client.post("/api/v1/telemetry/flush")
        after = await published(api, flow)
    assert after[0] is True
    assert "telemetry" not in after[1]
    assert sorted(event["data"].get("step", "frame") for event in sink.taken) == [
        "C1",
        "C2",
        "C3",
        "C4",
        "C5",
        "C6",
        "frame",
    ]


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://nowhere.invalid/", "http://127.0.0.1:1/"])
async def test_a_sink_with_a_wrong_address_loses_nothing(tmp_path: Path, client: HttpClient, url: str) -> None:
    async with sending(tmp_path, HttpTelemetrySink(client, url)) as api:
        flow = await api.world.run(task("a"))
        answer = (await api.client.post("/api/v1/telemetry/flush")).json()
        assert (flow.telemetry_published, answer["left"], answer["dead_letters"]) == (False, 7, 0)
        assert answer["sink"]
        assert await letters_of(api.world) == []


async def test_a_sink_that_is_away_is_asked_with_growing_pauses(tmp_path: Path, sink: Sink, client: HttpClient) -> None:
    clock, stores = Clock(), MemoryStore().stores
    ports = ports_of(Settings(data=tmp_path), stores, client, client, HttpTelemetrySink(client, sink.url), clock)
    ports = replace(ports, telemetry_sink=HttpTelemetrySink(client, sink.url))
    await stores.store.commit(ChangeSet(flow_id=make_flow().flow_id, telemetry=(make_event(1, data={}),)))
    flush = TelemetryFlush(ports)
    sink.judge = lambda _event: 500
    asked: list[int] = []
    for second in range(120):
        clock.time = T0 + timedelta(seconds=second)
        await flush.when_due()
        if len(sink.requests) > len(asked):
            asked.append(second)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    longest = int(LONGEST_PAUSE.total_seconds())
    assert pauses[:4] == [int(FIRST_PAUSE.total_seconds()), 10, 20, longest]
    assert set(pauses[3:]) == {longest}
    sink.judge = lambda _event: 202
    assert (await flush()).sent == 1  # who asks for it does not wait for the pause


async def test_telemetry_that_goes_through_a_broker_is_refused_like_any_other(
    tmp_path: Path, sink: Sink, client: HttpClient
) -> None:
    broker = HttpBroker(client, sink.url)

    async def judged(request: Request) -> Answer:
        status = 400 if request.json.get("step") == "C3" else 202
        if status == 202:
            sink.taken.append(request.json)
        return Answer(status)

    sink.answer = judged
    async with sending(tmp_path, BrokerTelemetrySink(broker)) as api:
        flow = await api.world.run(task("a"))
        letters = await letters_of(api.world)
    assert flow.telemetry_published is False
    assert [letter.event["data"]["step"] for letter in letters] == ["C3"]
    steps = [data.get("step", "frame") for data in sink.taken]
    assert list(dict.fromkeys(steps)) == ["C1", "C2", "C4", "C5", "C6", "frame"]


async def test_a_subscriber_with_a_wrong_address_loses_nothing_and_one_that_refuses_loses_that_alone(
    tmp_path: Path, sink: Sink, client: HttpClient
) -> None:
    async def judged(request: Request) -> Answer:
        return Answer(400 if request.headers["ce-type"] == type_of("ticket.assigned") else 202)

    sink.answer = judged
    async with running_api(tmp_path, subscriber_url=sink.url) as api:
        api.world.platform.outbox.subscriber = HttpBroker(client, "http://169.254.169.254/")
        await api.world.register()
        with capture_logs() as lines:
            flow = await api.world.run(task("a"))
            await until(lambda: _logged(lines, "event.failed"), "a try to tell the subscriber")
        assert await letters_of(api.world) == []
        api.world.platform.outbox.subscriber = HttpBroker(client, sink.url)
        with capture_logs() as lines:
            await until(lambda: _empty(api.world), "the queue to empty")
        letters = await letters_of(api.world)
    assert [(one.event["type"], one.function, one.reason.code) for one in letters] == [
        (type_of("ticket.assigned"), "subscriber", "refused_by_subscriber")
    ]
    assert [line["noun"] for line in lines if line["event"] == "event.buried"] == ["ticket.assigned"]
    told = [request.headers["ce-type"] for request in sink.requests]
    assert type_of(f"flow.{flow.status.lower()}") in told


async def _logged(lines: Sequence[Any], event: str) -> bool | None:
    return any(line["event"] == event for line in lines) or None


async def _empty(world: LocalWorld) -> bool | None:
    await asyncio.sleep(0.01)
    return True if await world.platform.instruments.queue.depth() == 0 else None


async def test_what_is_not_taken_for_an_hour_leaves_the_buffer_and_is_counted(
    tmp_path: Path, sink: Sink, client: HttpClient
) -> None:
    clock, stores = Clock(), MemoryStore().stores
    ports = ports_of(Settings(data=tmp_path), stores, client, client, HttpTelemetrySink(client, sink.url), clock)
    await stores.store.commit(ChangeSet(flow_id=make_flow().flow_id, telemetry=(make_event(1, data={}),)))
    flush = TelemetryFlush(ports)
    sink.judge = lambda _event: 500
    for second, lost, left in ((3599, 0, 1), (3601, 1, 0)):
        clock.time = T0 + timedelta(seconds=second)
        assert (await flush()).lost == lost
        assert await ports.telemetry_buffer.size() == left
    (letter,), _ = await ports.dead_letters.letters(None, 10)
    assert (letter.reason.code, letter.event["id"]) == ("sink_unavailable", make_event(1, data={}).id)
