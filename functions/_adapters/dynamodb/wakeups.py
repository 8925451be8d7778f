"""The wake-ups of all live records, and the tickets that wait for a worker.

A claim moves the entry in the index on the condition that it is where it was found: of two sweepers one gets it. The
document keeps the true time; an entry may be earlier (see `due`), and is then moved there instead. One record that
cannot be read does not keep the others from being claimed: it comes due at its entry's time, and who acts on it fails.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import ItemChange, key_of, request
from functions._adapters.dynamodb.client import RequestRefused
from functions._adapters.dynamodb.drafts import HEAD
from functions._adapters.dynamodb.due import entry_of, moved_to
from functions._adapters.dynamodb.plans import PLAN, as_stored, wakes
from functions._adapters.dynamodb.records import readable, record_of
from functions._adapters.dynamodb.table import AT_ONCE, PATIENCE, chunks
from functions._adapters.dynamodb.values import Item, text, texts, to_integer
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.worker_claims import in_one_line, readable_requirements
from functions._core.placement.fair_queue import QueuePosition
from functions._core.ports import Due
from functions._core.records.models import Flow, Ticket
from functions._core.records.worker import Worker
from functions._core.rules import TICKETS_PER_TURN

NEVER = keys.read_moment(keys.NEVER)

LOOKED_AT = 4
"""Entries that are looked at first for the next wake-up; when all of them are early, more are."""


class DynamoWakeups:
    """The `Wakeups`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._table = writer.table

    async def claim_due(self, now: datetime, limit: int, lease: timedelta) -> Sequence[Due]:
        """Return up to `limit` records due at `now`, the oldest first; they come due again after `lease`."""
        claimed: list[Due] = []
        patience = PATIENCE
        while patience and len(claimed) < limit:
            last, wanted = keys.moment(now) + keys.LAST, limit - len(claimed)
            entries = await self._table.sharded("due", "W", last=last, limit=wanted)
            moved = await self._claim_all(entries, now, now + lease, wanted)
            claimed += [due for due in moved if due.at <= now]
            if len(entries) < wanted and not any(key_of(entry)[1].startswith(HEAD) for entry in entries):
                break
            patience -= not moved
        return sorted(claimed, key=lambda due: (due.at, due.kind, due.record_id))

    async def _claim_all(self, entries: Sequence[Item], now: datetime, until: datetime, limit: int) -> list[Due]:
        """Move entries that are due; return those that this process has moved, with the times of their records."""
        items = await self._table.get_all([key_of(entry) for entry in entries])
        moved: list[Due] = []
        for item in [item for item in items.values() if PLAN in item]:
            moved += await self._claim_untouched(item, now, until, limit - len(moved))
        for some in chunks(entries[: limit - len(moved)], AT_ONCE):
            claims = (self._claim_due(entry, items.get(key_of(entry)), now, until) for entry in some)
            answers = await asyncio.gather(*claims)
            moved += [due for due in answers if due]
        return moved

    async def _claim_untouched(self, row: Item, now: datetime, until: datetime, limit: int) -> list[Due]:
        """Give items of their own, which come due again `until`, to tickets on the pages of a plan that are due."""
        due = await self._writer.plans.untouched(row["pk"]["S"], keys.moment(now))
        items = [{**item, "ws": moved_to(keys.read_moment(wakes(item)), "ticket")} for item in due[:limit]]
        return [await self._due(item) for item in items if await self._touch(item, until)]

    async def _touch(self, item: Item, until: datetime) -> Item | None:
        entry = keys.due_entry("ticket", key_of(item)[1].removeprefix("T#"), until)
        return await self._claim(ItemChange(key_of(item), 0, sets={**as_stored(item), **texts(entry)}))

    async def _claim_due(self, entry: Item, item: Item | None, now: datetime, until: datetime) -> Due | None:
        key, kind = key_of(entry), entry_of(entry)[1]
        if key[1].startswith(HEAD) and await self._finished(key):
            return None
        if item is None or item.get("ws") != entry["ws"]:
            return None  # somebody else was faster than the index
        due = await self._due(item)
        at = until if due.at <= now else due.at
        if PLAN in item and (planned := await self._next_on_pages(key[0], keys.moment(now))):
            at = min(at, keys.read_moment(planned))
        change = ItemChange(key, to_integer(item, "v"), sets={"ws": moved_to(at, kind)}, equal={"ws": entry["ws"]})
        return due if await self._claim(change) else None

    async def _next_on_pages(self, partition: str, now: str) -> str:
        """Return the next wake-up of tickets on pages: of one that is due and was not claimed, or one to come."""
        left = await self._writer.plans.untouched(partition, now)
        return wakes(left[0]) if left else await self._writer.plans.next_after(partition, now)

    async def _finished(self, head: keys.Key) -> bool:
        """Bring a step to its end; tell whether that went well."""
        try:
            await self._writer.drafts.finish(head)
        except Exception:  # noqa: BLE001 its flow comes due instead: who acts on that meets the same and tells it
            return False
        return True

    async def _due(self, item: Item) -> Due:
        """Return what is due of an item that stands in the index, and when: at its entry's time or later."""
        if not key_of(item)[1].startswith(HEAD):
            with suppress(Exception):  # who acts on what cannot be read meets the same and tells it
                return await self._read(item)
        (found, kind), (partition, key) = entry_of(item), key_of(item)
        flow_id = None if kind == "worker" else partition.removeprefix("F#")
        record_id = key.removeprefix("T#") if kind != "flow" else str(flow_id)
        return Due(kind, record_id, flow_id, _later(found, None))

    async def _read(self, item: Item) -> Due:
        found, kind = entry_of(item)
        if kind == "worker":
            worker = await record_of(self._table, Worker, item)
            return Due(kind, worker.worker_id, None, _later(found, worker.next_wakeup_at))
        if kind == "flow":
            flow = await record_of(self._table, Flow, item)
            never = NEVER if PLAN in item else None  # its entry is there for the tickets on its pages
            return Due(kind, flow.flow_id, flow.flow_id, _later(found, flow.next_wakeup_at or never))
        ticket = await record_of(self._table, Ticket, item)
        return Due(kind, ticket.ticket_id, ticket.flow_id, _later(found, ticket.next_wakeup_at))

    async def next_due(self) -> datetime | None:
        """Return the earliest wake-up, or None when no record is live."""
        limit = LOOKED_AT
        while True:
            entries = await self._table.sharded("due", "W", limit=limit)
            items = await self._table.get_all([key_of(entry) for entry in entries])
            earliest: datetime | None = None
            for entry in entries:
                found = keys.read_moment(entry_of(entry)[0]).astimezone(UTC)
                if earliest and earliest <= found:
                    return earliest
                item = items.get(key_of(entry), {})
                if key_of(entry)[1].startswith(HEAD):
                    earliest = min(found, earliest or found)
                elif "ws" in item:
                    at = (await self._due(item)).at
                    if PLAN in item and (first := await self._writer.plans.untouched(item["pk"]["S"], keys.moment(at))):
                        at = keys.read_moment(wakes(first[0]))
                    earliest = min(at, earliest or at) if at < NEVER else earliest
            if len(entries) < limit:
                return earliest
            limit *= 4

    async def claim_waiting(
        self, offers: Collection[str] | None, now: datetime, limit: int, lease: timedelta
    ) -> Sequence[Ticket]:
        """Return up to `limit` waiting tickets whose requirement `offers` cover, by turn, slack and precedence."""
        covered = None if offers is None else frozenset(offers)
        wanted = [name for needs, name in await self._requirements() if covered is None or needs <= covered]
        claimed: list[tuple[str, Ticket]] = []
        for _ in range(PATIENCE):
            queries = (self._waiting(name, limit - len(claimed), keys.moment(now)) for name in wanted)
            entries = [entry for page in await asyncio.gather(*queries) for entry in page]
            entries.sort(key=lambda entry: entry["ss"]["S"])
            for some in chunks(entries[: limit - len(claimed)], AT_ONCE):
                answers = await asyncio.gather(*(self._offer(entry, now, lease) for entry in some))
                claimed += [answer for answer in answers if answer]
            if not entries or len(claimed) >= limit:
                break
        return [ticket for _, ticket in sorted(claimed, key=lambda one: one[0])]

    async def _waiting(self, requirement: str, limit: int | None, offered_before: str = "") -> list[Item]:
        keys_of_index = ("sp", "ss")
        return await self._table.query(
            f"WAIT#{requirement}", index="standing", keys=keys_of_index, limit=limit, only=offered_before
        )

    async def _offer(self, entry: Item, now: datetime, lease: timedelta) -> tuple[str, Ticket] | None:
        equal = {"sp": entry["sp"], "ss": entry["ss"]}
        change = ItemChange(key_of(entry), sets={"fu": text(keys.moment(now + lease))}, equal=equal)
        item = await self._claim(change, offered_before=keys.moment(now))
        if item is None:
            return None
        self._writer.due.saw(item)
        ticket = await readable(self._table, Ticket, item)
        return None if ticket is None else (entry["ss"]["S"], ticket)

    async def _claim(self, change: ItemChange, offered_before: str = "") -> Item | None:
        """Make a change that only one can make; return the item as it is then, or None."""
        arguments = request(change, self._table.name) | {"ReturnValues": "ALL_NEW"}
        if offered_before:
            arguments["ConditionExpression"] += " AND (attribute_not_exists(#fu) OR #fu <= :now)"
            arguments["ExpressionAttributeValues"][":now"] = text(offered_before)
        try:
            answer = await self._table.client.call("update_item", arguments)
        except RequestRefused as refusal:
            item: Item = refusal.reasons[0].get("Item") or {}
            if "dr" in item:
                await self._make_way(item)
            return None
        attributes: Item = answer["Attributes"]
        return attributes

    async def _make_way(self, item: Item) -> None:
        # Its step may be being written right now: the next sweep finds it. One that cannot be finished has a wake-up.
        with suppress(Exception):
            await self._writer.drafts.resolve(item)

    async def line(self, flow_id: str, requirement: Collection[str]) -> QueuePosition:
        """Return the line in which a ticket of the flow with this `requirement` is to wait."""
        required, own_name = frozenset(requirement), keys.requirement_key(requirement)
        names = [name for needs, name in await self._requirements() if in_one_line(needs, required)]
        own: Counter[int] = Counter()
        lowest: list[int] = []
        order: list[tuple[int, str]] = []
        for name, entries in zip(
            names, await asyncio.gather(*(self._waiting(name, None) for name in names)), strict=True
        ):
            places = [(_turn(entry), entry["ss"]["S"].split("#")[1]) for entry in entries]
            order += places
            lowest += [min(turn for turn, _ in places)] if places else []
            if name == own_name:
                mine = keys.of_flow(flow_id)
                own.update(_turn(entry) for entry in entries if entry["pk"]["S"] == mine)
        current = max(lowest, default=0)
        behind = min(((turn, start) for turn, start in order if turn > current), default=None)
        turns = {current, current + 1, max(own, default=current)}
        taken = {turn: min(own[turn], TICKETS_PER_TURN) for turn in turns if own[turn]}
        return QueuePosition(current, keys.read_moment(behind[1]).astimezone(UTC) if behind else None, taken)

    async def _requirements(self) -> list[tuple[frozenset[str], str]]:
        """Return what tickets have ever required while they waited, as sets and as they are stored."""
        rows = await self._table.query(keys.REQUIREMENTS, old=True)  # the tickets are no fresher in their index
        names = [row["sk"]["S"] for row in rows]
        return readable_requirements(
            self._table.set_aside,
            ((name, name, None, partial(_needs, row)) for name, row in zip(names, rows, strict=True)),
        )


def _needs(row: Item) -> frozenset[str]:
    return frozenset(one["S"] for one in row["cs"]["L"])


def _later(found: str, true: datetime | None) -> datetime:
    """Return the time of an entry, or the true one where that is later."""
    return keys.read_moment(max(found, keys.moment(true) if true else "")).astimezone(UTC)


def _turn(entry: Item) -> int:
    return int(entry["ss"]["S"].split("#", 1)[0]) - keys.OFFSET
