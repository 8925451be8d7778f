import pytest

from functions._adapters.memory import MemoryStore
from functions._adapters.stores import Stores
from tests.conformance import suites


class Memory:
    @pytest.fixture
    def stores(self) -> Stores:
        return MemoryStore().stores


class TestChildren(Memory, suites.ChildrenSuite): ...


class TestOutputs(Memory, suites.OutputsSuite): ...


class TestDeadLetters(Memory, suites.DeadLettersSuite): ...


class TestDeliveries(Memory, suites.DeliveriesSuite): ...


class TestEventQueue(Memory, suites.EventQueueSuite): ...


class TestFlowStore(Memory, suites.FlowStoreSuite, suites.SharedFlowStoreSuite): ...


class TestHealing(Memory, suites.HealingSuite): ...


class TestKeyValues(Memory, suites.SweptKeyValuesSuite): ...


class TestRegistry(Memory, suites.RegistrySuite): ...


class TestStatistics(Memory, suites.StatisticsSuite): ...


class TestHistory(Memory, suites.HistorySuite): ...


class TestRetention(Memory, suites.RetentionSuite): ...


class TestTicketCounts(Memory, suites.TicketCountsSuite): ...


class TestTelemetryBuffer(Memory, suites.TelemetryBufferSuite): ...


class TestViews(Memory, suites.ViewsSuite): ...


class TestWakeups(Memory, suites.WakeupsSuite): ...
