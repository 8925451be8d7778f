"""Events at rest: queued, waiting for the telemetry sink, or given up."""

from collections.abc import Collection, Sequence
from datetime import datetime

from functions._adapters.documents import fill_async
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import ItemChange, address, key_of
from functions._adapters.dynamodb.listing import listed_items
from functions._adapters.dynamodb.outbox import EVERYBODY, Outbox
from functions._adapters.dynamodb.records import event_of, letter_change, parsed, readable, record_of
from functions._adapters.dynamodb.table import PATIENCE, Table, parts_of
from functions._adapters.dynamodb.values import Item, integer, text, to_integer, to_text
from functions._adapters.dynamodb.writing import Moved, Writer
from functions._adapters.pages import MAX_POSITION, page, position_of
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Queued
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.set_aside import RecordKind

LEASE = 10_000_000
"""Microseconds for which a process counts as alive after it has said so."""

TAKEN_AT_ONCE = 100


class DynamoQueue:
    """The `EventQueue`. What dead processes own is taken over by another."""

    def __init__(self, writer: Writer, outbox: Outbox) -> None:
        self._writer = writer
        self._table = writer.table
        self._outbox = outbox

    async def enqueue(self, events: Sequence[CloudEvent]) -> None:
        """Add events whose ids are not queued already, for this process to handle."""
        if events:
            first = self._writer.stamps.take(len(events), events[0].id)
            await self._writer.each(list((await self._outbox.carry({}, events, {}, first)).values()))

    async def pending(self, after: int, limit: int) -> Sequence[Queued]:
        """Return queued events of this process with `position` above `after`, in order."""

        async def first(number: int) -> tuple[int, list[Queued]]:
            places = await self._outbox.places(None, after, number)
            found = [await self._outbox.queued(place) for place in places]
            return len(places), [queued for queued in found if queued is not None]

        return await fill_async(limit, first)

    async def take_over(self) -> int:
        """Say that this process is alive, and make its own what nobody else is to handle; return how many events."""
        await self.enter()
        now, taken = self._writer.stamps.now(), 0
        for row in await self._table.query(keys.PROCESSES):
            owner = row["sk"]["S"]
            if owner != self._outbox.owner and to_integer(row, "un") <= now:
                taken += await self._take(owner, row)
        return taken

    async def _take(self, owner: str, row: Item) -> int:
        taken = 0
        entries = await self._table.query(f"O#{owner}", index="outbox", keys=("op", "os"), limit=TAKEN_AT_ONCE)
        if not entries:
            await self._if_same(ItemChange(key_of(row), equal={"un": row["un"]}, delete=True))
        items = await self._writer.read_all([key_of(entry) for entry in entries])
        for key, item in items.items():
            mine = ItemChange(key, sets={"op": text(f"O#{self._outbox.owner}")}, equal={"op": text(f"O#{owner}")})
            if await self._if_same(mine):
                taken += len(item.get("ob", {"L": []})["L"])
        return taken

    async def _if_same(self, change: ItemChange) -> bool:
        try:
            await self._writer.write([change])
        except Moved:
            return False
        return True

    async def enter(self) -> None:
        """Say that this process is alive; what everybody owns needs nobody alive."""
        if self._outbox.owner == EVERYBODY:
            return
        until = self._writer.stamps.now() + LEASE
        await self._writer.write([ItemChange((keys.PROCESSES, self._outbox.owner), sets={"un": integer(until)})])

    async def leave(self) -> None:
        """Leave what is queued to others at once."""
        if self._outbox.owner == EVERYBODY:
            return
        await self._writer.write([ItemChange((keys.PROCESSES, self._outbox.owner), sets={"un": integer(0)})])

    async def postpone(self, event_id: str, attempts: int, not_before: datetime) -> None:
        """Record a failed try and when the next one is due."""
        for _ in range(PATIENCE):
            try:
                for change in await self._outbox.postponed(event_id, attempts, not_before):
                    await self._writer.write([change])
            except Moved:
                continue
            return
        raise Unavailable("The queue is busy.")

    async def dead_letter(self, event_id: str, letter: DeadLetter) -> None:
        """Move an event to the dead letters."""
        for _ in range(PATIENCE):
            change = await letter_change(self._table, letter, self._writer.stamps.take(1, letter.letter_id))
            changes = await self._outbox.without(event_id, {change.key: change})
            try:
                await self._writer.write(list(changes.values()))
            except Moved:
                continue
            await self._outbox.clean(event_id)
            self._table.set_aside.gone(RecordKind.QUEUED_EVENT, event_id)
            return
        raise Unavailable("The queue is busy.")

    async def depth(self) -> int:
        """Return how many events are queued, by whomever."""
        rows = await self._table.query(keys.PROCESSES)
        owners = {EVERYBODY, self._outbox.owner, *(row["sk"]["S"] for row in rows)}
        return sum([len(await self._outbox.places(owner)) for owner in sorted(owners)])


