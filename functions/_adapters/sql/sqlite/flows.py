"""Flows, tickets and everything else that a step changes."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any
from zlib import decompress

from functions._adapters.documents import fill, found_or_unreadable, read_document
from functions._adapters.pages import ticket_filters, wanted_labels
from functions._adapters.sql.sqlite.changes import apply, changes_of
from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.recent import FLOWS, TICKETS, Recent
from functions._adapters.sql.sqlite.views import filtered, labelled
from functions._adapters.worker_claims import in_order_of_assignment
from functions._core.errors import Unavailable
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import TicketStatus
from functions._core.rules import LARGE_STEP

PACKED = b"x"
"""How a compressed decision begins; JSON begins otherwise. A decision of earlier versions is not compressed."""


class SqliteFlows:
    """The `FlowStore`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        holds = database.set_aside.holds
        self._flows: Recent[Flow] = Recent(FLOWS, partial(holds, RecordKind.FLOW))
        self._tickets: Recent[Ticket] = Recent(TICKETS, partial(holds, RecordKind.TICKET))

    async def flow(self, flow_id: str) -> Flow | None:
        """Return the flow's row, or None."""
        known = self._flows.get(flow_id)
        if known is not None:
            return known
        rows = self._database.rows("flow", flow_id=flow_id)
        if not rows:
            return None
        parse = partial(read_document, Flow, rows[0][0])
        return self._flows.put(flow_id, self._database.set_aside.read_one(RecordKind.FLOW, flow_id, parse))

    async def tickets(
        self,
        ticket_ids: Collection[str],
        flow_id: str | None = None,  # noqa: ARG002 ids are enough here
    ) -> Mapping[str, Ticket]:
        """Return those of the named tickets that exist, by id."""
        found = {ticket_id: known for ticket_id in ticket_ids if (known := self._tickets.get(ticket_id)) is not None}
        unknown = [ticket_id for ticket_id in ticket_ids if ticket_id not in found]
        if not unknown:
            return found
        stored, tickets = self._database.read(partial(_read, self._database, "tickets", ticket_ids=json.dumps(unknown)))
        for ticket in tickets:
            found[ticket.ticket_id] = self._tickets.put(ticket.ticket_id, ticket)
        return found_or_unreadable(self._database.set_aside, found, ticket_ids, stored)

    async def decision(self, flow_id: str) -> bytes:
        """Return the stored decision as JSON text."""
        rows = self._database.rows("decision", flow_id=flow_id)
        if not rows:
            raise Unavailable(f"The decision of flow {flow_id} is not visible yet.")
        doc = rows[0][0]
        text = doc.encode() if isinstance(doc, str) else bytes(doc)
        return decompress(text) if text.startswith(PACKED) else text

    async def tickets_of(self, flow_id: str, *, live_only: bool = False) -> Sequence[Ticket]:
        """Return the tickets of a flow in the order of the plan."""
        query = SQL["live_tickets_of" if live_only else "tickets_of"]

        def tickets(connection: sqlite3.Connection) -> list[Ticket]:
            found = [
                self._database.set_aside.read(
                    RecordKind.TICKET, ticket_id, partial(self._current, connection, ticket_id, *row), flow_id=flow_id
                )
                for ticket_id, *row in connection.execute(query, {"flow_id": flow_id}).fetchall()
            ]
            return [ticket for ticket in found if ticket is not None]

        return await self._database.browse(tickets)

    async def commit(self, step: ChangeSet) -> None:
        """Apply `step`, or raise `Conflict` and change nothing.

        The rows are made here, so that a record which cannot be written is its caller's trouble alone and the
        committer has nothing to do but SQL. Those of a large step are made in a thread.
        """
        try:
            large = len(step.tickets) > LARGE_STEP
            changes = await asyncio.to_thread(list, changes_of(step)) if large else list(changes_of(step))
            await self._database.write(partial(apply, changes=changes))
        except BaseException:
            # A conflict: what is kept here may be old. Cancelled: the write may go on without us.
            self._flows.forget(step.flow_id)
            for ticket in step.tickets:
                self._tickets.forget(ticket.ticket_id)
            raise
        if step.flow is not None:
            self._flows.put(step.flow.flow_id, step.flow)
        for ticket in step.tickets:
            self._tickets.put(ticket.ticket_id, ticket)

    def forget(self, flow_id: str, ticket_ids: Sequence[str]) -> None:
        """Keep nothing at hand of records that were removed."""
        self._database.set_aside.flow_gone(flow_id)
        self._flows.forget(flow_id)
        for ticket_id in ticket_ids:
            self._tickets.forget(ticket_id)

    def _current(self, connection: sqlite3.Connection, ticket_id: str, version: int, *row: Any) -> Ticket:
        """Return the ticket of a row, parsed only if it is not at hand in this very version."""
        known = self._tickets.peek(ticket_id)
        at_hand = known is not None and known.version == version
        return known if known is not None and at_hand else self._database.tickets.ticket(connection, *row)


def _read(
    database: SqliteDatabase, name: str, connection: sqlite3.Connection, **values: object
) -> tuple[list[str], list[Ticket]]:
    """Return the ids that a query for tickets finds, and the tickets that can be read."""
    rows = connection.execute(SQL[name], values).fetchall()
    return [row[0] for row in rows], database.tickets.tickets(connection, rows)


class SqliteTicketCounts:
    """The `TicketCounts`. Every count walks an index that holds only what is counted."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def by_status(self, flow_id: str) -> Mapping[str, int]:
        """Return how many tickets of the flow are in each status, zeros included."""
        found = dict(self._database.rows("tickets_by_status", flow_id=flow_id))
        return {status.value: found.get(status.value, 0) for status in TicketStatus}

    async def live(self, flow_id: str, at_most: int) -> int:
        """Return how many tickets of the flow are live, counting no further than `at_most`."""
        ((count,),) = self._database.rows("live_tickets", flow_id=flow_id, at_most=at_most)
        return int(count)

    async def active(self) -> Mapping[str, int]:
        """Return how many tickets each worker holds."""
        active: Counter[str] = Counter()
        for worker_id, number in self._database.rows("active"):
            active[worker_id] += number
        return active

    async def held_by(self, worker_id: str, limit: int) -> Sequence[Ticket]:
        """Return tickets that the worker holds, the oldest assignment first."""

        def held(name: str, number: int) -> tuple[int, list[Ticket]]:
            query = partial(_read, self._database, name, worker_id=worker_id, limit=number)
            stored, tickets = self._database.read(query)
            return len(stored), tickets

        second = fill(limit, partial(held, "hedges_held_by"))
        return in_order_of_assignment(fill(limit, partial(held, "held_by")), second, worker_id, limit)

    async def fitting(self, filters: Mapping[str, str], at_most: int, labels: Collection[str] = ()) -> int:
        """Return how many tickets all `filters` fit, counting no further than `at_most`."""
        wanted, marked = ticket_filters(filters), wanted_labels(labels)
        sql = filtered("tickets_fitting", wanted, marked)
        values = {**wanted, **labelled(marked), "at_most": at_most}
        ((count,),) = await self._database.browse(lambda connection: connection.execute(sql, values).fetchall())
        return int(count)
