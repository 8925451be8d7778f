"""Numbers over many flows, each from a walk along the index of what is counted."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import key_of
from functions._adapters.dynamodb.records import readable
from functions._adapters.dynamodb.values import to_integer, to_text
from functions._adapters.dynamodb.writing import Writer
from functions._core.records.models import Flow
from functions._core.records.statistics import FlowStatistics
from functions._core.records.values import Outcome, RiskBand

STANDING = ("sp", "ss")

LOOKED_AT = 4
"""Flows that are looked at first for one without an outcome; when all of them have one, more are."""


class DynamoStatistics:
    """The `Statistics`."""

    def __init__(self, writer: Writer) -> None:
        self._table = writer.table

    async def flows(self, since: datetime | None) -> FlowStatistics:
        """Return the numbers of the flows that have ended since then."""
        first = "0" if since is None else keys.moment(since)
        ended, *live = await asyncio.gather(
            self._table.query("ENDED", first, index="standing", keys=STANDING),
            *(self._table.query(f"LIVE#{band.value}", index="standing", keys=STANDING) for band in RiskBand),
        )
        latencies = sorted(to_integer(entry, "ms") for entry in ended)
        return FlowStatistics(
            ended=len(ended),
            completed=sum(to_text(entry, "eo") == Outcome.COMPLETED.value for entry in ended),
            average_ms=sum(latencies) / len(latencies) if latencies else None,
            p95_ms=latencies[-(-95 * len(latencies) // 100) - 1] if latencies else None,
            active=sum(map(len, live)),
        )

    async def deadlines(self) -> Mapping[str, datetime]:
        """Return the earliest deadline of each risk band."""
        earliest = await asyncio.gather(*(self._earliest(band) for band in RiskBand))
        return {band.value: at for band, at in zip(RiskBand, earliest, strict=True) if at}

    async def _earliest(self, band: RiskBand) -> datetime | None:
        limit = LOOKED_AT
        while True:
            entries = await self._table.query(
                f"LIVE#{band.value}", "0", keys.LATEST, index="standing", keys=STANDING, limit=limit
            )
            items = await self._table.get_all([key_of(entry) for entry in entries])
            for entry in entries:
                item = items.get(key_of(entry))
                flow = None if item is None else await readable(self._table, Flow, item)
                if flow is not None and flow.outcome is None:
                    return keys.read_moment(entry["ss"]["S"]).astimezone(UTC)
            if len(entries) < limit:
                return None
            limit *= 4
