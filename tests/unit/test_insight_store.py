"""Insights in the store: every filter, by what is stored and what has expired; and what readers remember of it."""

from datetime import timedelta
from typing import Any

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._core.errors import Rejected
from functions._core.insights.generation import insight_of
from functions._core.insights.insight import Insight, InsightPriority, InsightType, RelatedEntity, TimeWindow
from functions._core.insights.read_cache import CachedInsights, ReadCache
from functions._core.insights.stored import (
    AFTER_EXPIRY,
    EVERYTHING,
    SPACE,
    InsightFilter,
    all_insights,
    delete_expired,
    get,
    query,
    save,
)
from functions._core.ports import Entry, KeyValues
from tests.support.builders import T0, seconds
from tests.support.clocks import HandClock
from tests.support.insight_rows import END, START
from tests.unit.test_insight_generation import problem


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def entries(clock: HandClock) -> KeyValues:
    return MemoryStore().stores.key_values(clock)


def insight(insight_id: str, **changes: Any) -> Insight:
    """Return an insight of an id."""
    return insight_of(problem(), START, END).but(insight_id=insight_id, **changes)


def about(kind: Any, entity_id: str) -> tuple[RelatedEntity, ...]:
    return (RelatedEntity(entity_type=kind, entity_id=entity_id, relationship="cause"),)


KNOWN = (
    insight("strategic", insight_type=InsightType.STRATEGIC, tags=("capacity", "waiting")),
    insight("critical", priority=InsightPriority.CRITICAL, related_entities=about("flow", "f1")),
    insight("early", time_window=TimeWindow(start=T0 - seconds(600), end=T0 - seconds(300))),
    insight("worker", related_entities=about("worker", "f1"), tags=("waiting",)),
    insight("expired", valid_until=T0 - seconds(1), tags=("capacity",)),
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EVERYTHING, {"strategic", "critical", "early", "worker"}),
        (InsightFilter(include_expired=True), {"strategic", "critical", "early", "worker", "expired"}),
        (InsightFilter(types=frozenset({InsightType.STRATEGIC})), {"strategic"}),
        (InsightFilter(priorities=frozenset({InsightPriority.CRITICAL, InsightPriority.HIGH})), {"critical"}),
        (InsightFilter(since=T0 - seconds(299)), {"strategic", "critical", "worker"}),
        (InsightFilter(until=T0), {"early"}),
        (InsightFilter(since=T0 - seconds(300), until=T0), {"early"}),
        (InsightFilter(entity_type="flow", entity_id="f1"), {"critical"}),
        (InsightFilter(entity_type="worker"), {"strategic", "early", "worker"}),
        (InsightFilter(entity_id="f1"), {"critical", "worker"}),
        (InsightFilter(entity_type="worker", entity_id="nobody"), set()),
        (InsightFilter(tags=frozenset({"capacity", "waiting"})), {"strategic", "worker"}),
        (InsightFilter(tags=frozenset({"capacity", "waiting"}), all_tags=True), {"strategic"}),
        (InsightFilter(tags=frozenset({"capacity"}), include_expired=True), {"strategic", "expired"}),
        (InsightFilter(types=frozenset({InsightType.CAUSAL})), set()),
    ],
)
async def test_each_filter_and_their_and(entries: KeyValues, wanted: InsightFilter, found: set[str]) -> None:
    for one in KNOWN:
        await save(entries, one)
    assert {one.insight_id for one in await query(entries, wanted, T0)} == found


async def test_the_newest_come_first(entries: KeyValues) -> None:
    for number in (2, 3, 1):
        window = TimeWindow(start=T0, end=T0 + seconds(number))
        await save(entries, insight(f"i{number}", time_window=window))
    assert [one.insight_id for one in await all_insights(entries)] == ["i3", "i2", "i1"]


async def test_an_insight_is_read_back_as_it_was_saved_and_again_changes_nothing(entries: KeyValues) -> None:
    made = insight_of(problem(), START, END)
    assert await save(entries, made) == made
    first = await entries.get(SPACE, made.insight_id)
    assert await save(entries, made) == made
    assert await entries.get(SPACE, made.insight_id) == first
    assert await get(entries, made.insight_id) == made
    assert await get(entries, "none") is None


async def test_one_that_cannot_be_read_stops_nothing_and_goes_with_the_expired(entries: KeyValues) -> None:
    await save(entries, KNOWN[0])
    await entries.put(SPACE, "broken", b"{", version=0)
    assert await get(entries, "broken") is None
    assert [one.insight_id for one in await all_insights(entries)] == ["strategic"]
    assert await delete_expired(entries, T0) == (1, 1)
    assert await entries.get(SPACE, "broken") is None


