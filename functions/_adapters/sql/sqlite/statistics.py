"""Numbers over many flows, read from indexes in the reading thread."""

import json
from collections.abc import Mapping
from datetime import datetime

from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.rows import from_ms, to_ms
from functions._core.machine.tables import FLOWS_UNDER_WAY
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

    async def deadlines(self) -> Mapping[str, datetime]:
        """Return the earliest deadline of each risk band."""
        rows = self._database.rows("flow_deadlines", risk_bands=json.dumps(list(RiskBand)))
        return {band: from_ms(deadline) for band, deadline in rows if deadline is not None}
