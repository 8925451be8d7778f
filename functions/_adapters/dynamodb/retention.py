"""Removing what has been kept long enough."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import ItemChange, address, key_of
from functions._adapters.dynamodb.flows import DECISION
from functions._adapters.dynamodb.mail import drop_letter
from functions._adapters.dynamodb.plans import as_stored
from functions._adapters.dynamodb.records import NO_FLOW, history_element, history_of, is_record
from functions._adapters.dynamodb.table import Table, parts_of
from functions._adapters.dynamodb.values import Item, listed, to_integer, to_text
from functions._adapters.dynamodb.writing import Writer
from functions._core.errors import Conflict

STANDING = ("sp", "ss")
TICK = timedelta(microseconds=1)


class DynamoRetention:
    """The `Retention`. A flow that changes meanwhile is left for the next time."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._table = writer.table

    async def forget_ended(self, before: datetime, limit: int) -> int:
        """Remove records of flows that ended, and actions on no flow that were taken, before `before`."""
        left, last = limit, keys.moment(before - TICK)
        for entry in await self._table.query("ENDED", "0", last, index="standing", keys=STANDING, limit=limit):
            if left:
                left -= await self._forget(entry["pk"]["S"], left)
        if left:
            actions = await self._table.query(
                NO_FLOW, "0", last + "#" + keys.LAST, index="standing", keys=STANDING, limit=left
            )
            await self._table.delete_all([key_of(action) for action in actions])
            left -= len(actions)
        return limit - left

    async def drop_letters(self, keep: int, limit: int) -> int:
        """Drop the oldest letters beyond `keep`."""
        entries = await self._table.sharded("listing", "LETTER")
        excess = entries[: max(0, min(len(entries) - keep, limit))]
        return sum([await drop_letter(self._table, key_of(entry)) for entry in excess])

    async def forget_expired(self, now: datetime, limit: int) -> int:  # noqa: ARG002 nothing is left to do
        """Do nothing: the table removes what has expired (its `ttl`)."""
        return 0

    async def forget_deliveries(self, before: datetime, limit: int) -> int:  # noqa: ARG002 likewise
        """Do nothing: the table removes what is old."""
        return 0

    async def _forget(self, partition: str, limit: int) -> int:
        """Remove up to `limit` records of a flow, its own last; return how many."""
        row = await self._writer.read((partition, keys.FLOW))
        if row is None:
            return 0
        items = await self._own_items(row, await self._table.query(partition))
        left = limit
        for item in [item for item in items if item["sk"]["S"][:2] in {"T#", "H#", "A#"}]:
            left -= await self._remove(item, left)
        name = partition.removeprefix("F#")
        letters = await self._table.query(f"LETTERS#{name}", index="standing", keys=STANDING)
        for entry in letters[:left]:
            left -= await drop_letter(self._table, key_of(entry))
        if left and (reference := to_text(row, f"{DECISION}p")):
            left -= 1
            if left <= _lines(self._table, row):  # otherwise it goes with the row
                await self._table.delete_all(parts_of(partition, reference))
                await self._writer.write([ItemChange(key_of(row), removes=[f"{DECISION}p"])])
        if left:
            left -= await self._remove_row(row, items, left)
        return limit - left

    async def _own_items(self, row: Item, items: Sequence[Item]) -> Sequence[Item]:
        """Return the items of a flow beside its row, with one for each ticket that had none, and without pages.

        Pages go first: what is removed after them must not be found on them again.
        """
        own = {key_of(item): item for item in items if item["sk"]["S"] != keys.FLOW and item["sk"]["S"][:2] != "P#"}
        planned = self._writer.plans.among(items, row)
        untouched = [
            {**address(key), **as_stored(item)} for key, item in planned.items() if not is_record(own.get(key))
        ]
        await self._table.put_all(untouched)
        await self._table.delete_all([key_of(item) for item in items if item["sk"]["S"][:2] == "P#"])
        self._writer.plans.forget(row["pk"]["S"])
        return [*own.values(), *untouched]

    async def _remove(self, item: Item, limit: int) -> int:
        """Remove lines of history, then the record that they are kept in."""
        if limit <= 0:
            return 0
        key, lines = key_of(item), _lines(self._table, item)
        record = key[1][:2] != "H#" and ("v" in item or "k" in item)
        if lines + record > limit:
            await self._writer.write([_shortened(self._table, item, limit)])
            return limit
        gone = [key]
        if key[1].startswith("T#"):
            gone.append(keys.pointer_key(key[1].removeprefix("T#")))
        await self._table.delete_all(gone)
        return lines + record

    async def _remove_row(self, row: Item, items: Sequence[Item], limit: int) -> int:
        lines = _lines(self._table, row)
        try:
            if lines >= limit:
                await self._writer.write([_shortened(self._table, row, limit)])
                return limit
            rest = [key_of(item) for item in items if item["sk"]["S"][:2] in {"B#", "C#", "L#", "S#"}]
            await self._table.delete_all(rest)
            await self._writer.write([ItemChange(key_of(row), to_integer(row, "v"), delete=True)])
        except Conflict:
            return 0
        self._table.set_aside.flow_gone(row["pk"]["S"].removeprefix("F#"))
        return lines + 1


def _lines(table: Table, item: Item) -> int:
    return len(history_of(table, item))


def _shortened(table: Table, item: Item, count: int) -> ItemChange:
    """Return the change that removes the oldest `count` lines of history from an item."""
    left = history_element(history_of(table, item)[count:], key_of(item))
    return ItemChange(key_of(item), sets={"h": listed([left])}, equal={"h": item["h"]})
