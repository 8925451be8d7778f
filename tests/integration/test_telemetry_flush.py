"""Telemetry that waits for the sink: seen and sent over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._core.events.envelope import CloudEvent
from functions._core.records.change_set import ChangeSet
from functions._engine.telemetry_flush import TelemetryFlush
from tests.support.builders import T0, make_event, make_flow, seconds
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import task

BUFFER = "/api/v1/telemetry/buffer"
FLUSH = "/api/v1/telemetry/flush"
FLUSHED = {"flushed": 0, "dead_letters": 0, "left": 0, "sink": None}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        running.world.sink.down = True
        yield running


def an_event(api: Api, number: int, intent: str) -> CloudEvent:
    return make_event(number, time=api.world.ports.clock.now() + seconds(number), data={"intent_id": intent})


async def buffered(api: Api, *intents: str) -> None:
    """Buffer one event for each intent, numbered in order."""
    events = tuple(an_event(api, number, intent) for number, intent in enumerate(intents))
    await api.world.ports.store.commit(ChangeSet(flow_id=make_flow().flow_id, telemetry=events))


def sent(api: Api) -> list[str]:
    return [event.id for event in api.world.sink.events]


async def test_what_could_not_be_sent_waits_and_is_sent_in_order_when_asked_for(api: Api) -> None:
    await api.world.register()
    flow = await api.world.run(task("a"))
    assert flow.telemetry_published is False
    waiting = await api.get(BUFFER)
    assert waiting["size"] == 7
    assert waiting["oldest_at"].endswith("Z")
    api.world.sink.down = False
    answer = await api.client.post(FLUSH)
    assert (answer.status_code, answer.json()) == (200, FLUSHED | {"flushed": 7})
    event_types = [event.event_type for event in api.world.sink.events]
    assert event_types == ["flow.step.completed"] * 6 + ["telemetry.frame"]
    assert await api.get(BUFFER) == {"size": 0, "oldest_at": None}


async def test_a_flush_of_one_intent_sends_what_belongs_to_it_and_leaves_the_rest(api: Api) -> None:
    await buffered(api, *(["x", "y"] * 120), "y")
    api.world.sink.down = False
    answer = await api.client.post(FLUSH, json={"intent_id": "y"})
    assert answer.json() == FLUSHED | {"flushed": 121, "left": 120}
    assert sent(api) == [f"event-{number}" for number in (*range(1, 240, 2), 240)]
    assert (await api.client.post(FLUSH, json={"intent_id": "z"})).json() == FLUSHED | {"left": 120}
    assert (await api.client.post(FLUSH, json={})).json() == FLUSHED | {"flushed": 120}
    assert sent(api)[121:] == [f"event-{number}" for number in range(0, 240, 2)]


async def test_a_sink_that_is_still_away_takes_nothing(api: Api) -> None:
    await buffered(api, "x", "y")
    away = FLUSHED | {"left": 2, "sink": "The telemetry sink is down."}
    assert (await api.client.post(FLUSH)).json() == away
    assert (await api.get(BUFFER))["size"] == 2
    problem_of(await api.client.post(FLUSH, json={"intent_id": 7}), 422, "invalid_data")


async def test_two_flushes_at_once_send_nothing_twice(api: Api) -> None:
    await buffered(api, *("x" * 250))
    api.world.sink.down = False
    flush = TelemetryFlush(api.world.ports)
    assert sum(flushed.sent for flushed in await asyncio.gather(*(flush() for _ in range(3)))) == 250
    assert sent(api) == [f"event-{number}" for number in range(250)]
    assert api.world.sink.events[0].time >= T0
