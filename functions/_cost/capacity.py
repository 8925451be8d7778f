"""How DynamoDB bills a request on demand: by the items that it reads and writes.

A write takes a unit for each KiB of the larger of the item before and after, twice that within a transaction. An index
takes a unit for each KiB of an entry that is put, changed or removed, and both for one that moves to another key; a
transaction makes no difference to it. A read takes a unit for each 4 KiB, half of that where it need not be consistent.
So AWS documents it, and so those have measured it who hold emulators against it.
"""

from collections.abc import Collection, Mapping
from typing import Any

from functions._adapters.dynamodb.schema import GLOBAL_INDEXES

Item = Mapping[str, Any]

WRITTEN, READ = 1024, 4096

ADDED = 100
"""Bytes that are stored with each item and each entry of an index."""

INDEXES: Mapping[str, tuple[str, str, Collection[str]]] = GLOBAL_INDEXES
"""Hash key, range key and what is copied beside them: all indexes are global."""


def size(item: Item) -> int:
    """Return the bytes that an item counts for."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Item) -> int:
    ((kind, plain),) = value.items()
    if kind == "S":
        return len(str(plain).encode("utf-8", "surrogatepass"))
    if kind == "N":
        return 1 + (len(plain.lstrip("-").strip("0")) + 1) // 2 + int(plain.startswith("-"))
    if kind == "L":
        return 3 + sum(1 + _size(one) for one in plain)
    if kind == "M":
        return 3 + sum(1 + len(name) + _size(one) for name, one in plain.items())
    return len(plain) if kind == "B" else 1


def units(bytes_: int, each: int) -> int:
    """Return units of `each` bytes, one at least."""
    return max(1, -(-bytes_ // each))


def entry(item: Item | None, index: str) -> Item:
    """Return what an index keeps of an item, nothing if it is not in it."""
    first, second, copied = INDEXES[index]
    if item is None or first not in item or second not in item:
        return {}
    return {name: item[name] for name in ("pk", "sk", first, second, *copied) if name in item}


def of_write(before: Item | None, after: Item | None, *, transaction: bool) -> Mapping[str, int]:
    """Return the units of one item's write: of `table`, and of each index that it changes."""
    table = units(max(size(before or {}), size(after or {})), WRITTEN)
    found = {"table": 2 * table if transaction else table}
    for index in INDEXES:
        old, new = entry(before, index), entry(after, index)
        if old == new:
            continue
        moved = old and new and any(old[key] != new[key] for key in INDEXES[index][:2])
        each = [units(size(one), WRITTEN) for one in (old, new) if one]
        found[index] = sum(each) if moved else max(each)
    return found


def of_get(item: Item | None) -> int:
    """Return the units of reading one item consistently."""
    return units(size(item or {}), READ)


def of_query(bytes_: int, *, consistent: bool) -> float:
    """Return the units of a query or scan that has looked at so many bytes."""
    return units(bytes_, READ) * (1 if consistent else 0.5)
