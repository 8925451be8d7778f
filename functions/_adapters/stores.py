"""The storage ports of one technology, side by side.

Two ports may use one method name for different things (`WorkerRegistry.put`, `DeadLetters.put`), so a
technology implements them in small classes over one shared state and hands them out as `Stores`.
"""

from dataclasses import dataclass
from typing import Protocol

from functions._core.ports import (
    DeadLetters,
    EventQueue,
    FlowStore,
    Retention,
    Statistics,
    Tally,
    TelemetryBuffer,
    Views,
    Wakeups,
    WorkerRegistry,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """All storage ports over the same state: what is committed through one is seen by the others."""

    store: FlowStore
    tally: Tally
    wakeups: Wakeups
    registry: WorkerRegistry
    views: Views
    statistics: Statistics
    retention: Retention
    dead_letters: DeadLetters
    telemetry_buffer: TelemetryBuffer
    queue: EventQueue


class OpenStore(Protocol):
    """An open store; whoever opens it closes it, in the same event loop."""

    stores: Stores

    async def check(self) -> None:
        """Raise `Unavailable`, saying why, while nothing can be written."""

    async def close(self) -> None:
        """Finish what is under way and give back what the store holds."""
