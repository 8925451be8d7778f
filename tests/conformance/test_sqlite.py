from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._adapters.sqlite import SqliteStore
from functions._adapters.stores import Stores
from tests.conformance import suites


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


class TestTally(Sqlite, suites.TallySuite): ...


class TestTelemetryBuffer(Sqlite, suites.TelemetryBufferSuite): ...


class TestViews(Sqlite, suites.ViewsSuite): ...


class TestWakeups(Sqlite, suites.WakeupsSuite): ...
