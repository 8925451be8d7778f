"""The adapter over the table in memory by which costs are counted: it does what an emulator does."""

from collections.abc import AsyncIterator

import pytest

from functions._adapters.dynamodb import DynamoStore, keys
from functions._adapters.dynamodb.flows import DynamoFlows
from functions._adapters.dynamodb.values import Item
from functions._adapters.stores import Stores
from functions._core.records.values import FlowStatus
from functions._cost.ledger import CostLedger
from functions._cost.table import MemoryTable
from functions._engine.clock import SystemClock
from tests.conformance import suites
from tests.support.builders import T0, make_flow, make_step, make_ticket


class InMemory:
    @pytest.fixture
    async def stores(self) -> AsyncIterator[Stores]:
        store = DynamoStore(MemoryTable(CostLedger()), "flowc", "process-1", SystemClock(), settle=0.01)
        await store.queue.enter()
        yield store.stores
        await store.close()


class TestChildren(InMemory, suites.ChildrenSuite): ...


class TestOutputs(InMemory, suites.OutputsSuite): ...


class TestDeadLetters(InMemory, suites.DeadLettersSuite): ...


class TestEventQueue(InMemory, suites.EventQueueSuite): ...


class TestFlowStore(InMemory, suites.FlowStoreSuite): ...


class TestKeyValues(InMemory, suites.KeyValuesSuite): ...


class TestRegistry(InMemory, suites.RegistrySuite): ...


class TestStatistics(InMemory, suites.StatisticsSuite): ...


class TestHistory(InMemory, suites.HistorySuite): ...


class TestRetention(InMemory, suites.RetentionSuite): ...


class TestTicketCounts(InMemory, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(InMemory, suites.TelemetryBufferSuite): ...


class TestViews(InMemory, suites.ViewsSuite): ...


class TestWakeups(InMemory, suites.WakeupsSuite): ...


class TestLiveTickets(InMemory):
    async def test_tickets_of_flows_that_have_ended_are_not_read_for_a_live_status(
        self, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted, read = [], list[str]()
        for number, status in enumerate([FlowStatus.COMPLETED, FlowStatus.EXECUTING] * 3):
            flow = make_flow(number, status=status, ended_at=T0 if status is FlowStatus.COMPLETED else None)
            ticket = make_ticket(flow, 1)
            await stores.store.commit(make_step(flow, ticket))
            wanted += [ticket] if flow.ended_at is None else []
        walk = DynamoFlows.items_in

        async def counted(flows: DynamoFlows, partition: str) -> list[Item]:
            read.append(partition)
            return await walk(flows, partition)

        monkeypatch.setattr(DynamoFlows, "items_in", counted)
        first, cursor = await stores.views.find_tickets({"status": "PENDING"}, None, 2)
        second, end = await stores.views.find_tickets({"status": "PENDING"}, cursor, 2)
        assert ([*first, *second], end) == (wanted, None)
        assert set(read) == {keys.of_flow(ticket.flow_id) for ticket in wanted}
