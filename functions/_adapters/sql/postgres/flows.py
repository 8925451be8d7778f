"""Flows, tickets and everything else that a step changes."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial

from functions._adapters.documents import found_or_unreadable, read_document, read_tickets
from functions._adapters.sql.postgres.changes import writing_of
from functions._adapters.sql.postgres.database import SQL, PostgresDatabase
from functions._adapters.sql.postgres.views import filtered, ticket_values
from functions._core.errors import Unavailable
from functions._core.records.attempts import held_as
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import TicketStatus


class PostgresFlows:
    """The `FlowStore`."""

    def __init__(self, database: PostgresDatabase, owner: str | None) -> None:
        self._database = database
        self._owner = owner

    async def flow(self, flow_id: str) -> Flow | None:
        """Return the flow's row, or None."""
        doc = await self._database.value("flow", flow_id=flow_id)
        if doc is None:
            return None
        return self._database.set_aside.read_one(RecordKind.FLOW, flow_id, partial(read_document, Flow, doc))

    async def tickets(
        self,
        ticket_ids: Collection[str],
        flow_id: str | None = None,  # noqa: ARG002 ids are enough here
    ) -> Mapping[str, Ticket]:
        """Return those of the named tickets that exist, by id."""
        if not ticket_ids:
            return {}
        rows = await self._database.rows("tickets", ticket_ids=list(ticket_ids))
        aside = self._database.set_aside
        found = {ticket.ticket_id: ticket for ticket in read_tickets(aside, rows)}
        return found_or_unreadable(aside, found, ticket_ids, {row[0] for row in rows})

    async def decision(self, flow_id: str) -> bytes:
        """Return the stored decision as JSON text."""
        doc = await self._database.value("decision", flow_id=flow_id)
        if doc is None:
            raise Unavailable(f"The decision of flow {flow_id} is not visible yet.")
        return bytes(doc)

    async def tickets_of(self, flow_id: str, *, live_only: bool = False) -> Sequence[Ticket]:
        """Return the tickets of a flow in the order of the plan."""
        rows = await self._database.rows("live_tickets_of" if live_only else "tickets_of", flow_id=flow_id)
        return read_tickets(self._database.set_aside, rows)

    async def commit(self, step: ChangeSet) -> None:
        """Apply `step`, or raise `Conflict` and change nothing."""
        if step.changes or step.decision is not None:
            writing = writing_of(step, self._owner)
            await self._database.run(writing.sql, writing.values)


class PostgresTicketCounts:
    """The `TicketCounts`. Every count walks an index that holds only what is counted."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def by_status(self, flow_id: str) -> Mapping[str, int]:
        """Return how many tickets of the flow are in each status, zeros included."""
        found = dict(await self._database.rows("tickets_by_status", flow_id=flow_id))
        return {status.value: found.get(status.value, 0) for status in TicketStatus}

    async def live(self, flow_id: str, at_most: int) -> int:
        """Return how many tickets of the flow are live, counting no further than `at_most`."""
        return int(await self._database.value("live_tickets", flow_id=flow_id, at_most=at_most))

    async def active(self) -> Mapping[str, int]:
        """Return how many tickets each worker holds."""
        active: Counter[str] = Counter()
        for worker_id, number in await self._database.rows("active"):
            active[worker_id] += number
        return active

    async def held_by(self, worker_id: str, limit: int) -> Sequence[Ticket]:
        """Return tickets that the worker holds, the oldest assignment first."""
        held = await self._database.filled(limit, SQL["held_by"], {"worker_id": worker_id}, read_tickets)
        return [held_as(ticket, worker_id) for ticket in held]

    async def fitting(self, filters: Mapping[str, str], at_most: int, labels: Collection[str] = ()) -> int:
        """Return how many tickets all `filters` fit, counting no further than `at_most`."""
        wanted = ticket_values(filters, labels)
        ((count,),) = await self._database.run(filtered("tickets_fitting", wanted), {**wanted, "at_most": at_most})
        return int(count)
