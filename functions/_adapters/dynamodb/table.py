"""Reading the table: pages, batches, and documents in parts."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb.changes import address, key_of
from functions._adapters.dynamodb.keys import SHARDS, Key
from functions._adapters.dynamodb.values import INLINE, Item, binary, cut, deflate, inflate, integer, text, to_text
from functions._core.errors import Unavailable
from functions._core.records.set_aside import SetAside

T = TypeVar("T")

GET_BATCH, WRITE_BATCH = 100, 25
PATIENCE = 8
"""How often what a batch left over, or what a transaction kept away from, is asked for again."""
AT_ONCE = 16

PLAIN = "dt"
"""Attribute of an item that holds its document as it is; such an item is shown and not stored (see `plans`)."""


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield `values` in pieces of at most `size`."""
    return (values[start : start + size] for start in range(0, len(values), size))


async def pause(attempt: int) -> None:
    """Wait before trying again: 10 ms, 20 ms, 40 ms …, half a second at most."""
    await asyncio.sleep(min(0.01 * 2**attempt, 0.5))


class Incomplete(Unavailable):
    """A document, or a part of one, is not there."""


class Table:
    """One table, read consistently unless an index is read."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.set_aside = SetAside()

    async def get(self, key: Key) -> Item | None:
        """Return an item, or None."""
        arguments = {"TableName": self.name, "Key": address(key), "ConsistentRead": True}
        answer = await self.client.call("get_item", arguments)
        return answer.get("Item")

    async def get_all(self, keys: Collection[Key]) -> Mapping[Key, Item]:
        """Return those of the items that exist."""
        pages = await asyncio.gather(*(self._get(chunk) for chunk in chunks(list(dict.fromkeys(keys)), GET_BATCH)))
        return {key_of(item): item for page in pages for item in page}

    async def _get(self, keys: Sequence[Key]) -> list[Item]:
        wanted: Mapping[str, Any] = {self.name: {"Keys": [address(key) for key in keys], "ConsistentRead": True}}
        items: list[Item] = []
        for attempt in range(PATIENCE):
            answer = await self.client.call("batch_get_item", {"RequestItems": wanted})
            items += answer.get("Responses", {}).get(self.name, [])
            wanted = answer.get("UnprocessedKeys") or {}
            if not wanted:
                return items
            await pause(attempt)
        raise Unavailable("DynamoDB answers only a part of what is asked for.")

    async def put_all(self, items: Sequence[Item]) -> None:
        """Put items whose content follows from their keys."""
        await self._batches([{"PutRequest": {"Item": item}} for item in items])

    async def delete_all(self, keys: Sequence[Key]) -> None:
        """Delete items, whatever they hold."""
        await self._batches([{"DeleteRequest": {"Key": address(key)}} for key in keys])

    async def _batches(self, requests: Sequence[Item]) -> None:
        await asyncio.gather(*(self._write(chunk) for chunk in chunks(requests, WRITE_BATCH)))

    async def _write(self, requests: Sequence[Item]) -> None:
        left: Mapping[str, Any] = {self.name: list(requests)}
        for attempt in range(PATIENCE):
            answer = await self.client.call("batch_write_item", {"RequestItems": left})
            left = answer.get("UnprocessedItems") or {}
            if not left:
                return
            await pause(attempt)
        raise Unavailable("DynamoDB takes only a part of what is written.")

    async def query(  # noqa: PLR0913 as many ways to ask as the operation has
        self,
        partition: str,
        first: str = "",
        last: str | None = None,
        *,
        index: str = "",
        keys: tuple[str, str] = ("pk", "sk"),
        limit: int | None = None,
        newest: bool = False,
        only: str = "",
        old: bool = False,
    ) -> list[Item]:
        """Return items, or entries of an index, of a partition, in order: from `first` to `last`, both included.

        `only` is a filter on `fu` against the text given. Items may be milliseconds `old`; entries always may.
        """
        condition, values = "#p = :p", {":p": text(partition)}
        names = {"#p": keys[0]}
        if first or last is not None:
            names["#s"] = keys[1]
            values[":a"] = text(first or " ")
            condition += " AND #s BETWEEN :a AND :b" if last is not None else " AND #s >= :a"
            if last is not None:
                values[":b"] = text(last)
        arguments: dict[str, Any] = {
            "TableName": self.name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ConsistentRead": not index and not old,
            "ScanIndexForward": not newest,
        }
        if index:
            arguments["IndexName"] = index
        if only:
            names["#f"] = "fu"
            values[":f"] = text(only)
            arguments["FilterExpression"] = "attribute_not_exists(#f) OR #f <= :f"
        return await self._pages("query", arguments, limit)

    async def scan(self, arguments: Mapping[str, Any]) -> list[Item]:
        """Return what a scan of the whole table finds."""
        return await self._pages("scan", {"TableName": self.name, **arguments}, None)

    async def _pages(self, operation: str, arguments: dict[str, Any], limit: int | None) -> list[Item]:
        found: list[Item] = []
        while True:
            if limit is not None and "FilterExpression" not in arguments:
                arguments["Limit"] = limit - len(found)
            answer = await self.client.call(operation, arguments)
            found += answer["Items"]
            if not answer.get("LastEvaluatedKey") or (limit is not None and len(found) >= limit):
                return found if limit is None else found[:limit]
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def sharded(
        self,
        index: str,
        kind: str,
        first: str = "",
        last: str | None = None,
        *,
        limit: int | None = None,
        newest: bool = False,
        shards: int = SHARDS,
    ) -> list[Item]:
        """Return the entries of an index that is cut into shards, in order."""
        keys = {"due": ("wp", "ws"), "listing": ("gp", "gs"), "standing": ("sp", "ss")}[index]
        partitions = [f"{kind}#{shard}" for shard in range(shards)]
        queries = (
            self.query(one, first, last, index=index, keys=keys, limit=limit, newest=newest) for one in partitions
        )
        entries = [entry for page in await asyncio.gather(*queries) for entry in page]
        entries.sort(key=lambda entry: (entry[keys[1]]["S"], entry["pk"]["S"], entry["sk"]["S"]), reverse=newest)
        return entries if limit is None else entries[:limit]

    async def packed(
        self, partition: str, document: str | bytes, name: str = "d", *, ttl: int | None = None
    ) -> Mapping[str, Item]:
        """Return the attributes that hold a document; what is too large is first put into parts of its own.

        Parts are named by what they hold, so nobody overwrites another's. The table removes them at `ttl`, in seconds
        since 1970; None: whoever removes the document does.
        """
        stored = deflate(document)
        return {name: binary(stored)} if len(stored) <= INLINE else await self._parted(partition, stored, name, ttl)

    async def parted(self, partition: str, document: str | bytes, name: str) -> Mapping[str, Item]:
        """Put a document that never changes into parts, whatever its size; return the attributes that lead to it."""
        return await self._parted(partition, deflate(document), name)

    async def _parted(self, partition: str, stored: bytes, name: str, ttl: int | None = None) -> Mapping[str, Item]:
        digest, parts = cut(stored)
        ends = {} if ttl is None else {"ttl": integer(ttl)}
        items = [
            {**address((partition, f"B#{digest}#{place:04d}")), "b": binary(part), **ends}
            for place, part in enumerate(parts)
        ]
        for item in items:
            await self.put_all([item])
        return {f"{name}p": text(f"{digest}#{len(parts)}")}

    async def document(self, item: Item, name: str = "d", partition: str | None = None) -> bytes | None:
        """Return the document that `packed` put into an item, None where there is none."""
        if PLAIN in item and name == "d":
            return bytes(item[PLAIN]["B"])
        if name in item:
            return inflate(bytes(item[name]["B"]))
        reference = to_text(item, f"{name}p")
        if reference is None:
            return None
        keys = parts_of(partition or item["pk"]["S"], reference)
        found = await self.get_all(keys)
        if len(found) < len(keys):
            raise Incomplete("A part of a document is not there.")
        return inflate(b"".join(bytes(found[key]["b"]["B"]) for key in keys))


def parts_of(partition: str, reference: str) -> list[Key]:
    """Return the keys of the parts of a document."""
    digest, _, count = reference.partition("#")
    return [(partition, f"B#{digest}#{place:04d}") for place in range(int(count))]
