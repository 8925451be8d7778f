"""Numbers over many flows, read from indexes in the reading thread."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

from functions._adapters.documents import fill, read_rows
from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.rows import from_ms, to_ms
from functions._core.machine.tables import FLOWS_UNDER_WAY
from functions._core.records.models import Flow
from functions._core.records.set_aside import RecordKind
from functions._core.records.statistics import FlowStatistics
from functions._core.records.values import RiskBand


class SqliteStatistics:
    """The `Statistics`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def flows(self, since: datetime | None) -> FlowStatistics:
        """Return the numbers of the flows that have ended since then."""
        query = {"since": 0 if since is None else to_ms(since), "under_way": json.dumps(sorted(FLOWS_UNDER_WAY))}
        ended, completed, average, p95, active = await self._database.browse(
            lambda c: c.execute(SQL["flow_statistics"], query).fetchone()
        )
        return FlowStatistics(ended=ended, completed=completed, average_ms=average, p95_ms=p95, active=active)

    async def ended(self, since: datetime, until: datetime, limit: int) -> Sequence[Flow]:
        """Return flows that ended within a span, the last to end first."""
        return await self._read("flows_ended", limit, since=to_ms(since), until=to_ms(until))

    async def under_way(self, limit: int) -> Sequence[Flow]:
        """Return flows that have not ended."""
        return await self._read("flows_under_way", limit, under_way=json.dumps(sorted(FLOWS_UNDER_WAY)))

    async def _read(self, name: str, limit: int, **values: object) -> Sequence[Flow]:
        def read(connection: sqlite3.Connection) -> list[Flow]:
            def first(number: int) -> tuple[int, list[Flow]]:
                rows = connection.execute(SQL[name], {**values, "limit": number}).fetchall()
                return len(rows), [flow for _, flow in read_rows(aside, RecordKind.FLOW, Flow, rows)]

            return fill(limit, first)

        aside = self._database.set_aside
        return await self._database.browse(read)

    async def deadlines(self) -> Mapping[str, datetime]:
        """Return the earliest deadline of each risk band."""
        rows = self._database.rows("flow_deadlines", risk_bands=json.dumps(list(RiskBand)))
        return {band: from_ms(deadline) for band, deadline in rows if deadline is not None}
