from collections.abc import AsyncIterator
from functools import partial

import pytest

from functions._adapters.sql.postgres import PostgresStore
from functions._adapters.stores import Stores
from tests.conformance import suites
from tests.conformance.damage import in_postgres
from tests.conformance.unreadable import Damage


class Postgres:
    @pytest.fixture
    async def stores(self, database_url: str) -> AsyncIterator[Stores]:
        store = await PostgresStore.open(database_url, owner="process-1")
        yield store.stores
        await store.close()


class TestChildren(Postgres, suites.ChildrenSuite): ...


class TestOutputs(Postgres, suites.OutputsSuite): ...


class TestDeadLetters(Postgres, suites.DeadLettersSuite): ...


class TestDeliveries(Postgres, suites.DeliveriesSuite): ...


class TestEventQueue(Postgres, suites.EventQueueSuite): ...


class TestFlowStore(Postgres, suites.FlowStoreSuite, suites.SharedFlowStoreSuite): ...


class TestHealing(Postgres, suites.HealingSuite): ...


class TestKeyValues(Postgres, suites.SweptKeyValuesSuite): ...


class TestRegistry(Postgres, suites.RegistrySuite): ...


class TestStatistics(Postgres, suites.StatisticsSuite): ...


class TestHistory(Postgres, suites.HistorySuite): ...


class TestRetention(Postgres, suites.RetentionSuite): ...


class TestTicketCounts(Postgres, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(Postgres, suites.TelemetryBufferSuite): ...


class TestUnreadable(Postgres, suites.UnreadableHistorySuite, suites.UnreadableSuite):
    @pytest.fixture
    def damage(self, database_url: str) -> Damage:
        return partial(in_postgres, database_url)


class TestViews(Postgres, suites.ViewsSuite): ...


class TestWakeups(Postgres, suites.WakeupsSuite): ...
