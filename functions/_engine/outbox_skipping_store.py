"""Keeps out of the store what need not be there: chain events, where each write has its price.

The record that a chain event is about has a wake-up, should it be lost between commit and broker: the event is sent
again; or, of telemetry, the flow ends a minute later and the telemetry waits in the buffer. Events for subscribers,
and what is queued by itself, have none; they stay in the store until published.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from functions._core.machine.flow import CHAIN
from functions._core.ports import FlowStore
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket

SPARED = frozenset({*CHAIN.values(), "tickets.ready", "workers.discovered", "flow.consolidated"})
REMEMBERED = 10_000


class OutboxSkippingStore:
    """A `FlowStore` over another one, for processes whose events all go to a broker."""

    def __init__(self, store: FlowStore) -> None:
        self._store = store
        self._spared: dict[str, None] = {}

    async def flow(self, flow_id: str) -> Flow | None:
        """See `FlowStore.flow`."""
        return await self._store.flow(flow_id)

    async def tickets(self, ticket_ids: Collection[str], flow_id: str | None = None) -> Mapping[str, Ticket]:
        """See `FlowStore.tickets`."""
        return await self._store.tickets(ticket_ids, flow_id)

    async def decision(self, flow_id: str) -> bytes:
        """See `FlowStore.decision`."""
        return await self._store.decision(flow_id)

    async def tickets_of(self, flow_id: str, *, live_only: bool = False) -> Sequence[Ticket]:
        """See `FlowStore.tickets_of`."""
        return await self._store.tickets_of(flow_id, live_only=live_only)

    async def commit(self, step: ChangeSet) -> None:
        """Apply `step` without its chain events; to take one of these out of the queue costs nothing."""
        if step.handled in self._spared:
            del self._spared[step.handled]
            step = replace(step, handled=None)
        kept = tuple(event for event in step.events if event.event_type not in SPARED)
        spared = [event.id for event in step.events if event.event_type in SPARED]
        await self._store.commit(replace(step, events=kept))
        self._spared.update(dict.fromkeys(spared))
        while len(self._spared) > REMEMBERED:
            del self._spared[next(iter(self._spared))]
