"""Numbers over many flows, from indexes that hold only what is counted."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from functions._adapters.documents import read_rows
from functions._adapters.sql.postgres.database import SQL, PostgresDatabase, Rows
from functions._core.machine.tables import FLOWS_UNDER_WAY
from functions._core.records.models import Flow
from functions._core.records.set_aside import RecordKind, SetAside
from functions._core.records.statistics import FlowStatistics
from functions._core.records.values import RiskBand


class PostgresStatistics:
    """The `Statistics`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def flows(self, since: datetime | None) -> FlowStatistics:
        """Return the numbers of the flows that have ended since then."""
        under_way = sorted(status.value for status in FLOWS_UNDER_WAY)
        ((ended, completed, average, p95, active),) = await self._database.rows(
            "flow_statistics", since=since, under_way=under_way
        )
        return FlowStatistics(ended=ended, completed=completed, average_ms=average, p95_ms=p95, active=active)

    async def ended(self, since: datetime, until: datetime, limit: int) -> Sequence[Flow]:
        """Return flows that ended within a span, the last to end first."""
        return await self._database.filled(limit, SQL["flows_ended"], {"since": since, "until": until}, _flows)

    async def under_way(self, limit: int) -> Sequence[Flow]:
        """Return flows that have not ended."""
        under_way = sorted(status.value for status in FLOWS_UNDER_WAY)
        return await self._database.filled(limit, SQL["flows_under_way"], {"under_way": under_way}, _flows)

    async def deadlines(self) -> Mapping[str, datetime]:
        """Return the earliest deadline of each risk band."""
        rows = await self._database.rows("flow_deadlines", risk_bands=[band.value for band in RiskBand])
        return {band: deadline for band, deadline in rows if deadline is not None}


def _flows(aside: SetAside, rows: Rows) -> list[Flow]:
    return [flow for _, flow in read_rows(aside, RecordKind.FLOW, Flow, rows)]
