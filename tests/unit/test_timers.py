"""Which delayed messages are sent for the wake-ups of what a process has committed."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions._adapters.aws.messages import Queue
from functions._adapters.memory import MemoryStore
from functions._core.errors import Unavailable
from functions._hosts.aws.timers import HORIZON, SOURCE, VISIBLE, Timers
from tests.support.builders import make_event, make_flow, make_step, make_ticket

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


class Sqs:
    """Keeps what is sent; may be away."""

    def __init__(self) -> None:
        self.delays: list[int] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.away = False

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        assert operation == "send_message"
        if self.away:
            raise Unavailable("away")
        self.delays.append(arguments["DelaySeconds"])
        message = json.loads(arguments["MessageBody"])
        self.sources.append(message["source"])
        self.ids.append(message["id"])
        return {}


@pytest.fixture
def sqs() -> Sqs:
    return Sqs()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timers(sqs: Sqs, clock: Clock) -> Timers:
    return Timers(Queue(sqs, "queue"), clock)


def armed(timers: Timers, seconds: float | None, number: int = 1) -> None:
    """Let a ticket be committed that is to be looked at after so many seconds."""
    flow = make_flow(next_wakeup_at=None)
    at = None if seconds is None else NOW + timedelta(seconds=seconds)
    timers.observe(make_step(flow, make_ticket(flow, number, next_wakeup_at=at)))


async def test_the_nearest_wake_up_is_asked_for_in_whole_seconds_and_never_early(timers: Timers, sqs: Sqs) -> None:
    armed(timers, 30.2, 1)
    armed(timers, 5.1, 2)
    await timers.set()
    assert (sqs.delays, sqs.sources) == ([6], [SOURCE])


async def test_only_the_last_wake_up_of_a_record_counts(timers: Timers, sqs: Sqs) -> None:
    armed(timers, 5)
    armed(timers, 60)
    await timers.set()
    armed(timers, 5)
    armed(timers, None)
    await timers.set()
    assert sqs.delays == [60]


async def test_what_the_next_tick_finds_in_time_is_left_to_it(timers: Timers, sqs: Sqs) -> None:
    armed(timers, HORIZON.total_seconds() + 1)
    await timers.set()
    assert sqs.delays == []


async def test_a_message_under_way_covers_what_is_due_behind_it_and_nothing_before(
    timers: Timers, sqs: Sqs, clock: Clock
) -> None:
    for seconds in (30, 40, 20, 25):
        armed(timers, seconds)
        await timers.set()
    assert sqs.delays == [30, 20]
    clock.time = NOW + timedelta(seconds=20) - VISIBLE / 2
    armed(timers, 25)
    await timers.set()
    assert len(sqs.delays) == 3  # the sweep that is about to begin might not see it yet


async def test_a_sweep_asks_for_the_nearest_of_all_records(timers: Timers, sqs: Sqs) -> None:
    stores = MemoryStore().stores
    flow = make_flow(next_wakeup_at=NOW + timedelta(seconds=50))
    await stores.store.commit(make_step(flow))
    await timers.set_next(stores.wakeups)
    assert sqs.delays == [50]


async def test_a_sweep_asks_for_no_other_where_one_is_under_way(timers: Timers, sqs: Sqs, clock: Clock) -> None:
    stores = MemoryStore().stores
    flow = make_flow(next_wakeup_at=NOW + timedelta(seconds=50))
    await stores.store.commit(make_step(flow))
    for seconds in (0, 10, 51):  # the second sweep was asked for by another process
        clock.time = NOW + timedelta(seconds=seconds)
        await timers.set_next(stores.wakeups)
    assert sqs.delays == [50, 1]


async def test_a_message_that_came_a_moment_early_is_not_waited_for(timers: Timers, sqs: Sqs, clock: Clock) -> None:
    stores = MemoryStore().stores
    await stores.store.commit(make_step(make_flow(next_wakeup_at=NOW + timedelta(seconds=50))))
    await timers.set_next(stores.wakeups)
    clock.time = NOW + timedelta(seconds=49.5)
    timers.came(replace(make_event(1), id="another"))
    await timers.set_next(stores.wakeups)
    assert sqs.delays == [50]
    timers.came(replace(make_event(1), id=sqs.ids[0]))
    await timers.set_next(stores.wakeups)
    assert sqs.delays == [50, 1]


async def test_sweeps_close_to_each_other_ask_for_one_a_second(timers: Timers, sqs: Sqs, clock: Clock) -> None:
    stores = MemoryStore().stores
    flow = make_flow(next_wakeup_at=NOW)
    await stores.store.commit(make_step(flow))
    for milliseconds in range(0, 3000, 100):
        clock.time = NOW + timedelta(milliseconds=milliseconds)
        await timers.set_next(stores.wakeups)
    assert sqs.delays == [1, 1, 1]


async def test_what_was_due_already_is_asked_for_at_once(timers: Timers, sqs: Sqs) -> None:
    armed(timers, -5)
    await timers.set()
    assert sqs.delays == [1]


async def test_a_queue_that_is_away_is_left_to_the_tick_and_asked_again_by_the_next(timers: Timers, sqs: Sqs) -> None:
    sqs.away = True
    armed(timers, 5)
    await timers.set()
    sqs.away = False
    armed(timers, 6)
    await timers.set()
    assert sqs.delays == [6]


async def test_without_a_queue_nothing_is_asked_for(clock: Clock) -> None:
    timers = Timers(None, clock)
    armed(timers, 5)
    await timers.set()
