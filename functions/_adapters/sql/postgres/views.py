"""Pages for people."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from functions._adapters.documents import read_audits, read_history_rows, read_rows
from functions._adapters.pages import MAX_POSITION, flow_status, page, position_of, ticket_filters, wanted_labels
from functions._adapters.sql.postgres.database import SQL, PostgresDatabase, Rows
from functions._adapters.sql.postgres.rows import text
from functions._core.records.audits import AnyAudit, AuditKind
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.set_aside import RecordKind, SetAside

R = TypeVar("R", bound=Record)

LABELS = "labels"


def ticket_values(filters: Mapping[str, str], labels: Collection[str]) -> Mapping[str, str | None]:
    """Return the values of a query for tickets by column."""
    wanted = {name: text(value) for name, value in ticket_filters(filters).items()}
    return wanted | ({LABELS: json.dumps(marked)} if (marked := wanted_labels(labels)) else {})


def audits_page(*, of_flow: bool, kind: AuditKind | None, valid: bool | None) -> str:
    """Return the query for a page of audits. Words are literals in it: only then are the partial indexes used."""
    filters = ["AND flow_id = :flow_id"] if of_flow else []
    filters += [] if kind is None else [f"AND kind = '{kind.value}'"]
    filters += [] if valid is None else ["AND valid" if valid else "AND NOT valid"]
    return SQL["audits_page"].replace("/* filters */", " ".join(filters))


def filtered(name: str, filters: Collection[str]) -> str:
    """Return a query for tickets that all `filters` fit; `labels`, as JSON, are all among those of a ticket."""
    equalities = "".join(f"AND {column} = :{column} " for column in sorted(filters) if column != LABELS)
    equalities += "AND labels IS NOT NULL AND labels @> :labels::jsonb " if LABELS in filters else ""
    return SQL[name].replace("/* filters */", equalities)


async def read_page(
    database: PostgresDatabase, kind: RecordKind, model: type[R], sql: str, values: Mapping[str, Any], limit: int
) -> tuple[list[R], str | None]:
    """Run a query for positions, ids, flows and documents, and cut the page off what it finds."""

    def read(aside: SetAside, rows: Rows) -> list[tuple[int, R]]:
        return read_rows(aside, kind, model, rows)

    return page(await database.filled(limit + 1, sql, values, read), limit)


class PostgresViews:
    """The `Views`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def flows(
        self, *, status: str | None, cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Flow], str | None]:
        """Return flows, the newest first."""
        wanted, marked = flow_status(status), wanted_labels(labels)
        values = {"before": position_of(cursor, start=MAX_POSITION), "status": wanted}
        sql = SQL["flows_page" if wanted is None else "flows_page_by_status"]
        if marked:
            sql, values[LABELS] = SQL["flows_page_by_label"], json.dumps(marked)
        return await read_page(self._database, RecordKind.FLOW, Flow, sql, values, limit)

    async def find_tickets(
        self, filters: Mapping[str, str], cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Ticket], str | None]:
        """Return tickets that all `filters` fit, oldest first."""
        wanted = ticket_values(filters, labels)
        sql = filtered("tickets_page", wanted)
        values = {**wanted, "after": position_of(cursor, start=0)}
        return await read_page(self._database, RecordKind.TICKET, Ticket, sql, values, limit)

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """Return transitions with `seq` above `after`, in order; of all flows, only what is settled.

        An entry whose neighbour with a lower number is still being committed is shown together with that.
        """
        values: dict[str, object] = {"after": after}
        if flow_id is None:
            sql, values["settled"] = SQL["history_page"], await self._database.value("history_settled")
        else:
            sql, values["flow_id"] = SQL["history_page_of_flow"], text(flow_id)
        return await self._database.filled(limit, sql, values, read_history_rows)

    async def last_seq(self) -> int:
        """Return the number behind which the history of all flows has only what comes from now on."""
        return int(await self._database.value("history_last"))

    async def audits(
        self, flow_id: str | None, limit: int, *, kind: AuditKind | None = None, valid: bool | None = None
    ) -> Sequence[AnyAudit]:
        """Return audits that all filters fit, the newest first."""
        sql = audits_page(of_flow=flow_id is not None, kind=kind, valid=valid)
        return await self._database.filled(limit, sql, {"flow_id": text(flow_id)}, read_audits)

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many flows and tickets there are by status."""
        return {
            "flows": dict(await self._database.rows("flow_counts")),
            "tickets": dict(await self._database.rows("ticket_counts")),
        }
