from collections.abc import AsyncIterator

import pytest

from functions._adapters.postgres import PostgresStore
from functions._adapters.stores import Stores
from tests.conformance import suites


class Postgres:
    @pytest.fixture
    async def stores(self, database_url: str) -> AsyncIterator[Stores]:
        store = await PostgresStore.open(database_url, owner="process-1")
        yield store.stores
        await store.close()


class TestDeadLetters(Postgres, suites.DeadLettersSuite): ...


class TestEventQueue(Postgres, suites.EventQueueSuite): ...


class TestFlowStore(Postgres, suites.FlowStoreSuite): ...


class TestRegistry(Postgres, suites.RegistrySuite): ...


class TestStatistics(Postgres, suites.StatisticsSuite): ...


class TestRetention(Postgres, suites.RetentionSuite): ...


class TestTally(Postgres, suites.TallySuite): ...


class TestTelemetryBuffer(Postgres, suites.TelemetryBufferSuite): ...


class TestViews(Postgres, suites.ViewsSuite): ...


class TestWakeups(Postgres, suites.WakeupsSuite): ...
