"""Steps that are too large for one transaction, made true by one write.

First every item gets what will become of it, as a draft beside what it is, on the conditions of the step. Then the
head of the step is written, together with the flow's own transition: from here on the step is done. Last, each item
is brought up to its draft, and the head is deleted.

Who reads an item with a draft looks for the head: where it is, the step is brought to its end first; where it is not,
the item is what it was. Who wants to write such an item waits, and after `PATIENT` takes the draft away, having put
down a head that says so: a head is written once, so a step is done or undone for all its items. A process that dies
before the head is written leaves drafts that mean nothing; one that dies after it leaves a head that is found by all
who read what has a draft, and by the sweep.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

from functions._adapters.dynamodb.changes import ItemChange, draft_of, drafted, key_of, request
from functions._adapters.dynamodb.client import RequestRefused
from functions._adapters.dynamodb.keys import FLOW, Key, due_entry, number
from functions._adapters.dynamodb.stamps import Stamps
from functions._adapters.dynamodb.table import AT_ONCE, PATIENCE, Table, pause
from functions._adapters.dynamodb.values import Item, text, texts, to_integer, to_text
from functions._core.errors import Conflict, Unavailable

T = TypeVar("T")

PATIENT = 10_000_000
"""Microseconds after which a step that is not done is taken for lost.

