"""History, which is kept in the items that it is about.

Numbers are given before the write, so a line may show up after one with a higher number. A reader who finds lines
younger than the settling time therefore waits that long, looks again, and shows what is older than its first look: who
goes on behind the last number misses nothing, unless a commit takes longer than the settling time.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import key_of
from functions._adapters.dynamodb.records import history_of
from functions._adapters.dynamodb.values import Item, to_integer
from functions._adapters.dynamodb.writing import Writer
from functions._core.records.history import HistoryEntry
from functions._core.records.values import RiskBand

MARGIN = timedelta(minutes=1)
"""How far the clocks of processes may be apart."""

FLOWS_AT_ONCE = 16


class History:
    """Reads history; `settle` is how long a commit may take, in seconds."""

    def __init__(self, writer: Writer, settle: float) -> None:
        self._writer = writer
        self._table = writer.table
        self._settle = settle

    async def page(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """Return lines of a flow, or of all, with numbers above `after`, in order."""
        now = self._writer.stamps.now()
        found = await self._look(flow_id, after, limit)
        youngest = found[-1].seq if found else 0
        if youngest > now - self._settle * 1_000_000:
            await asyncio.sleep(self._settle)
            found = [entry for entry in await self._look(flow_id, after, limit) if entry.seq <= max(now, youngest)]
        return found

    @property
    def settled(self) -> int:
        """The number up to which every commit is done by now."""
        return max(0, self._writer.stamps.now() - int(self._settle * 1_000_000))

    async def _look(self, flow_id: str | None, after: int, limit: int) -> list[HistoryEntry]:
        found = await (self._of_all(after, limit) if flow_id is None else self._of(keys.of_flow(flow_id), after))
        return _cut(sorted(found, key=lambda entry: (entry.seq, entry.flow_id, entry.ticket_id or "")), limit)

    async def _of(self, partition: str, after: int) -> list[HistoryEntry]:
        items = await self._table.query(partition, "C#", "T#" + keys.LAST)
        again = [item for item in items if "dr" in item and await self._writer.drafts.finished(item)]
        if again:
            items = await self._table.query(partition, "C#", "T#" + keys.LAST)
        return [entry for item in items for entry in history_of(self._table, item) if entry.seq > after]

    async def _of_all(self, after: int, limit: int) -> list[HistoryEntry]:
        """Merge the flows: one that was stored after enough lines of others were found need not be read."""
        found: list[HistoryEntry] = []
        flows = await self._flows_since(after)
        for start in range(0, len(flows), FLOWS_AT_ONCE):
            some = flows[start : start + FLOWS_AT_ONCE]
            if sum(entry.seq < some[0][0] for entry in found) > limit:
                break
            pages = await asyncio.gather(*(self._of(partition, after) for _, partition in some))
            found += [entry for page in pages for entry in page]
        loose = await self._table.sharded("listing", "HISTORY", keys.number(after + 1), limit=limit + 1)
        seen = {partition for _, partition in flows}
        items = await self._writer.read_all([key_of(entry) for entry in loose if entry["pk"]["S"] not in seen])
        return found + [
            entry for item in items.values() for entry in history_of(self._table, item) if entry.seq > after
        ]

    async def _flows_since(self, after: int) -> list[tuple[int, str]]:
        """Return the partitions of flows that may have lines above `after`, by the flows' positions."""
        queries = [self._standing(f"LIVE#{band.value}", "") for band in RiskBand]
        ended = max(datetime.fromtimestamp(after / 1_000_000, tz=UTC) - MARGIN, datetime(1970, 1, 1, tzinfo=UTC))
        pages = await asyncio.gather(*queries, self._standing("ENDED", keys.moment(ended) if after else ""))
        return sorted((to_integer(entry, "p"), entry["pk"]["S"]) for page in pages for entry in page)

    async def _standing(self, partition: str, first: str) -> list[Item]:
        return await self._table.query(partition, first, index="standing", keys=("sp", "ss"))


def _cut(entries: list[HistoryEntry], limit: int) -> list[HistoryEntry]:
    """Return a page that does not end between lines with one number, so that nobody goes on behind half of them."""
    shown = entries[:limit]
    if len(entries) > limit and entries[limit].seq == shown[-1].seq != shown[0].seq:
        return [entry for entry in shown if entry.seq < shown[-1].seq]
    return shown
