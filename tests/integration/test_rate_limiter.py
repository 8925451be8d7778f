"""Buckets in the store: many processes share them, hardly a request asks for them, nothing locks a client out."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.memory import MemoryStore
from functions._adapters.sql.postgres import PostgresStore
from functions._adapters.sql.sqlite import SqliteStore
from functions._core.errors import Conflict, Unavailable
from functions._core.ports import Entry, KeyValues
from functions._core.rate_limits import DAY_SECONDS, Allowance, Limit, read_limits
from functions._engine import rate_limiter
from functions._engine.clock import SystemClock
from functions._engine.rate_limiter import SPACE, RateLimiter
from functions._observability.metrics import Metrics
from tests.support.builders import T0
from tests.support.clocks import HandClock

WRITE = Limit("write", 40, 2.0)
READ = Limit("read", 200, 2.0)
DAY = Limit("day", 1000, DAY_SECONDS, at_once=True)
FLOOD = 10_000


class Counting:
    """A key-value store whose calls are counted; it may be told to fail."""

    def __init__(self, behind: KeyValues) -> None:
        self._behind = behind
        self.calls: Counter[str] = Counter()
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        async def counted(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            if self.error is not None:
                raise self.error
            return await getattr(self._behind, name)(*args, **named)

        return counted


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> Counting:
    return Counting(MemoryStore().stores.key_values(clock))


def process(store: KeyValues, clock: HandClock, *limits: Limit, alone: bool = False) -> RateLimiter:
    """Return the limiter of one more process."""
    named: Mapping[str, Limit] = {limit.name: limit for limit in limits}
    return RateLimiter(named, store, clock, Metrics(), clock.monotonic, alone=alone)


async def allowances(
    limiter: RateLimiter, number: int, client: str = "key:1", name: str = "write"
) -> Sequence[Allowance]:
    found = [await limiter.take(client, name) for _ in range(number)]
    return [allowance for allowance in found if allowance is not None]


async def passed(limiter: RateLimiter, number: int, client: str = "key:1", name: str = "write") -> int:
    return sum(allowance.allowed for allowance in await allowances(limiter, number, client, name))


async def test_a_burst_passes_and_then_the_rate(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    assert await passed(limiter, FLOOD) == 40
    clock.move(1)
    assert await passed(limiter, FLOOD) == 20
    clock.move(60)
    assert await passed(limiter, FLOOD) == 40


async def test_a_client_that_keeps_to_the_rate_is_never_refused(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    for _ in range(400):
        assert await passed(limiter, 1) == 1
        clock.move(1 / 20)


async def test_over_a_minute_a_flood_gets_the_burst_and_the_rate(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    allowed = 0
    for _ in range(6000):
        allowed += await passed(limiter, 3)
        clock.move(0.01)
    assert 40 + 60 * 20 - WRITE.refill <= allowed <= 40 + 60 * 20
    assert store.calls["put"] == store.calls["get"] <= 1240 / 2


async def test_a_flood_asks_the_store_no_more_until_there_may_be_a_block(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    await allowances(limiter, 41)
    before = store.calls.total()
    (first,) = await allowances(limiter, 1)
    assert await passed(limiter, FLOOD) == 0
    assert store.calls.total() == before
    assert first.retry_after == pytest.approx(0.5)
    clock.move(first.retry_after)
    assert await passed(limiter, FLOOD) == WRITE.refill


async def test_ten_thousand_requests_at_once_get_what_ten_thousand_in_turn_get(
    store: Counting, clock: HandClock
) -> None:
    limiter = process(store, clock, READ, DAY, alone=True)
    found = await asyncio.gather(*(limiter.take("key:1", "read") for _ in range(FLOOD)))
    assert sum(allowance.allowed for allowance in found if allowance) == 200
    assert store.calls["put"] == 1 + 200 / 10


async def test_what_is_left_is_told(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    told = await allowances(limiter, 41)
    assert [allowance.remaining for allowance in told] == [*range(39, -1, -1), 0]
    assert told[19].reset == pytest.approx(1)
    assert [allowance.allowed for allowance in told[-2:]] == [True, False]


async def test_clients_and_limits_are_apart(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE, READ)
    assert await passed(limiter, FLOOD, "key:1") == 40
    assert await passed(limiter, FLOOD, "key:2") == 40
    assert await passed(limiter, FLOOD, "key:1", "read") == 200
    assert await limiter.take("key:1", "worker") is None


async def test_no_name_of_a_client_breaks_anything(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    for client in ("", "x" * 100_000, "nul\0", "\ud800", "🏭" * 1000):
        assert await passed(limiter, 41, client) == 40


async def share(one: KeyValues, other: KeyValues, clock: HandClock) -> None:
    """Check that two processes with these stores give out one bucket."""
    limiters = [process(store, clock, WRITE, DAY) for store in (one, other)]
    both = await asyncio.gather(*(passed(limiter, 1000) for limiter in limiters))
    # A process that was slower five times in a row lets one request pass.
    assert 40 <= sum(both) <= 42
    clock.move(1)
    more = await asyncio.gather(*(passed(limiter, 1000) for limiter in limiters))
    assert 20 <= sum(more) <= 22


async def test_of_ten_processes_each_finds_tokens(store: Counting, clock: HandClock) -> None:
    limiters = [process(store, clock, WRITE) for _ in range(10)]
    assert [await passed(limiter, 1) for limiter in limiters] == [1] * 10


async def test_a_process_that_is_alone_asks_the_store_once_for_a_bucket(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE, alone=True)
    for _ in range(10):
        assert await passed(limiter, 40) == 40
        clock.move(2)
    assert store.calls == {"get": 10, "put": 10}


async def test_two_processes_share_one_bucket(store: Counting, clock: HandClock) -> None:
    await share(store, store, clock)


async def test_two_processes_share_one_bucket_on_sqlite(tmp_path: Path, clock: HandClock) -> None:
    opened = SqliteStore.open(tmp_path)
    await share(opened.stores.key_values(clock), opened.stores.key_values(clock), clock)
    await opened.close()


async def test_two_processes_share_one_bucket_on_postgres(database_url: str, clock: HandClock) -> None:
    opened = [await PostgresStore.open(database_url, owner) for owner in ("one", "two")]
    one, two = (store.stores.key_values(clock) for store in opened)
    await share(one, two, clock)
    for store in opened:
        await store.close()


async def test_two_processes_share_one_bucket_on_dynamodb(
    dynamodb_client: Client, dynamodb_table: str, clock: HandClock
) -> None:
    opened = [DynamoStore(dynamodb_client, dynamodb_table, owner, clock) for owner in ("one", "two")]
    one, two = (store.stores.key_values(clock) for store in opened)
    await share(one, two, clock)


async def test_a_process_that_starts_again_finds_the_bucket_as_it_was(store: Counting, clock: HandClock) -> None:
    assert await passed(process(store, clock, WRITE), 33) == 33
    assert await passed(process(store, clock, WRITE), FLOOD) <= 7
    assert await passed(process(store, clock, READ), 1, name="read") == 1


async def test_a_clock_that_jumps_back_locks_nobody_out_and_gives_nothing_away(
    store: Counting, clock: HandClock
) -> None:
    limiter = process(store, clock, WRITE, DAY)
    assert await passed(limiter, FLOOD) == 40
    clock.time -= timedelta(days=3)
    assert await passed(limiter, FLOOD) == 0
    clock.move(0.5)
    assert await passed(limiter, FLOOD) == 0  # the process looks, and from here on the bucket refills
    clock.move(0.5)
    assert await passed(limiter, FLOOD) == 10
    clock.move(2)
    assert await passed(limiter, FLOOD) == 40


async def test_a_clock_that_jumps_ahead_gives_a_burst_and_no_more(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    assert await passed(limiter, FLOOD) == 40
    clock.time += timedelta(days=3000)
    clock.ticks += 1
    assert await passed(limiter, FLOOD) == 40
    clock.time -= timedelta(days=3000)
    clock.ticks += 1
    assert await passed(limiter, FLOOD) <= 40


async def test_a_quota_is_used_up_to_its_last_request_and_comes_back_the_next_day(
    store: Counting, clock: HandClock
) -> None:
    limiter = process(store, clock, Limit("day", 101, DAY_SECONDS, at_once=True), READ)
    assert await passed(limiter, 150, name="read") == 101
    (refused,) = await allowances(limiter, 1, name="read")
    assert (refused.limit.name, refused.retry_after) == ("day", DAY_SECONDS / 2)
    assert await passed(limiter, 10, "worker:1", "worker") == 0  # not limited at all: see below
    assert await limiter.take("worker:1", "worker") is None
    clock.move(DAY_SECONDS / 2)
    assert await passed(limiter, 150, name="read") == 101


async def test_a_bucket_that_is_removed_or_damaged_is_full(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    for value in (
        None,
        b"",
        b"{}",
        b"[1]",
        b'["x", 1]',
        b"[1, 2, 3]",
        b"\xff",
        b"[NaN, 1]",
        b"[0, Infinity]",
        b"[0, 1%s]" % (b"0" * 400),
    ):
        assert await passed(limiter, FLOOD) == 40
        (entry,) = await store.page(SPACE, None, 10)
        if value is None:
            await store.remove(SPACE, entry.key, entry.version)
        else:
            await store.put(SPACE, entry.key, value, version=entry.version)
        clock.move(0.5)
    assert await passed(limiter, FLOOD) == 40


async def test_a_bucket_is_kept_no_longer_than_it_says_anything(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE, DAY)
    await allowances(limiter, 50)
    expiry = {entry.key.partition("/")[0]: entry.expires_at for entry in await store.page(SPACE, None, 10)}
    assert expiry == {"write": T0 + timedelta(seconds=12), "day": T0 + timedelta(seconds=DAY_SECONDS / 2 + 10)}
    clock.move(12)
    assert [entry.key[:4] for entry in await store.page(SPACE, None, 10)] == ["day/"]


async def test_requests_pass_while_the_store_does_not_answer(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, WRITE)
    store.error = Unavailable()
    assert await passed(limiter, 1000) == 1000
    assert store.calls["get"] == 1000 / WRITE.refill
    store.error = None
    assert await passed(limiter, 1000) == 40


async def test_a_request_passes_when_all_others_were_faster(
    store: Counting, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = process(store, clock, WRITE)

    async def slower(*_: object, **__: object) -> Entry:
        store.calls["put"] += 1
        raise Conflict

    monkeypatch.setattr(store, "put", slower)
    assert await passed(limiter, 10) == 10
    assert store.calls["put"] == 10 * rate_limiter.TRIES


async def test_the_blocks_that_a_process_keeps_are_bounded(
    store: Counting, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limiter, "CLIENTS", 3)
    limiter = process(store, clock, WRITE, *read_limits("").values())
    for number in range(100):
        await limiter.take(f"address:{number}", "stranger")
    assert sum(map(len, limiter._blocks.values())) == 3  # noqa: SLF001


async def test_workers_and_strangers_are_counted_without_the_store(store: Counting, clock: HandClock) -> None:
    limiter = process(store, clock, *read_limits("day=20").values())
    assert await passed(limiter, FLOOD, "worker:1", "worker") == 400
    assert await passed(limiter, FLOOD, "address:192.0.2.1", "stranger") == 40
    clock.move(0.5)
    assert await passed(limiter, FLOOD, "worker:1", "worker") == 100
    assert await passed(limiter, FLOOD, "address:192.0.2.1", "stranger") == 10
    assert store.calls.total() == 0


async def test_refusals_are_counted(store: Counting, clock: HandClock) -> None:
    metrics = Metrics()
    limiter = RateLimiter(read_limits("day=50"), store, clock, metrics, clock.monotonic)
    await allowances(limiter, 45)
    clock.move(60)
    await allowances(limiter, 45)
    lines = metrics.text().decode().splitlines()
    assert 'api_rate_limited_total{limit="write"} 10.0' in lines
    assert 'api_rate_limited_total{limit="day"} 30.0' in lines
    assert 'api_rate_limited_total{limit="stranger"} 0.0' in lines


async def test_a_request_that_passes_costs_little_with_its_share_of_the_writes(tmp_path: Path) -> None:
    opened = SqliteStore.open(tmp_path)
    often = read_limits("write=1000000/40 day=1000000000")
    limiter = RateLimiter(often, opened.stores.key_values(SystemClock()), SystemClock(), Metrics(), alone=True)
    best = 1.0
    for _ in range(10):
        begun, allowed = time.process_time(), 0
        while allowed < 1000:
            allowance = await limiter.take("key:1", "write")
            allowed += allowance is not None and allowance.allowed
        best = min(best, (time.process_time() - begun) / allowed)
    await opened.close()
    assert best < 60e-6, "with its share of the write of a block"
