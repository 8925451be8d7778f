"""The storage ports over one `State`."""

from functools import partial

from functions._adapters.memory.deliveries import MemoryDeliveries
from functions._adapters.memory.flows import MemoryFlows
from functions._adapters.memory.key_values import MemoryKeyValues
from functions._adapters.memory.mail import MemoryDeadLetters, MemoryQueue, MemoryTelemetryBuffer
from functions._adapters.memory.registry import MemoryRegistry
from functions._adapters.memory.retention import MemoryRetention
from functions._adapters.memory.state import State
from functions._adapters.memory.statistics import MemoryStatistics
from functions._adapters.memory.ticket_counts import MemoryTicketCounts
from functions._adapters.memory.views import MemoryViews
from functions._adapters.memory.wakeups import MemoryWakeups
from functions._adapters.stores import Stores


class MemoryStore:
    """A store that lasts as long as the object; `stores` are its ports, `state` is what they share."""

    def __init__(self) -> None:
        self.state = state = State()
        self.stores = Stores(
            store=MemoryFlows(state),
            ticket_counts=MemoryTicketCounts(state),
            wakeups=MemoryWakeups(state),
            registry=MemoryRegistry(state),
            views=MemoryViews(state),
            statistics=MemoryStatistics(state),
            retention=MemoryRetention(state),
            key_values=partial(MemoryKeyValues, state),
            dead_letters=MemoryDeadLetters(state),
            deliveries=MemoryDeliveries(state),
            telemetry_buffer=MemoryTelemetryBuffer(state),
            queue=MemoryQueue(state),
        )

    async def close(self) -> None:
        """Do nothing: there is nothing to give back, but whoever opens a store closes it."""
