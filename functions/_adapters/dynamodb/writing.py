"""Writing changes as a whole: one item by itself, up to a hundred as a transaction, more as drafts (see `drafts`)."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

from functions._adapters.dynamodb.changes import HISTORY_BYTES, ItemChange, key_of, request
from functions._adapters.dynamodb.client import AGAIN, RequestRefused
from functions._adapters.dynamodb.drafts import Drafts
from functions._adapters.dynamodb.due import DueEntries
from functions._adapters.dynamodb.keys import FLOW, TELEMETRY, Key, number
from functions._adapters.dynamodb.plans import Plans
from functions._adapters.dynamodb.stamps import Stamps
from functions._adapters.dynamodb.table import PATIENCE, Table, pause
from functions._adapters.dynamodb.values import Item, integer, to_integer
from functions._core.errors import Conflict, Rejected, Unavailable

ITEMS = 100
"""Items of a transaction."""

BYTES = 3_000_000
"""Of a transaction, as a rough count; 4 MB are the limit."""

TOO_LARGE = frozenset({"ValidationError", "ItemCollectionSizeLimitExceeded"})


class Moved(Conflict):
    """What must have been equal is not; nothing was written."""


class Writer:
    """Writes; and reads as one must who knows of drafts."""

    def __init__(self, table: Table, stamps: Stamps) -> None:
        self.table = table
        self.stamps = stamps
        self.drafts = Drafts(table, stamps)
        self.due = DueEntries(stamps)
        self.plans = Plans(table)

    async def read(self, key: Key) -> Item | None:
        """Return an item as the steps that are done left it."""
        return (await self.read_all([key])).get(key)

    async def read_all(self, keys: Collection[Key]) -> Mapping[Key, Item]:
        """Return those of the items that exist."""
        if not keys:
            return {}
        single = await self.table.get(next(iter(keys))) if len(keys) == 1 else None
        found = {key_of(single): single} if single else {} if len(keys) == 1 else await self.table.get_all(keys)
        stale = [key for key, item in found.items() if "dr" in item and await self.drafts.finished(item)]
        again = await self.table.get_all(stale) if stale else {}
        found = {**found, **again}
        for item in found.values():
            self.saw(item)
        for partition in (key[0] for key in keys if key[1] == FLOW and key not in found):
            self.plans.forget(partition)
        none = [key for key in keys if key[1].startswith("T#") and not to_integer(found.get(key, {}), "v")]
        return {**found, **await self.plans.find(none)} if none else found

    def saw(self, item: Item) -> None:
        """Take note of what an item says that was read."""
        self.stamps.seen(to_integer(item, "c"))
        self.due.saw(item)
        self.plans.saw(item)

    async def write(self, changes: Sequence[ItemChange]) -> None:
        """Apply all changes or none; raise `Conflict` when a version is another one, `Moved` for other conditions."""
        pending = list(changes)
        for attempt in range(PATIENCE):
            try:
                await self._apply(pending)
            except RequestRefused as refusal:
                pending = await self._answer(refusal, pending)
                await pause(attempt)
            else:
                return
        raise Unavailable("The items are busy.")

    async def _apply(self, changes: Sequence[ItemChange]) -> None:
        if not changes:
            return
        requests = [request(change, self.table.name) for change in changes]
        if len(changes) == 1:
            operation = "delete_item" if changes[0].delete else "update_item"
            await self.table.client.call(operation, requests[0])
        elif len(changes) <= ITEMS and sum(map(size, changes)) <= BYTES:
            writes = [
                {"Delete" if change.delete else "Update": one} for change, one in zip(changes, requests, strict=True)
            ]
            token = sha256(
                repr((self.stamps.take(1, changes[0].key[0]), requests)).encode("utf-8", "surrogatepass")
            ).hexdigest()[:32]
            await self.table.client.call("transact_write_items", {"TransactItems": writes, "ClientRequestToken": token})
        else:
            await self._check(changes)
            await self.drafts.write(changes)

    async def _check(self, changes: Sequence[ItemChange]) -> None:
        """Raise `Conflict` early, before hundreds of drafts are written for nothing."""
        found = await self.read_all([change.key for change in changes if change.version is not None])
        for change in changes:
            stored = to_integer(found.get(change.key, {}), "v")
            if change.version is not None and stored != change.version:
                raise Conflict

    async def _answer(self, refusal: RequestRefused, changes: list[ItemChange]) -> list[ItemChange]:
        """Return what to try instead; raise when there is nothing."""
        better = list(changes)
        hopeless: Exception | None = None
        for place, (change, reason) in enumerate(zip(changes, refusal.reasons, strict=False)):
            item: Item = reason.get("Item") or {}
            if not _failed(reason):
                continue
            if "dr" in item:
                await self.drafts.resolve(item)
            elif change.version is not None and to_integer(item, "v") != change.version:
                if len(changes) == 1 and _is_ours(change, item):
                    return []
                if not _is_at_position(change):
                    raise Conflict
                hopeless = Moved()
            elif _is_full(change, item):
                better[place], moved = _make_room(change, item)
                better.append(moved)
            else:
                hopeless = Moved()
        if hopeless:
            raise hopeless
        return better

    async def each(self, changes: Sequence[ItemChange]) -> None:
        """Apply changes one by one, as many at once as is good."""
        await self.drafts.each(changes, lambda change: self.write([change]))


def _failed(reason: Mapping[str, Any]) -> bool:
    """Whether a condition did not hold; raise what else has gone wrong for good."""
    code, message = reason.get("Code"), reason.get("Message", "")
    if code in TOO_LARGE:
        raise Rejected(f"It cannot be stored: {message}.", code="not_storable")
    if code not in {None, "None", "ConditionalCheckFailed", *AGAIN}:
        raise Unavailable(f"DynamoDB refuses a write: {code} {message}".strip())
    return code == "ConditionalCheckFailed"


def size(change: ItemChange) -> int:
    """Return about how many bytes a change takes."""
    values = [*change.sets.values(), *change.keeps.values(), *(one for many in change.appends.values() for one in many)]
    return 200 + sum(_size(value) for value in values)


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(len(name) + _size(one) for name, one in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 1


def _is_ours(change: ItemChange, item: Item) -> bool:
    """Whether the change was made by an earlier try whose answer was lost."""
    return "c" in change.sets and all(item.get(name) == value for name, value in change.sets.items())


def _is_at_position(change: ItemChange) -> bool:
    """Whether the key is a position, which another process may have given to something else: another one will do."""
    return change.key[0] == TELEMETRY or change.key[1][:2] in {"H#", "A#"}


def _is_full(change: ItemChange, item: Item) -> bool:
    return "h" in change.appends and to_integer(item, "hn") >= HISTORY_BYTES


def _make_room(change: ItemChange, item: Item) -> tuple[ItemChange, ItemChange]:
    """Return the change with nothing but its own history, and the change that keeps the history so far."""
    rest = {name: values for name, values in change.appends.items() if name != "h"}
    adds = {name: count for name, count in change.adds.items() if name != "hn"}
    sets = {**change.sets, "h": {"L": list(change.appends["h"])}, "hn": integer(change.adds["hn"])}
    emptied = change.but(sets=sets, appends=rest, adds=adds, equal={**change.equal, "c": item["c"]})
    moved = ItemChange((change.key[0], f"H#{number(to_integer(item, 'c'))}#{change.key[1]}"), sets={"h": item["h"]})
    return emptied, moved
