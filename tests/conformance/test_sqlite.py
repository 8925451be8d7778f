import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.folder import DATABASE
from functions._adapters.sql.sqlite.recent import Recent
from functions._adapters.stores import Stores
from functions._core.records.set_aside import RecordKind
from tests.conformance import suites
from tests.conformance.damage import in_sqlite
from tests.conformance.unreadable import Damage
from tests.support.builders import make_worker


class Sqlite:
    @pytest.fixture
    async def stores(self, tmp_path: Path) -> AsyncIterator[Stores]:
        store = SqliteStore.open(tmp_path)
        yield store.stores
        await store.close()


class TestDeadLetters(Sqlite, suites.DeadLettersSuite): ...


class TestEventQueue(Sqlite, suites.EventQueueSuite): ...


class TestFlowStore(Sqlite, suites.FlowStoreSuite): ...


class TestRegistry(Sqlite, suites.RegistrySuite): ...


class TestStatistics(Sqlite, suites.StatisticsSuite): ...


class TestRetention(Sqlite, suites.RetentionSuite): ...


class TestTicketCounts(Sqlite, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(Sqlite, suites.TelemetryBufferSuite): ...


class TestUnreadable(Sqlite, suites.UnreadableSuite):
    @pytest.fixture
    def damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Damage:
        # What is at hand is not read again.
        monkeypatch.setattr(Recent, "put", lambda _self, _id, record: record)

        async def damage(kind: RecordKind, record_id: str, change: Callable[[str], str]) -> None:
            await asyncio.to_thread(in_sqlite, tmp_path / DATABASE, kind, record_id, change)

        return damage

    async def test_text_that_is_no_json_is_an_unreadable_record_too(self, stores: Stores, damage: Damage) -> None:
        await stores.registry.put(make_worker(1))
        await damage(RecordKind.WORKER, "worker-1", lambda _doc: '{"a')
        assert await stores.registry.workers() == []
        assert "JSON" in stores.set_aside.records()[0].why


class TestViews(Sqlite, suites.ViewsSuite): ...


class TestWakeups(Sqlite, suites.WakeupsSuite): ...
