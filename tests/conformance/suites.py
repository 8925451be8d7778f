"""All suites for the storage ports, for an adapter to take one by one."""

from tests.conformance.children import ChildrenSuite
from tests.conformance.dead_letters import DeadLettersSuite
from tests.conformance.deliveries import DeliveriesSuite
from tests.conformance.event_queue import EventQueueSuite
from tests.conformance.flow_store import FlowStoreSuite, SharedFlowStoreSuite
from tests.conformance.healing import HealingSuite
from tests.conformance.history_rows import HistorySuite, UnreadableHistorySuite
from tests.conformance.key_values import KeyValuesSuite, SweptKeyValuesSuite
from tests.conformance.outputs import OutputsSuite
from tests.conformance.registry import RegistrySuite
from tests.conformance.retention import RetentionSuite
from tests.conformance.statistics import StatisticsSuite
from tests.conformance.telemetry_buffer import TelemetryBufferSuite
from tests.conformance.ticket_counts import TicketCountsSuite
from tests.conformance.unreadable import UnreadableSuite
from tests.conformance.views import ViewsSuite
from tests.conformance.wakeups import WakeupsSuite

__all__ = [
    "ChildrenSuite",
    "DeadLettersSuite",
    "DeliveriesSuite",
    "EventQueueSuite",
    "FlowStoreSuite",
    "HealingSuite",
    "HistorySuite",
    "KeyValuesSuite",
    "OutputsSuite",
    "RegistrySuite",
    "RetentionSuite",
    "SharedFlowStoreSuite",
    "StatisticsSuite",
    "SweptKeyValuesSuite",
    "TelemetryBufferSuite",
    "TicketCountsSuite",
    "UnreadableHistorySuite",
    "UnreadableSuite",
    "ViewsSuite",
    "WakeupsSuite",
]
