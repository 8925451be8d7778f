"""A DynamoDB table in memory, which counts what is asked of it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile
from typing import Any

from functions._adapters.dynamodb.client import RequestRefused
from functions._cost import capacity
from functions._cost.expressions import Expression, Item
from functions._cost.ledger import CALLS, READS, WRITES, CostLedger

Key = tuple[str, str]

PAGE = 1_000_000
"""Bytes of the items that one query looks at."""


class MemoryTable:
    """A client of DynamoDB with one table in it, which enters the units that requests take into `ledger`."""

    def __init__(self, ledger: CostLedger) -> None:
        self._ledger = ledger
        self._items: dict[str, dict[str, Item]] = {}
        self._entries: dict[tuple[str, str], dict[Key, Item]] = {}

    @property
    def bytes(self) -> int:
        """What the items and the entries of indexes take, with what is added to each."""
        items = [item for part in self._items.values() for item in part.values()]
        entries = [entry for part in self._entries.values() for entry in part.values()]
        return sum(capacity.size(one) + capacity.ADDED for one in (*items, *entries))

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call; raises `RequestRefused`."""
        self._ledger.add(CALLS, 1, operation)
        answer: Mapping[str, Any] = getattr(self, f"_{operation}")(arguments)
        return answer

    def _get_item(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        item = self._read(_key(arguments["Key"]))
        return {} if item is None else {"Item": item}

    def _batch_get_item(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        ((table, wanted),) = arguments["RequestItems"].items()
        items = [self._read(_key(key)) for key in wanted["Keys"]]
        return {"Responses": {table: [item for item in items if item is not None]}}

    def _batch_write_item(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        for request in next(iter(arguments["RequestItems"].values())):
            if "PutRequest" in request:
                item = dict(request["PutRequest"]["Item"])
                self._write(_key(item), item)
            else:
                self._write(_key(request["DeleteRequest"]["Key"]), None)
        return {}

    def _update_item(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        key = _key(arguments["Key"])
        after = self._changed(key, arguments, delete=False)
        if after is None:
            raise self._refused([key], {"Item": self._at(key) or {}}, transaction=False)
        self._write(key, after)
        return {"Attributes": after} if "ReturnValues" in arguments else {}

    def _delete_item(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        key = _key(arguments["Key"])
        before = self._at(key)
        if not self._holds(key, arguments):
            raise self._refused([key], {"Item": before or {}}, transaction=False)
        self._write(key, None)
        return {"Attributes": before} if before is not None and "ReturnValues" in arguments else {}

    def _transact_write_items(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        writes = [(_key(one["Key"]), name, one) for write in arguments["TransactItems"] for name, one in write.items()]
        held = [self._holds(key, one) for key, _, one in writes]
        if not all(held):
            reasons = [
                {"Code": "None"} if holds else {"Code": "ConditionalCheckFailed", "Item": self._at(key) or {}}
                for holds, (key, _, _) in zip(held, writes, strict=True)
            ]
            raise self._refused([key for key, _, _ in writes], {"CancellationReasons": reasons}, transaction=True)
        for key, name, one in writes:
            self._write(key, self._changed(key, one, delete=name == "Delete"), transaction=True)
        return {}

    def _query(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        values, index = arguments["ExpressionAttributeValues"], arguments.get("IndexName", "")
        second = capacity.INDEXES[index][1] if index else "sk"
        partition = values[":p"]["S"]
        items = list(self._entries.get((index, partition), {}).values()) if index else self._partition(partition)
        items.sort(key=lambda item: (item[second]["S"], item["sk"]["S"]), reverse=not arguments["ScanIndexForward"])
        text = arguments["KeyConditionExpression"]
        found = (item for item in items if Expression(text, arguments, item).holds())
        return self._answer(found, arguments, f"query {index or 'table'}", second if index else "")

    def _scan(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        items = (item for partition in sorted(self._items) for item in self._partition(partition))
        return self._answer(items, {**arguments, "ConsistentRead": False}, "scan", "")

    def _answer(
        self, items: Iterator[Item], arguments: Mapping[str, Any], what: str, index_key: str
    ) -> Mapping[str, Any]:
        """Return one page, from behind where the last one ended."""
        if (start := arguments.get("ExclusiveStartKey")) is not None:
            items = iter(list(dropwhile(lambda item: _key(item) != _key(start), items))[1:])
        page, bytes_ = list[Item](), 0
        for item in items:
            page.append(item)
            bytes_ += capacity.size(item)
            if len(page) == arguments.get("Limit") or bytes_ > PAGE:
                break
        self._ledger.add(READS, capacity.of_query(bytes_, consistent=arguments["ConsistentRead"]), what)
        wanted = arguments.get("FilterExpression", "")
        answer: dict[str, Any] = {"Items": [one for one in page if Expression(wanted, arguments, one).holds()]}
        if next(items, None) is not None:
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in ("pk", "sk", index_key) if name}
        return answer

    def _refused(self, keys: Sequence[Key], answer: Mapping[str, Any], *, transaction: bool) -> RequestRefused:
        """Return the error of a condition that did not hold: the write is paid for all the same."""
        for key in keys:
            units = capacity.of_write(self._at(key), None, transaction=transaction)
            self._ledger.add(WRITES, units["table"], f"{_kind(key)} refused")
        return RequestRefused(answer)

    def _read(self, key: Key) -> Item | None:
        item = self._at(key)
        self._ledger.add(READS, capacity.of_get(item), f"get {_kind(key)}")
        return item

    def _at(self, key: Key) -> Item | None:
        return self._items.get(key[0], {}).get(key[1])

    def _partition(self, partition: str) -> list[Item]:
        items = self._items.get(partition, {})
        return [items[name] for name in sorted(items)]

    def _holds(self, key: Key, arguments: Mapping[str, Any]) -> bool:
        return Expression(arguments.get("ConditionExpression", ""), arguments, self._at(key) or {}).holds()

    def _changed(self, key: Key, arguments: Mapping[str, Any], *, delete: bool) -> Item | None:
        """Return the item as an update leaves it, None where a condition does not hold or it is deleted."""
        if delete or not self._holds(key, arguments):
            return None
        before = self._at(key) or {"pk": {"S": key[0]}, "sk": {"S": key[1]}}
        return Expression(arguments["UpdateExpression"], arguments, before).updated()

    def _write(self, key: Key, after: Item | None, *, transaction: bool = False) -> None:
        before = self._at(key)
        for where, count in capacity.of_write(before, after, transaction=transaction).items():
            how = "in transactions" if transaction else "alone"
            self._ledger.add(WRITES, count, f"{_kind(key)} {how if where == 'table' else 'in ' + where}")
        for index, partition in _entries(before):
            del self._entries[index, partition][key]
        for index, partition in _entries(after):
            self._entries.setdefault((index, partition), {})[key] = dict(capacity.entry(after, index))
        if after is None:
            self._items.get(key[0], {}).pop(key[1], None)
        else:
            self._items.setdefault(key[0], {})[key[1]] = after


def _entries(item: Item | None) -> Iterator[tuple[str, str]]:
    for index, (first, _, _) in capacity.INDEXES.items():
        if found := capacity.entry(item, index):
            yield index, found[first]["S"]


def _key(item: Mapping[str, Any]) -> Key:
    return item["pk"]["S"], item["sk"]["S"]


KINDS = {
    "F": "flow",
    "T": "ticket",
    "A": "audit",
    "B": "decision",
    "H": "history",
    "C": "head of a step",
    "P": "page",
    "L": "label",
    "S": "second attempt",
}


def _kind(key: Key) -> str:
    """Return what kind of item a key is of."""
    if key[0].startswith("F#"):
        return KINDS[key[1].partition("#")[0]]
    return {"T": "pointer"}.get(key[0].partition("#")[0], key[0].partition("#")[0].lower())
