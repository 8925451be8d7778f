"""A store between the platform and the real one: a test holds it up, watches it, or lets commits fail."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from functions._adapters.stores import Stores
from functions._core.ports import FlowStore
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket


class SlowStore:
    """A `FlowStore` over another one; `steps` is what was committed, `before` is awaited ahead of each commit."""

    def __init__(self, behind: FlowStore) -> None:
        self.behind = behind
        self.steps: list[ChangeSet] = []
        self.before: Callable[[ChangeSet], Awaitable[None]] = _nothing
        self._open = asyncio.Event()
        self._open.set()

    def __getattr__(self, operation: str) -> Any:
        return getattr(self.behind, operation)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Let nobody read a flow for as long as the context is open."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def flow(self, flow_id: str) -> Flow | None:
        """See `FlowStore.flow`."""
        await self._open.wait()
        return await self.behind.flow(flow_id)

    async def tickets(self, ticket_ids: Collection[str], flow_id: str | None = None) -> Mapping[str, Ticket]:
        """See `FlowStore.tickets`."""
        return await self.behind.tickets(ticket_ids, flow_id)

    async def commit(self, step: ChangeSet) -> None:
        """See `FlowStore.commit`."""
        await self.before(step)
        await self.behind.commit(step)
        self.steps.append(step)


def slowed(stores: Stores) -> tuple[Stores, SlowStore]:
    """Return stores with a slow one in place of their store, and that one."""
    slow = SlowStore(stores.store)
    return replace(stores, store=slow), slow


async def _nothing(_step: ChangeSet) -> None:
    """Let the commit pass."""
