"""The wake-ups of all live records, and the tickets that wait for a worker.

A claim moves the entry in the index on the condition that it is where it was found: of two sweepers one gets it. The
document keeps the true time, and the record's next commit sets the entry anew.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import Change, key_of, request
from functions._adapters.dynamodb.client import Refused
from functions._adapters.dynamodb.drafts import HEAD
from functions._adapters.dynamodb.records import record_of
from functions._adapters.dynamodb.table import AT_ONCE, PATIENCE, chunks
from functions._adapters.dynamodb.values import Item, text, to_text
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.standing import in_one_line
from functions._core.errors import Conflict
from functions._core.models import Ticket
from functions._core.ports import Due
from functions._core.rules import TICKETS_PER_TURN
from functions._core.turns import Line


class DynamoWakeups:
    """The `Wakeups`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._table = writer.table

    async def claim_due(self, now: datetime, limit: int, lease: timedelta) -> Sequence[Due]:
        """Return up to `limit` records due at `now`, the oldest first; they come due again after `lease`."""
        claimed: list[Due] = []
        for _ in range(PATIENCE):
            entries = await self._table.sharded(
                "due", "W", last=keys.moment(now) + keys.LAST, limit=limit - len(claimed)
            )
            for some in chunks(entries, AT_ONCE):
                answers = await asyncio.gather(*(self._claim_due(entry, now + lease) for entry in some))
                claimed += [due for due in answers if due]
            if not entries or len(claimed) >= limit:
                break
        return sorted(claimed, key=lambda due: (due.at, due.kind, due.record_id))

    async def _claim_due(self, entry: Item, until: datetime) -> Due | None:
        key, found = key_of(entry), entry["ws"]["S"]
        if key[1].startswith(HEAD):
            await self._writer.drafts.finish(key)
            return None
        at, kind = found.split("#", 1)
        moved = f"{keys.moment(until)}#{kind}"
        item = await self._claim(Change(key, sets={"ws": text(moved)}, equal={"ws": entry["ws"]}))
        if item is None:
            return None
        flow_id = None if kind == "worker" else key[0].removeprefix("F#")
        record_id = to_text(item, "id") or (flow_id if kind == "flow" else key[1].removeprefix("T#"))
        return Due(kind, record_id or "", flow_id, keys.read_moment(at).astimezone(UTC))

    async def next_due(self) -> datetime | None:
        """Return the earliest wake-up, or None when no record is live."""
        entries = await self._table.sharded("due", "W", limit=1)
        return keys.read_moment(entries[0]["ws"]["S"].split("#", 1)[0]).astimezone(UTC) if entries else None

    async def claim_waiting(
        self, capabilities: Collection[str] | None, now: datetime, limit: int, lease: timedelta
    ) -> Sequence[Ticket]:
        """Return up to `limit` waiting tickets that `capabilities` cover, by turn and slack."""
        covered = None if capabilities is None else frozenset(capabilities)
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
        change = Change(key_of(entry), sets={"fu": text(keys.moment(now + lease))}, equal=equal)
        item = await self._claim(change, offered_before=keys.moment(now))
        return None if item is None else (entry["ss"]["S"], await record_of(self._table, Ticket, item))

    async def _claim(self, change: Change, offered_before: str = "") -> Item | None:
        """Make a change that only one can make; return the item as it is then, or None."""
        arguments = request(change, self._table.name) | {"ReturnValues": "ALL_NEW"}
        if offered_before:
            arguments["ConditionExpression"] += " AND (attribute_not_exists(#fu) OR #fu <= :now)"
            arguments["ExpressionAttributeValues"][":now"] = text(offered_before)
        try:
            answer = await self._table.client.call("update_item", arguments)
        except Refused as refusal:
            item: Item = refusal.reasons[0].get("Item") or {}
            if "dr" in item:
                await self._make_way(item)
            return None
        attributes: Item = answer["Attributes"]
        return attributes

    async def _make_way(self, item: Item) -> None:
        try:
            await self._writer.drafts.resolve(item)
        except Conflict:
            return  # its step is being written right now: the next sweep finds it

    async def line(self, flow_id: str, capabilities: Collection[str]) -> Line:
        """Return the line in which a ticket of the flow that requires `capabilities` is to wait."""
        required, own_name = frozenset(capabilities), keys.requirement(capabilities)
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
        return Line(current, keys.read_moment(behind[1]).astimezone(UTC) if behind else None, taken)

    async def _requirements(self) -> list[tuple[frozenset[str], str]]:
        """Return what tickets have ever required while they waited, as sets and as they are stored."""
        rows = await self._table.query(keys.REQUIREMENTS)
        return [(frozenset(one["S"] for one in row["cs"]["L"]), row["sk"]["S"]) for row in rows]


def _turn(entry: Item) -> int:
    return int(entry["ss"]["S"].split("#", 1)[0]) - keys.OFFSET
