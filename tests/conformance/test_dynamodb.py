from collections.abc import AsyncIterator
from functools import partial

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.stores import Stores
from functions._engine.clock import SystemClock
from tests.conformance import suites
from tests.conformance.damage import in_dynamodb
from tests.conformance.unreadable import Damage
from tests.support.builders import T0

pytestmark = pytest.mark.timeout(300)  # an emulator takes its time for a plan of thousands


class Dynamo:
    @pytest.fixture
    async def stores(self, dynamodb_client: Client, dynamodb_table: str) -> AsyncIterator[Stores]:
        store = DynamoStore(dynamodb_client, dynamodb_table, "process-1", SystemClock(), settle=0.01)
        await store.queue.enter()
        yield store.stores
        await store.close()


class TestDeadLetters(Dynamo, suites.DeadLettersSuite): ...


class TestDeliveries(Dynamo, suites.DeliveriesSuite):
    async def test_old_deliveries_are_forgotten_a_bounded_number_at_a_time(self, stores: Stores) -> None:
        """The table does it, by the attribute `ttl`."""
        assert await stores.retention.forget_deliveries(T0, 2) == 0


class TestEventQueue(Dynamo, suites.EventQueueSuite): ...


class TestFlowStore(Dynamo, suites.FlowStoreSuite):
    large = 220  # three transactions; the table in memory, which answers at once, gets more


class TestKeyValues(Dynamo, suites.KeyValuesSuite): ...


class TestRegistry(Dynamo, suites.RegistrySuite): ...


class TestStatistics(Dynamo, suites.StatisticsSuite): ...


class TestRetention(Dynamo, suites.RetentionSuite): ...


class TestTicketCounts(Dynamo, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(Dynamo, suites.TelemetryBufferSuite): ...


class TestUnreadable(Dynamo, suites.UnreadableSuite):
    @pytest.fixture
    def damage(self, dynamodb_client: Client, dynamodb_table: str) -> Damage:
        return partial(in_dynamodb, dynamodb_client, dynamodb_table)


class TestViews(Dynamo, suites.ViewsSuite): ...


class TestWakeups(Dynamo, suites.WakeupsSuite): ...