class DynamoTelemetryBuffer:
    """The `TelemetryBuffer`; an entry counts as buffered at the time of its event."""

    def __init__(self, writer: Writer) -> None:
        self._table = writer.table

    async def oldest(self, limit: int, *, after: int = 0) -> Sequence[tuple[int, datetime, CloudEvent]]:
        """Return the oldest entries behind `after` with their positions and times."""

        async def first(number: int) -> tuple[int, list[tuple[int, datetime, CloudEvent]]]:
            items = await self._items(keys.number(after + 1), number)
            found = [(int(item["sk"]["S"]), await parsed(self._table, item, event_of)) for item in items]
            return len(items), [(position, event.time, event) for position, event in found if event is not None]

        return await fill_async(limit, first)

    async def forget(self, positions: Collection[int]) -> None:
        """Remove entries that were published."""
        wanted = [(keys.TELEMETRY, keys.number(position)) for position in positions]
        for position in positions:
            self._table.set_aside.gone(RecordKind.TELEMETRY, position)
        large = [item for item in (await self._table.get_all(wanted)).values() if "dp" in item] if wanted else []
        parts = [part for item in large for part in parts_of(keys.TELEMETRY, to_text(item, "dp") or "")]
        await self._table.delete_all([*wanted, *parts])

    async def size(self) -> int:
        """Return how many entries wait."""
        return len(await self._items("0", None))

    async def _items(self, first: str, limit: int | None) -> list[Item]:
        return await self._table.query(keys.TELEMETRY, first, "A", limit=limit)


class DynamoDeadLetters:
    """The `DeadLetters`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._table = writer.table

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the same `letter_id` again replaces it, in its old place."""
        await self._writer.write(
            [await letter_change(self._table, letter, self._writer.stamps.take(1, letter.letter_id))]
        )

    async def letters(self, cursor: str | None, limit: int) -> tuple[Sequence[DeadLetter], str | None]:
        """Return letters, the newest first."""
        before = position_of(cursor, start=MAX_POSITION)

        async def first(number: int) -> tuple[int, list[tuple[int, DeadLetter]]]:
            items = await listed_items(self._writer, "LETTER", bool, number, before=before)
            found = [(at, await readable(self._table, DeadLetter, item)) for at, item in items]
            return len(items), [(at, letter) for at, letter in found if letter is not None]

        return page(await fill_async(limit + 1, first), limit)

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """Return one letter."""
        item = await self._table.get(keys.letter_key(letter_id))
        return None if item is None else await record_of(self._table, DeadLetter, item)

    async def drop(self, letter_id: str) -> bool:
        """Forget a letter; tell whether it was there."""
        return await drop_letter(self._table, keys.letter_key(letter_id))


async def drop_letter(table: Table, key: keys.Key) -> bool:
    """Forget a letter with its parts; tell whether it was there."""
    arguments = {"TableName": table.name, "Key": address(key), "ReturnValues": "ALL_OLD"}
    table.set_aside.gone(RecordKind.DEAD_LETTER, key[0].removeprefix("LETTER#"))
    old = (await table.client.call("delete_item", arguments)).get("Attributes")
    if old and (reference := to_text(old, "dp")):
        await table.delete_all(parts_of(key[0], reference))
    return bool(old)
