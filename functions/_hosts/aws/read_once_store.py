"""Reads a record once in an invocation, where each read has its price.

A function, the delivery of an assignment and the answer to it each read the records that they decide on. Within one
invocation these are the ones that were read or committed a moment before. Nothing is remembered that was read before
its event came; a commit on an older record is a `Conflict`, and then everything is read again.
"""

from collections.abc import Collection, Mapping, Sequence

from functions._core.ports import FlowStore
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket


class ReadOnceStore:
    """A `FlowStore` over another one, for a process that handles one invocation at a time."""

    def __init__(self, store: FlowStore) -> None:
        self._store = store
        self._remembers = False
        self._flows: dict[str, Flow] = {}
        self._tickets: dict[str, Ticket] = {}

    def remember(self) -> None:
        """Remember what is read and committed from here on: an event has come."""
        self._clear()
        self._remembers = True

    def forget(self) -> None:
        """Read everything again from here on."""
        self._clear()
        self._remembers = False

    def _clear(self) -> None:
        self._flows.clear()
        self._tickets.clear()

    def _note(self, flow: Flow | None, tickets: Collection[Ticket]) -> None:
        if self._remembers:
            self._flows.update({flow.flow_id: flow} if flow else {})
            self._tickets.update({ticket.ticket_id: ticket for ticket in tickets})

    async def flow(self, flow_id: str) -> Flow | None:
        """See `FlowStore.flow`."""
        if flow_id in self._flows:
            return self._flows[flow_id]
        found = await self._store.flow(flow_id)
        self._note(found, ())
        return found

    async def tickets(self, ticket_ids: Collection[str], flow_id: str | None = None) -> Mapping[str, Ticket]:
        """See `FlowStore.tickets`."""
        if self._tickets.keys() >= set(ticket_ids):
            return {ticket_id: self._tickets[ticket_id] for ticket_id in ticket_ids}
        found = await self._store.tickets(ticket_ids, flow_id)
        self._note(None, found.values())
        return found

    async def decision(self, flow_id: str) -> bytes:
        """See `FlowStore.decision`."""
        return await self._store.decision(flow_id)

    async def tickets_of(self, flow_id: str, *, live_only: bool = False) -> Sequence[Ticket]:
        """See `FlowStore.tickets_of`."""
        return await self._store.tickets_of(flow_id, live_only=live_only)

    async def commit(self, step: ChangeSet) -> None:
        """See `FlowStore.commit`."""
        try:
            await self._store.commit(step)
        except BaseException:
            self._clear()
            raise
        self._note(step.flow, step.tickets)
