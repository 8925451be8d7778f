"""Flows and tickets that this process has written or read just now, where reading them again is a call to a server.

Another process may have changed them. So what is decided on them names the versions that it has seen, and a commit is
refused when one of them is old; a decision that changes nothing is taken once more on what is stored.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from functions._core.machine.context import Context
from functions._core.ports import Entry, FlowStore, KeyValues
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket

FLOWS = 100
TICKETS = 20
"""Flows that are remembered, and tickets of each: those that steps under way name, in some ten megabytes."""


class KnownRecords(Protocol):
    """Where a decision gets its records: a `FlowStore`, or what is remembered of one."""

    async def flow(self, flow_id: str) -> Flow | None:
        """See `FlowStore.flow`."""

    async def tickets(self, ticket_ids: Collection[str], flow_id: str) -> Mapping[str, Ticket]:
        """See `FlowStore.tickets`."""


@dataclass(slots=True)
class Remembered:
    """A flow, and those of its tickets that were read or written."""

    flow: Flow
    tickets: dict[str, Ticket] = field(default_factory=dict)


class RememberedRecords:
    """The flows and tickets of a store, as far as a decision needs them; the flows used last are kept."""

    def __init__(self, store: FlowStore) -> None:
        self._store = store
        self._known: OrderedDict[str, Remembered] = OrderedDict()

    async def flow(self, flow_id: str) -> Flow | None:
        """Return a flow, perhaps as it was."""
        known = self._known.get(flow_id)
        if known is not None:
            self._known.move_to_end(flow_id)
            return known.flow
        stored = await self._store.flow(flow_id)
        if stored is not None:
            self._keep(stored)
        return stored

    async def tickets(self, ticket_ids: Collection[str], flow_id: str) -> Mapping[str, Ticket]:
        """Return those of the named tickets that exist, perhaps as they were."""
        known = self._known.get(flow_id)
        found = {one: known.tickets[one] for one in ticket_ids if one in known.tickets} if known else {}
        unknown = [one for one in ticket_ids if one not in found]
        stored = await self._store.tickets(unknown, flow_id) if unknown else {}
        if known is not None and len(known.tickets) + len(stored) <= TICKETS:
            known.tickets.update(stored)
        return {**found, **stored}

    def committed(self, step: ChangeSet) -> None:
        """Remember what was written."""
        if step.flow is not None:
            self._keep(step.flow)
        known = self._known.get(step.flow_id)
        if known is not None and len(known.tickets) + len(step.tickets) <= TICKETS:
            known.tickets.update((ticket.ticket_id, ticket) for ticket in step.tickets)
        elif known is not None:
            known.tickets.clear()

    def forget(self, flow_id: str) -> None:
        """Read a flow and its tickets again when they are needed next."""
        self._known.pop(flow_id, None)

    def _keep(self, flow: Flow) -> None:
        self._known.setdefault(flow.flow_id, Remembered(flow)).flow = flow
        self._known.move_to_end(flow.flow_id)
        if len(self._known) > FLOWS:
            self._known.popitem(last=False)


def seen_by(contexts: Iterable[Context], step: ChangeSet) -> Mapping[str, int]:
    """Return the versions of the records that decisions were made on, but for those that the step changes."""
    changed = {ticket.ticket_id for ticket in step.tickets} | ({step.flow_id} if step.flow else set())
    seen: dict[str, int] = {}
    for context in contexts:
        seen.setdefault(context.flow.flow_id, context.flow.version)
        for ticket_id, ticket in context.tickets.items():
            seen.setdefault(ticket_id, ticket.version)
    return {record_id: version for record_id, version in seen.items() if record_id not in changed}


class NotKept:
    """The small records, for a preview: what is put or removed stays as it was."""

    def __init__(self, entries: KeyValues) -> None:
        self.get, self.page = entries.get, entries.page

    async def put(
        self,
        space: str,  # noqa: ARG002 nothing is stored
        key: str,
        value: bytes,
        *,
        version: int,
        expires_at: datetime | None = None,
    ) -> Entry:
        """Return the entry that would be stored."""
        return Entry(key, value, version + 1, expires_at)

    async def remove(self, space: str, key: str, version: int) -> bool:  # noqa: ARG002 nothing is removed
        """Return that the entry was there."""
        return True