Thousands of items are written in less. An event that meets the drafts of a function that died is delivered again and
again, and in the end given up: until then the drafts have to be out of the way.
"""

SWEPT_AFTER = 5
"""Seconds after which the sweep looks at a head."""

HEAD = "C#"
DONE, UNDONE = "done", "undone"


class Drafts:
    """Writes large steps and finishes those of others."""

    def __init__(self, table: Table, stamps: Stamps) -> None:
        self._table = table
        self._stamps = stamps

    async def write(self, changes: Sequence[ItemChange]) -> None:
        """Apply all changes or none; raise `Conflict`."""
        flow = next((change for change in changes if change.key[1] == FLOW), None)
        rest = [change for change in changes if change is not flow]
        partition = rest[0].key[0] if flow is None else flow.key[0]
        digest = sha256(repr(changes).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        head = partition, f"{HEAD}{number(self._stamps.take(1, digest))}#{digest}"
        try:
            await self._builder(rest[0], head)  # alone: where another step is under way, it is mostly met here
            await self.each(rest[1:], lambda change: self._builder(change, head))
            await self._head(head, rest, flow)
        except BaseException:
            await self._undo(head, [change.key for change in rest])
            raise
        await self.finish(head)

    async def _builder(self, change: ItemChange, head: Key) -> None:
        draft = {"M": {"pk": text(head[0]), "sk": text(head[1]), "to": draft_of(change)}}
        sketch = change.but(sets={"dr": draft}, keeps={}, appends={}, adds={}, removes=(), delete=False)
        for attempt in range(PATIENCE):
            try:
                await self._table.client.call("update_item", request(sketch, self._table.name))
            except RequestRefused as refusal:
                item: Item = refusal.reasons[0].get("Item") or {}
                if refusal.passing:
                    await pause(attempt)
                elif "dr" not in item:
                    raise Conflict from refusal
                elif _head_of(item) == head:
                    return  # an earlier try has written it, whose answer was lost
                else:
                    await self.resolve(item)
            else:
                return
        raise Conflict

    async def _head(self, head: Key, rest: Sequence[ItemChange], flow: ItemChange | None) -> None:
        keys = json.dumps([change.key for change in rest])
        at = datetime.fromtimestamp(self._stamps.now() / 1_000_000 + SWEPT_AFTER, tz=UTC)
        sets = {
            "st": text(DONE),
            **texts(due_entry("flow", head[1], at)),
            **await self._table.packed(head[0], keys),
        }
        true = [_once(head, sets), *([flow] if flow else [])]
        writes = [{"Update": request(change, self._table.name)} for change in true]
        for attempt in range(PATIENCE):
            try:
                await self._table.client.call("transact_write_items", {"TransactItems": writes})
            except RequestRefused as refusal:
                if not refusal.passing:
                    raise Conflict from refusal
                await pause(attempt)
            else:
                return
        raise Conflict

    async def finished(self, item: Item) -> bool:
        """Bring the step of an item's draft to its end if it is done; tell whether it is."""
        head = _head_of(item)
        found = await self._table.get(head)
        if found is None or to_text(found, "st") != DONE:
            return False
        await self.finish(head)
        return True

    async def resolve(self, item: Item) -> None:
        """Make way: finish the step of an item's draft, or undo it if it is lost.

        Raises `Conflict` while it may still be done.
        """
        if await self.finished(item):
            return
        head = _head_of(item)
        if self._stamps.now() - int(head[1].split("#")[1]) < PATIENT:
            found = await self._table.get(head)
            if found is None:
                raise Conflict
        await self._undo(head, [key_of(item)])

    async def finish(self, head: Key) -> None:
        """Bring all items of a step that is done up to their drafts."""
        found = await self._table.get(head)
        if found is None:
            return
        if to_text(found, "st") == DONE:
            keys = [(pk, sk) for pk, sk in json.loads(await self._table.document(found) or b"[]")]
            items = await self._table.get_all(keys)
            await self.each([item for item in items.values() if "dr" in item and _head_of(item) == head], self._bring)
        await self._table.delete_all([head])

    async def _bring(self, item: Item) -> None:
        change = drafted(key_of(item), item["dr"]["M"]["to"])
        arguments = request(change.but(removes=[*change.removes, "dr"]), self._table.name)
        await self._if_same_draft(arguments, item)

    async def _undo(self, head: Key, keys: Sequence[Key]) -> None:
        """Take the drafts of a step away that must never be done."""
        if await self._state_of(head) == DONE:
            await self.finish(head)
            return
        items = await self._table.get_all(keys)
        mine = [item for item in items.values() if "dr" in item and _head_of(item) == head]
        await self.each(mine, self._strip)

    async def _state_of(self, head: Key) -> str | None:
        """Put down that a step must not be done, unless it is said already what it is; return what is said then."""
        undone = request(_once(head, {"st": text(UNDONE)}), self._table.name)
        for attempt in range(PATIENCE):
            try:
                await self._table.client.call("update_item", undone)
            except RequestRefused as refusal:
                if not refusal.passing:
                    return to_text(refusal.reasons[0].get("Item") or {}, "st")
                await pause(attempt)
            else:
                return UNDONE
        raise Conflict

    async def _strip(self, item: Item) -> None:
        if to_integer(item, "v") or len(item) > len(("pk", "sk", "dr")):
            arguments = request(ItemChange(key_of(item), removes=["dr"]), self._table.name)
        else:
            arguments = request(ItemChange(key_of(item), delete=True), self._table.name)
        await self._if_same_draft(arguments, item)

    async def _if_same_draft(self, arguments: dict[str, Any], item: Item) -> None:
        names = {**arguments["ExpressionAttributeNames"], "#pk": "pk", "#sk": "sk", "#dr": "dr"}
        draft = item["dr"]["M"]
        values = {**arguments.get("ExpressionAttributeValues", {}), ":hp": draft["pk"], ":hs": draft["sk"]}
        arguments |= {
            "ConditionExpression": "#dr.#pk = :hp AND #dr.#sk = :hs",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
        operation = "update_item" if "UpdateExpression" in arguments else "delete_item"
        for attempt in range(PATIENCE):
            try:
                await self._table.client.call(operation, arguments)
            except RequestRefused as refusal:
                if refusal.passing:
                    await pause(attempt)
                    continue
            return  # done, by this process or by another
        raise Unavailable("An item is busy.")

    async def each(self, values: Sequence[T], act: Callable[[T], Awaitable[None]]) -> None:
        """Do something with each value, some at once; raise what went wrong when all are through."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(value: T) -> None:
            async with turns:
                await act(value)

        answers = await asyncio.gather(*map(one, values), return_exceptions=True)
        if failed := next((answer for answer in answers if isinstance(answer, BaseException)), None):
            raise failed


def _once(head: Key, sets: dict[str, Item]) -> ItemChange:
    """Return the change that writes a head, which is written once: its version stands for that."""
    return ItemChange(head, 0, sets={"v": {"N": "1"}, **sets})


def _head_of(item: Item) -> Key:
    draft = item["dr"]["M"]
    return draft["pk"]["S"], draft["sk"]["S"]
