"""What every `KeyValues` must do."""

import asyncio
from datetime import datetime

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Conflict, Rejected
from functions._core.ports import KEY_BYTES, VALUE_BYTES, Entry, KeyValues
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, seconds


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = T0

    def now(self) -> datetime:
        return self.time


class KeyValuesSuite(StoresSuite):
    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @pytest.fixture
    def entries(self, stores: Stores, clock: HandClock) -> KeyValues:
        return stores.key_values(clock)

    async def test_an_entry_is_read_back_as_it_was_put(self, entries: KeyValues) -> None:
        for key in ("a", "İstanbul 🏭", "k" * KEY_BYTES, "2001:db8::1"):
            put = await entries.put("space", key, b'{"a": 1}', version=0, expires_at=T0 + seconds(0.001))
            assert await entries.get("space", key) == put
            assert (put.key, put.value, put.expires_at) == (key, b'{"a": 1}', T0 + seconds(0.001))

    async def test_a_value_may_be_empty_or_as_large_as_the_limit(self, entries: KeyValues) -> None:
        for value in (b"", b"\0\xff" * (VALUE_BYTES // 2)):
            put = await entries.put("space", f"key-{len(value)}", value, version=0)
            assert await entries.get("space", put.key) == put

    async def test_what_was_never_put_is_none(self, entries: KeyValues) -> None:
        assert await entries.get("space", "key") is None
        assert await entries.remove("space", "key", 0) is False
        assert await entries.remove("space", "key", 1) is False
        assert await entries.page("space", None, 10) == []

    @pytest.mark.parametrize("key", ["", "nul\0", "k" * (KEY_BYTES + 1), "🏭" * (KEY_BYTES // 4) + "k", "\ud800"])
    async def test_a_key_that_cannot_be_kept_is_refused_and_never_there(self, entries: KeyValues, key: str) -> None:
        with pytest.raises(Rejected) as refused:
            await entries.put("space", key, b"{}", version=0)
        assert refused.value.code == "not_storable"
        assert await entries.get("space", key) is None
        assert await entries.remove("space", key, 1) is False

    async def test_a_value_beyond_the_limit_is_refused(self, entries: KeyValues) -> None:
        with pytest.raises(Rejected, match="65536"):
            await entries.put("space", "key", bytes(VALUE_BYTES + 1), version=0)
        assert await entries.get("space", "key") is None

    async def test_a_put_replaces_the_version_it_names_and_no_other(self, entries: KeyValues) -> None:
        first = await entries.put("space", "key", b"1", version=0, expires_at=T0 + seconds(60))
        for version in (0, first.version - 1, first.version + 1):
            with pytest.raises(Conflict):
                await entries.put("space", "key", b"no", version=version)
        second = await entries.put("space", "key", b"2", version=first.version)
        assert (second.version > first.version, second.expires_at) == (True, None)
        with pytest.raises(Conflict):
            await entries.put("space", "key", b"no", version=first.version)
        assert await entries.get("space", "key") == second

    async def test_a_put_over_an_entry_that_is_not_there_is_a_conflict(self, entries: KeyValues) -> None:
        with pytest.raises(Conflict):
            await entries.put("space", "key", b"no", version=1)
        assert await entries.get("space", "key") is None

    @pytest.mark.parametrize("known", [False, True])
    async def test_of_concurrent_puts_exactly_one_wins(self, entries: KeyValues, *, known: bool) -> None:
        base = (await entries.put("space", "key", b"0", version=0)).version if known else 0
        puts = (entries.put("space", "key", b"%d" % number, version=base) for number in range(8))
        answers = await asyncio.gather(*puts, return_exceptions=True)
        winners = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == [Conflict] * 7
        assert [await entries.get("space", "key")] == winners

    async def test_an_entry_is_removed_at_its_version_alone(self, entries: KeyValues) -> None:
        first = await entries.put("space", "key", b"1", version=0)
        second = await entries.put("space", "key", b"2", version=first.version)
        assert await entries.remove("space", "key", first.version) is False
        assert await entries.get("space", "key") == second
        assert await entries.remove("space", "key", second.version) is True
        assert await entries.remove("space", "key", second.version) is False
        assert await entries.get("space", "key") is None

    async def test_no_version_of_a_key_comes_twice(self, entries: KeyValues, clock: HandClock) -> None:
        removed = await entries.put("space", "key", b"1", version=0)
        await entries.remove("space", "key", removed.version)
        clock.time += seconds(0.001)
        expired = await entries.put("space", "key", b"2", version=0, expires_at=clock.time + seconds(1))
        clock.time += seconds(1)
        with pytest.raises(Conflict):
            await entries.put("space", "key", b"no", version=expired.version)
        third = await entries.put("space", "key", b"3", version=0)
        assert len({removed.version, expired.version, third.version}) == 3

    async def test_an_expired_entry_is_not_there(self, entries: KeyValues, clock: HandClock) -> None:
        expired = await entries.put("space", "b", b"1", version=0, expires_at=T0 + seconds(10))
        stays = [await entries.put("space", key, b"1", version=0) for key in "ac"]
        clock.time = T0 + seconds(9.999)
        assert await entries.get("space", "b") == expired
        clock.time = T0 + seconds(10)
        assert await entries.get("space", "b") is None
        assert await entries.page("space", None, 10) == stays
        assert await entries.remove("space", "b", expired.version) is False
        with pytest.raises(Conflict):
            await entries.put("space", "b", b"no", version=expired.version)
        anew = await entries.put("space", "b", b"2", version=0)
        assert await entries.get("space", "b") == anew
        assert anew.expires_at is None

    async def test_a_page_holds_what_is_there_in_the_order_of_keys(self, entries: KeyValues, clock: HandClock) -> None:
        names = ["b", "a", "ab", "Z", "é", "🏭", "\uffee", "a-", "a b"]
        put = {name: await entries.put("space", name, b"{}", version=0) for name in names}
        for number in range(20):
            await entries.put("space", f"a{number:02}", b"{}", version=0, expires_at=T0 + seconds(1))
        clock.time += seconds(1)
        found, after = list[Entry](), None
        while page := await entries.page("space", after, 2):
            found += page
            after = page[-1].key
            assert len(page) == 2 or len(found) == len(names)
        assert found == [put[name] for name in sorted(names, key=str.encode)]

    async def test_spaces_know_nothing_of_each_other(self, entries: KeyValues) -> None:
        one = await entries.put("one", "key", b"1", version=0)
        assert await entries.get("two", "key") is None
        two = await entries.put("two", "key", b"2", version=0)
        assert await entries.page("one", None, 10) == [one]
        assert await entries.remove("one", "key", one.version) is True
        assert await entries.get("two", "key") == two


class SweptKeyValuesSuite(KeyValuesSuite):
    """A store that does not remove what has expired by itself."""

    async def test_expired_entries_go_a_bounded_number_at_a_time(
        self, stores: Stores, entries: KeyValues, clock: HandClock
    ) -> None:
        for number in range(10):
            await entries.put("space", f"{number}", b"{}", version=0, expires_at=T0 + seconds(number))
        stays = await entries.put("space", "stays", b"{}", version=0)
        now = clock.time = T0 + seconds(6)
        assert [await stores.retention.forget_expired(now, 4) for _ in range(3)] == [4, 3, 0]
        clock.time = T0
        left = await entries.page("space", None, 100)
        assert [entry.key for entry in left] == ["7", "8", "9", "stays"]
        assert left[-1] == stays
