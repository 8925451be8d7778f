"""Removing what has been kept long enough, in writes that are short whatever there is to remove."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.rows import to_ms
from functions._core.records.values import format_time

PARTS = ("history_forget", "audits_forget", "letters_forget", "decision_forget")


class SqliteRetention:
    """The `Retention`."""

    def __init__(self, database: SqliteDatabase, forgotten: Callable[[str, Sequence[str]], None]) -> None:
        """Call `forgotten` with each flow and its tickets that are no more."""
        self._database = database
        self._forgotten = forgotten

    async def forget_ended(self, before: datetime, limit: int) -> int:
        """Remove records of flows that ended, and actions on no flow that were taken, before `before`."""
        rows = self._database.rows
        if not rows("forgettable", before=to_ms(before)) and not rows("old_action", before=format_time(before)):
            return 0
        gone: dict[str, list[str]] = {}
        count = await self._database.write(partial(_forget_ended, before=before, limit=limit, gone=gone))
        for flow_id, ticket_ids in gone.items():
            self._forgotten(flow_id, ticket_ids)
        return count

    async def drop_letters(self, keep: int, limit: int) -> int:
        """Drop the oldest letters beyond `keep`."""
        ((span,),) = self._database.rows("letter_span")
        if span is None or span < keep:
            return 0
        return await self._database.write(partial(_drop_letters, keep=keep, limit=limit))

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Remove deliveries to webhooks that were made before `before`."""
        if not self._database.rows("old_webhook", before=to_ms(before)):
            return 0
        query = {"before": to_ms(before), "limit": limit}
        return await self._database.write(lambda c: c.execute(SQL["webhooks_forget"], query).rowcount)

    async def forget_expired(self, now: datetime, limit: int) -> int:
        """Remove small records that have expired."""
        row = {"now": to_ms(now), "limit": limit}
        if not self._database.rows("expired_entry", now=row["now"]):
            return 0
        return await self._database.write(lambda c: c.execute(SQL["expired_forget"], row).rowcount)


def _forget_ended(connection: sqlite3.Connection, *, before: datetime, limit: int, gone: dict[str, list[str]]) -> int:
    gone.clear()
    left = limit
    while left > 0:
        row = connection.execute(SQL["forgettable"], {"before": to_ms(before)}).fetchone()
        if row is None:
            break
        gone[row[0]] = []
        left -= _forget(connection, row[0], left, gone[row[0]])
    if left:
        left -= connection.execute(SQL["actions_forget"], {"before": format_time(before), "limit": left}).rowcount
    return limit - left


def _forget(connection: sqlite3.Connection, flow_id: str, limit: int, tickets: list[str]) -> int:
    """Remove up to `limit` records of a flow, its own last: as long as something is left, it is found again."""
    query = {"flow_id": flow_id, "limit": limit}
    rows = connection.execute(SQL["tickets_to_forget"], {"flow_id": flow_id, "limit": limit + 1}).fetchall()
    tickets += (ticket_id for ticket_id, _ in rows[:limit])
    connection.executemany(SQL["ticket_forget"], [{"ticket_id": ticket_id} for ticket_id in tickets])
    # Tickets of a part follow each other: of those seen here only the part of the first that stays is still needed.
    parts = {part for _, part in rows} - {None, *(part for _, part in rows[limit:])}
    connection.executemany(SQL["part_forget"], [{"part": part} for part in parts])
    left = limit - len(tickets)
    for part in PARTS:
        if left:
            left -= connection.execute(SQL[part], {"flow_id": flow_id, "limit": left}).rowcount
    if left:
        left -= connection.execute(SQL["flow_forget"], query).rowcount
    return limit - left


def _drop_letters(connection: sqlite3.Connection, *, keep: int, limit: int) -> int:
    newest = connection.execute(SQL["letters_beyond"], {"keep": keep}).fetchone()
    return connection.execute(SQL["letters_drop"], {"upto": newest[0], "limit": limit}).rowcount if newest else 0