async def test_others_have_their_turn_while_many_are_looked_through(entries: KeyValues) -> None:
    for number in range(60):
        await save(entries, insight(f"i{number:03d}", valid_until=T0 if number < 7 else None))
    turns = 0

    async def pause() -> None:
        nonlocal turns
        turns += 1

    assert await delete_expired(entries, T0, pause) == (7, 53)
    assert turns == 3 + 7, "after each page, and after each that goes"


async def test_the_store_forgets_what_nobody_has_looked_through(entries: KeyValues, clock: HandClock) -> None:
    made = await save(entries, insight_of(problem(), START, END))
    assert made.valid_until is not None
    clock.time = made.valid_until + AFTER_EXPIRY - seconds(1)
    assert await get(entries, made.insight_id) is not None
    clock.time += seconds(1)
    assert await get(entries, made.insight_id) is None


@pytest.mark.parametrize("insight_id", ["", "\0", "x" * 513, "../insight-state/windows"])
async def test_an_id_of_a_stranger_finds_nothing(entries: KeyValues, insight_id: str) -> None:
    assert await get(entries, insight_id) is None
    if insight_id.startswith(".."):
        return
    with pytest.raises(Rejected):
        await save(entries, insight(insight_id))


class CountingEntries:
    """The entries of a store, and how often pages and single ones were read."""

    def __init__(self, behind: KeyValues) -> None:
        self.behind = behind
        self.pages = self.gets = 0

    async def get(self, space: str, key: str) -> Entry | None:
        self.gets += 1
        return await self.behind.get(space, key)

    async def page(self, space: str, after: str | None, limit: int) -> Any:
        self.pages += 1
        return await self.behind.page(space, after, limit)

    async def put(self, *arguments: Any, **more: Any) -> Entry:
        return await self.behind.put(*arguments, **more)

    async def remove(self, space: str, key: str, version: int) -> bool:
        return await self.behind.remove(space, key, version)


class TestCache:
    async def test_readers_ask_the_store_once_in_ten_seconds(self, entries: KeyValues, clock: HandClock) -> None:
        counting, seen = CountingEntries(entries), list[tuple[str, str]]()
        await save(entries, KNOWN[0])
        cached = CachedInsights(counting, clock, lambda operation, result: seen.append((operation, result)))
        for _ in range(3):
            assert [one.insight_id for one in await cached.query(EVERYTHING)] == ["strategic"]
            assert await cached.get("strategic") == KNOWN[0]
        assert (counting.pages, counting.gets) == (1, 1)
        assert seen.count(("get", "hit")) == 4
        assert seen.count(("get", "miss")) == 2
        await save(entries, KNOWN[1])
        clock.move(9.999)
        assert len(await cached.query(EVERYTHING)) == 1
        clock.move(0.001)
        assert len(await cached.query(EVERYTHING)) == 2
        assert counting.pages == 2

    async def test_what_is_not_there_is_not_remembered(self, entries: KeyValues, clock: HandClock) -> None:
        cached = CachedInsights(entries, clock)
        assert await cached.get("strategic") is None
        await save(entries, KNOWN[0])
        assert await cached.get("strategic") == KNOWN[0]

    async def test_an_invalidated_cache_reads_again(self, entries: KeyValues, clock: HandClock) -> None:
        cached = CachedInsights(entries, clock)
        assert await cached.query(EVERYTHING) == []
        await save(entries, KNOWN[0])
        cached.invalidate()
        assert len(await cached.query(EVERYTHING)) == 1

    def test_a_value_lives_its_time_and_its_accesses_are_counted(self) -> None:
        cache: ReadCache[str] = ReadCache()
        cache.put("a", "1", T0, lives=timedelta(seconds=5))
        assert [cache.get("a", T0 + seconds(number)) for number in (0, 4.999, 5)] == ["1", "1", None]
        assert (cache.accesses("a"), cache.get("b", T0), len(cache)) == (0, None, 0)

    def test_a_clock_that_was_set_back_makes_no_value_last_longer(self) -> None:
        cache: ReadCache[str] = ReadCache()
        cache.put("a", "1", T0)
        assert cache.get("a", T0 - timedelta(hours=1)) is None

    def test_a_value_that_is_put_again_keeps_its_count(self) -> None:
        cache: ReadCache[str] = ReadCache()
        cache.put("a", "1", T0)
        cache.get("a", T0)
        cache.get("a", T0)
        cache.put("a", "2", T0)
        assert (cache.accesses("a"), cache.get("a", T0), cache.accesses("a")) == (2, "2", 3)

    def test_it_is_bounded_and_forgets_what_was_asked_for_longest_ago(self) -> None:
        cache: ReadCache[int] = ReadCache(most=3)
        for number in range(3):
            cache.put(str(number), number, T0)
        cache.get("0", T0)
        cache.put("3", 3, T0)
        assert [cache.get(str(number), T0) for number in range(4)] == [0, None, 2, 3]
