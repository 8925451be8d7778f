"""The adapter over the table in memory by which costs are counted: it does what an emulator does."""

from collections.abc import AsyncIterator

import pytest

from functions._adapters.dynamodb import DynamoStore
from functions._adapters.stores import Stores
from functions._cost.ledger import CostLedger
from functions._cost.table import MemoryTable
from functions._engine.clock import SystemClock
from tests.conformance import suites


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


class TestRetention(InMemory, suites.RetentionSuite): ...


class TestTicketCounts(InMemory, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(InMemory, suites.TelemetryBufferSuite): ...


class TestViews(InMemory, suites.ViewsSuite): ...


class TestWakeups(InMemory, suites.WakeupsSuite): ...
