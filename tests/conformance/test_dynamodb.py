from collections.abc import AsyncIterator
from functools import partial
from random import Random

import pytest

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore, keys
from functions._adapters.dynamodb.table import Table
from functions._adapters.stores import Stores
from functions._core.webhooks.delivery import KEPT
from functions._engine.clock import SystemClock
from tests.conformance import suites
from tests.conformance.damage import in_dynamodb
from tests.conformance.deliveries import make_delivery
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


class TestChildren(Dynamo, suites.ChildrenSuite): ...


class TestOutputs(Dynamo, suites.OutputsSuite):
    @pytest.fixture(autouse=True)
    def of_table(self, dynamodb_client: Client, dynamodb_table: str) -> None:
        self.table = Table(dynamodb_client, dynamodb_table)

    async def leftovers(self, stores: Stores) -> int:  # noqa: ARG002 the table is asked itself
        return sum(item["pk"]["S"].startswith("F#") for item in await self.table.scan({}))


class TestDeadLetters(Dynamo, suites.DeadLettersSuite): ...


class TestDeliveries(Dynamo, suites.DeliveriesSuite):
    async def test_old_deliveries_are_forgotten_a_bounded_number_at_a_time(self, stores: Stores) -> None:
        """The table does it, by the attribute `ttl`."""
        assert await stores.retention.forget_deliveries(T0, 2) == 0

    async def test_the_parts_of_a_large_delivery_go_with_it(
        self, stores: Stores, dynamodb_client: Client, dynamodb_table: str
    ) -> None:
        large = make_delivery(event={"id": "event-1", "data": {"noise": Random(1).randbytes(300_000).hex()}})
        await stores.deliveries.put(large)
        await stores.deliveries.put(large.but(version=2, attempts=1))
        assert await stores.deliveries.delivery("s1", large.delivery_id) == large.but(version=2, attempts=1)
        items = await Table(dynamodb_client, dynamodb_table).query(keys.webhooks_of("s1"))
        assert len(items) > 2
        assert {item["ttl"]["N"] for item in items} == {str(int((T0 + KEPT).timestamp()))}


class TestEventQueue(Dynamo, suites.EventQueueSuite): ...


class TestFlowStore(Dynamo, suites.FlowStoreSuite):
    large = 220  # three transactions; the table in memory, which answers at once, gets more


class TestHealing(Dynamo, suites.HealingSuite): ...


class TestKeyValues(Dynamo, suites.KeyValuesSuite): ...


class TestRegistry(Dynamo, suites.RegistrySuite): ...


class TestStatistics(Dynamo, suites.StatisticsSuite): ...


class TestHistory(Dynamo, suites.HistorySuite): ...


class TestRetention(Dynamo, suites.RetentionSuite): ...


class TestTicketCounts(Dynamo, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(Dynamo, suites.TelemetryBufferSuite): ...


class TestUnreadable(Dynamo, suites.UnreadableHistorySuite, suites.UnreadableSuite):
    @pytest.fixture
    def damage(self, dynamodb_client: Client, dynamodb_table: str) -> Damage:
        return partial(in_dynamodb, dynamodb_client, dynamodb_table)


class TestViews(Dynamo, suites.ViewsSuite): ...


class TestWakeups(Dynamo, suites.WakeupsSuite): ...
