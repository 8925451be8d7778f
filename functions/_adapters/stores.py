"""The storage ports of one technology, side by side.

Two ports may use one method name for different things (`WorkerRegistry.put`, `DeadLetters.put`), so a
technology implements them in small classes over one shared state and hands them out as `Stores`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from functions._core.ports import (
    Clock,
    DeadLetters,
    EventQueue,
    FlowStore,
    KeyValues,
    Ports,
    Retention,
    Statistics,
    TelemetryBuffer,
    TelemetrySink,
    TicketCounts,
    Tokens,
    Views,
    Wakeups,
    WorkerGateway,
    WorkerRegistry,
)
from functions._core.records.set_aside import SetAside
from functions._core.webhooks.delivery import Deliveries


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """All storage ports over the same state: what is committed through one is seen by the others.

    `key_values` makes its port with the clock by which entries expire.
    """

    store: FlowStore
    ticket_counts: TicketCounts
    wakeups: Wakeups
    registry: WorkerRegistry
    views: Views
    statistics: Statistics
    retention: Retention
    key_values: Callable[[Clock], KeyValues]
    dead_letters: DeadLetters
    deliveries: Deliveries
    telemetry_buffer: TelemetryBuffer
    queue: EventQueue
    set_aside: SetAside = field(default_factory=SetAside)

    def ports(
        self,
        *,
        telemetry_sink: TelemetrySink,
        gateway: WorkerGateway,
        clock: Clock,
        tokens: Tokens,
        store: FlowStore | None = None,
        registry: WorkerRegistry | None = None,
    ) -> Ports:
        """Return all ports: these, and those to the world outside; `store` and `registry` stand before our own."""
        return Ports(
            store=store or self.store,
            ticket_counts=self.ticket_counts,
            wakeups=self.wakeups,
            registry=registry or self.registry,
            views=self.views,
            statistics=self.statistics,
            retention=self.retention,
            key_values=self.key_values(clock),
            dead_letters=self.dead_letters,
            deliveries=self.deliveries,
            telemetry_buffer=self.telemetry_buffer,
            telemetry_sink=telemetry_sink,
            gateway=gateway,
            clock=clock,
            tokens=tokens,
            set_aside=self.set_aside,
        )


class OpenStore(Protocol):
    """An open store; whoever opens it closes it, in the same event loop."""

    stores: Stores

    async def check(self) -> None:
        """Raise `Unavailable`, saying why, while nothing can be written."""

    async def close(self) -> None:
        """Finish what is under way and give back what the store holds."""
