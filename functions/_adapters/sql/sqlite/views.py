"""Pages for people, read in the reading thread."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from functions._adapters.documents import fill, read_audits, read_history_rows, read_rows
from functions._adapters.pages import MAX_POSITION, flow_status, page, position_of, ticket_filters, wanted_labels
from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._core.records.audits import AnyAudit, AuditKind
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.set_aside import RecordKind, SetAside
from functions._core.records.values import TicketStatus

COMPLETED = TicketStatus.COMPLETED.value

R = TypeVar("R", bound=Record)
T = TypeVar("T")
Rows = Iterable[tuple[int, str, str]]
"""Positions, flows and documents."""


def audits_page(*, of_flow: bool, kind: AuditKind | None, valid: bool | None) -> str:
    """Return the query for a page of audits. Words are literals in it: only then are the partial indexes used."""
    filters = ["AND flow_id = :flow_id"] if of_flow else []
    filters += [] if kind is None else [f"AND kind = '{kind.value}'"]
    filters += [] if valid is None else [f"AND valid = {int(valid)}"]
    return SQL["audits_page"].replace("/* filters */", " ".join(filters))


def tickets_page(filters: Mapping[str, str], labels: Sequence[str] = ()) -> str:
    """Return the query for a page of tickets."""
    return filtered("tickets_page", filters, labels)


def filtered(name: str, filters: Mapping[str, str], labels: Sequence[str] = ()) -> str:
    """Return a query for tickets that all `filters` fit; the index of statuses holds all but the most frequent one.

    With labels it walks their index: its values are those of `labelled`.
    """
    if labels:
        of_ticket = (f"AND ticket.{column} = :{column}" for column in sorted(filters))
        return SQL[f"{name}_by_label"].replace("/* filters */", " ".join(of_ticket))
    equalities = [f"AND {name} = :{name}" for name in sorted(filters)]
    if filters.get("status", COMPLETED) != COMPLETED:
        equalities.append(f"AND status <> '{COMPLETED}'")
    return SQL[name].replace("/* filters */", " ".join(equalities))


def labelled(labels: Sequence[str]) -> Mapping[str, str]:
    """Return the values of labels in a query; nothing for none."""
    return {"label": labels[0], "others": json.dumps(labels[1:])} if labels else {}


async def read_page(
    database: SqliteDatabase, kind: RecordKind, model: type[R], sql: str, values: Mapping[str, Any], limit: int
) -> tuple[list[R], str | None]:
    """Run a query for positions, ids, flows and documents, and cut the page off what it finds."""

    def read(connection: sqlite3.Connection) -> tuple[list[R], str | None]:
        def first(number: int) -> tuple[int, list[tuple[int, R]]]:
            rows = connection.execute(sql, {**values, "limit": number}).fetchall()
            return len(rows), read_rows(database.set_aside, kind, model, rows)

        return page(fill(limit + 1, first), limit)

    return await database.browse(read)


class SqliteViews:
    """The `Views`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def flows(
        self, *, status: str | None, cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Flow], str | None]:
        """Return flows, the newest first."""
        wanted, marked = flow_status(status), wanted_labels(labels)
        values = {"before": position_of(cursor, start=MAX_POSITION), "status": wanted, **labelled(marked)}
        sql = SQL["flows_page" if wanted is None else "flows_page_by_status"]
        if marked:
            equality = "" if wanted is None else "AND flow.status = :status"
            sql = SQL["flows_page_by_label"].replace("/* filters */", equality)
        return await read_page(self._database, RecordKind.FLOW, Flow, sql, values, limit)

    async def find_tickets(
        self, filters: Mapping[str, str], cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Ticket], str | None]:
        """Return tickets that all `filters` fit, oldest first."""
        wanted, marked = ticket_filters(filters), wanted_labels(labels)
        sql = tickets_page(wanted, marked)
        values = {**wanted, **labelled(marked), "after": position_of(cursor, start=0)}

        def read(connection: sqlite3.Connection) -> tuple[list[Ticket], str | None]:
            def first(number: int) -> tuple[int, list[tuple[int, Ticket]]]:
                rows = connection.execute(sql, {**values, "limit": number}).fetchall()
                positions = {row[1]: row[0] for row in rows}
                tickets = self._database.tickets.tickets(connection, (row[1:] for row in rows))
                return len(rows), [(positions[ticket.ticket_id], ticket) for ticket in tickets]

            return page(fill(limit + 1, first), limit)

        return await self._database.browse(read)

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """Return transitions with `seq` above `after`, in order."""
        sql = SQL["history_page" if flow_id is None else "history_page_of_flow"]
        return await self._fill(sql, {"flow_id": flow_id, "after": after}, limit, read_history_rows)

    async def last_seq(self) -> int:
        """Return the number behind which the history of all flows has only what comes from now on."""
        return int(await self._database.browse(lambda c: c.execute(SQL["history_last"]).fetchone()[0]))

    async def audits(
        self, flow_id: str | None, limit: int, *, kind: AuditKind | None = None, valid: bool | None = None
    ) -> Sequence[AnyAudit]:
        """Return audits that all filters fit, the newest first."""
        sql = audits_page(of_flow=flow_id is not None, kind=kind, valid=valid)
        return await self._fill(sql, {"flow_id": flow_id}, limit, read_audits)

    async def _fill(
        self, sql: str, values: Mapping[str, Any], limit: int, read: Callable[[SetAside, Rows], list[T]]
    ) -> list[T]:
        def browse(connection: sqlite3.Connection) -> list[T]:
            def first(number: int) -> tuple[int, list[T]]:
                rows = connection.execute(sql, {**values, "limit": number}).fetchall()
                return len(rows), read(self._database.set_aside, rows)

            return fill(limit, first)

        return await self._database.browse(browse)

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many flows and tickets there are by status."""
        return await self._database.browse(
            lambda c: {
                "flows": dict(c.execute(SQL["flow_counts"]).fetchall()),
                "tickets": dict(c.execute(SQL["ticket_counts"]).fetchall()),
            }
        )
