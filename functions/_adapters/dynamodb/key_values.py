"""Small records that belong to no flow: one item each, in a partition for each space.

`x` is the moment at which an entry expires. `ttl` is the same in seconds: by this attribute the table itself removes
items, within some days.
"""

from collections.abc import Sequence
from datetime import datetime
from math import ceil
from typing import Any

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import address
from functions._adapters.dynamodb.client import RequestRefused
from functions._adapters.dynamodb.values import Item, binary, integer, text, to_integer, to_text
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.key_values import fits, is_there, successor
from functions._core.errors import Conflict
from functions._core.ports import Clock, Entry

NAMES = {"#v": "v", "#x": "x"}
NOTHING = "(attribute_not_exists(#v) OR #x <= :now)"
AT_VERSION = "#v = :base AND (attribute_not_exists(#x) OR #x > :now)"


class DynamoKeyValues:
    """The `KeyValues`."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._table = writer.table
        self._clock = clock

    async def get(self, space: str, key: str) -> Entry | None:
        """Return the entry of a key, None when there is none."""
        item = await self._table.get((keys.space(space), key)) if fits(key) else None
        entry = None if item is None else _entry(item)
        return entry if entry and is_there(entry, self._clock.now()) else None

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        """Store a value in place of that of `version`; raise `Conflict` when the stored version is another one."""
        entry = successor(key, value, version, expires_at, self._clock.now())
        stamp = integer(self._writer.stamps.take(1, key))
        sets = {"b": binary(value), "v": integer(entry.version), "c": stamp}
        if expires_at is not None:
            sets |= {"x": text(keys.moment(expires_at)), "ttl": integer(ceil(expires_at.timestamp()))}
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in sets)
        update += " REMOVE #x, #ttl" if expires_at is None else ""
        arguments = {
            **self._conditional(space, key, version),
            "UpdateExpression": update,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        arguments["ExpressionAttributeNames"] |= {"#ttl": "ttl"} | {f"#{name}": name for name in sets}
        arguments["ExpressionAttributeValues"] |= {f":{name}": one for name, one in sets.items()}
        try:
            await self._table.client.call("update_item", arguments)
        except RequestRefused as refusal:
            # The client repeats a call whose answer was lost: then the item in the way is the one that was put.
            if refusal.reasons[0].get("Item", {}).get("c") != stamp:
                raise Conflict from refusal
        return entry

    async def remove(self, space: str, key: str, version: int) -> bool:
        """Remove the entry that is at `version`; tell whether it was there at that version."""
        if not fits(key) or version == 0:
            return False
        try:
            await self._table.client.call("delete_item", self._conditional(space, key, version))
        except RequestRefused:
            return False
        return True

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` entries behind `after`, in the order of keys."""
        now, found, last = self._clock.now(), list[Entry](), after or ""
        while len(found) < limit:
            first = f"{last}\0" if last else ""  # nothing sorts between a key and this
            items = await self._table.query(keys.space(space), first, limit=limit)
            found += (entry for entry in map(_entry, items) if is_there(entry, now))
            if len(items) < limit:
                break
            last = items[-1]["sk"]["S"]
        return found[:limit]

    def _conditional(self, space: str, key: str, version: int) -> dict[str, Any]:
        """Return the arguments of a write of a key that is at `version`."""
        values = {":now": text(keys.moment(self._clock.now()))} | ({":base": integer(version)} if version else {})
        return {
            "TableName": self._table.name,
            "Key": address((keys.space(space), key)),
            "ConditionExpression": AT_VERSION if version else NOTHING,
            "ExpressionAttributeNames": dict(NAMES),
            "ExpressionAttributeValues": values,
        }


def _entry(item: Item) -> Entry:
    expires_at = to_text(item, "x")
    return Entry(
        item["sk"]["S"],
        bytes(item["b"]["B"]),
        to_integer(item, "v"),
        None if expires_at is None else keys.read_moment(expires_at),
    )
