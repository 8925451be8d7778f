"""Numbers over many flows, each from a walk along the index of what is counted."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from functions._adapters.documents import fill_async
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import key_of
from functions._adapters.dynamodb.records import readable, readable_all
from functions._adapters.dynamodb.values import Item, to_integer, to_text
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

    async def ended(self, since: datetime, until: datetime, limit: int) -> Sequence[Flow]:
        """Return flows that ended within a span, the last to end first; entries of the index may be behind."""
        first, last = keys.moment(since), keys.moment(until)

        async def read(number: int) -> tuple[int, list[Flow]]:
            entries = await self._table.query(
                "ENDED", first, last, index="standing", keys=STANDING, limit=number, newest=True
            )
            flows = await self._flows(entries)
            found = [(flow.ended_at, flow) for flow in flows if flow.ended_at and since <= flow.ended_at < until]
            return len(entries), [flow for _, flow in sorted(found, key=lambda one: one[0], reverse=True)]

        return await fill_async(limit, read)

    async def under_way(self, limit: int) -> Sequence[Flow]:
        """Return flows that have not ended; of each risk band those with the earliest deadlines are found first."""
        found: list[Flow] = []

        async def read(band: RiskBand, number: int) -> tuple[int, list[Flow]]:
            entries = await self._table.query(f"LIVE#{band.value}", index="standing", keys=STANDING, limit=number)
            return len(entries), [flow for flow in await self._flows(entries) if flow.ended_at is None]

        for band in RiskBand:
            if len(found) < limit:
                found += await fill_async(limit - len(found), partial(read, band))
        return found

    async def _flows(self, entries: Sequence[Item]) -> list[Flow]:
        items = await self._table.get_all([key_of(entry) for entry in entries])
        return await readable_all(self._table, Flow, items.values())

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
