"""Committed events that are not published yet, carried by the items that a step writes anyway.

An item's `ob` lists its events, `ov` counts how often the list was changed, `op` says which process is to handle them,
`os` and `ol` are the first and the last position in it. What no item carries, or what would make one too large, is an
item of its own. An id that is queued twice is shown once, at its first position, and removed everywhere.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from functions._adapters.documents import document
from functions._adapters.dynamodb.changes import ItemChange, key_of
from functions._adapters.dynamodb.keys import Key, event_key, moment, number, read_moment
from functions._adapters.dynamodb.records import event_of, stored
from functions._adapters.dynamodb.values import Item, integer, listed, text, to_integer, to_text
from functions._adapters.dynamodb.writing import Writer
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Queued
from functions._core.records.set_aside import RecordKind

CARRIED = 16_000
"""Bytes of events that an item carries beside its record."""

REMEMBERED = 20_000

EVERYBODY = "-"
"""Owner of what any of the processes may handle that come and go with each event."""


@dataclass(frozen=True, slots=True)
class Place:
    """A queued event and where it is."""

    key: Key
    event_id: str
    position: int
    element: Item


class Outbox:
    """Puts events onto items, finds them and takes them off; `owner` is the process."""

    def __init__(self, writer: Writer, owner: str) -> None:
        self._writer = writer
        self.owner = owner
        self._places: dict[str, set[Key]] = {}

    async def carry(
        self, changes: Mapping[Key, ItemChange], events: Sequence[CloudEvent], carriers: Mapping[str, Key], first: int
    ) -> dict[Key, ItemChange]:
        """Return `changes` with `events` on them, whose positions begin with `first`.

        `carriers` tells which item is that of an event's subject; that of "" takes the others.
        """
        result = dict(changes)
        loads: dict[Key, list[tuple[int, Item]]] = {}
        weights: dict[Key, int] = {}
        unique = {event.id: event for event in reversed(events)}
        order = list(dict.fromkeys(event.id for event in events))
        for offset, event_id in enumerate(order):
            event = unique[event_id]
            doc = document(event)
            key = carriers.get(event.subject or "") or carriers.get("") or event_key(event_id)
            weights[key] = weights.get(key, 0) + len(doc)
            if weights[key] > CARRIED:
                key = event_key(event_id)
            loads.setdefault(key, []).append((first + offset, await self._element(key, event_id, doc, first + offset)))
            self._remember(event_id, key)
        for key, load in loads.items():
            result[key] = self._loaded(key, result.get(key), load)
        return result

    async def _element(self, key: Key, event_id: str, doc: str, position: int) -> Item:
        packed = await self._writer.table.packed(key[0], doc)
        return {"M": {"p": integer(position), "id": text(event_id), **packed}}

    def _loaded(self, key: Key, change: ItemChange | None, load: Sequence[tuple[int, Item]]) -> ItemChange:
        positions, elements = zip(*load, strict=True)
        owned = {"op": text(f"O#{self.owner}"), "ol": text(number(positions[-1]))}
        begun = {"os": text(number(positions[0]))}
        if change is None or (change.delete and key == event_key(elements[0]["M"]["id"]["S"])):
            whole = {**owned, **begun, "ob": listed(elements), "ov": integer(positions[0])}
            return ItemChange(key, keeps=whole) if change is None else ItemChange(key, sets=whole, equal=change.equal)
        if "ob" in change.sets or "ob" in change.removes:  # what was handled leaves the same item
            left = change.sets["ob"]["L"] if "ob" in change.sets else []
            sets = {**change.sets, **owned, "ob": listed([*left, *elements])}
            removes = [name for name in change.removes if name not in {"ob", "op", "os", "ol"}]
            return change.but(sets=sets if left else {**sets, **begun}, removes=removes)
        return change.but(
            sets={**change.sets, **owned},
            keeps={**change.keeps, **begun},
            appends={**change.appends, "ob": elements},
            adds={**change.adds, "ov": 1},
        )

    async def without(self, event_id: str, changes: Mapping[Key, ItemChange]) -> dict[Key, ItemChange]:
        """Return `changes` and the removal of an event, wherever it is queued."""
        result = dict(changes)
        for key in await self._keys_of(event_id):
            item = await self._writer.read(key)
            if item is None or "ob" not in item:
                continue
            left = [element for element in item["ob"]["L"] if element["M"]["id"]["S"] != event_id]
            if len(left) == len(item["ob"]["L"]):
                continue
            equal = {"ov": item["ov"]}
            change = result.get(key, ItemChange(key))
            if left:
                sets = {**change.sets, "ob": listed(left), "os": text(number(to_integer(left[0]["M"], "p")))}
                change = change.but(sets=sets, equal={**change.equal, **equal}, adds={**change.adds, "ov": 1})
            elif key == event_key(event_id):
                change = ItemChange(key, equal=equal, delete=True)
            else:
                removes = [*change.removes, "ob", "op", "os", "ol"]
                change = change.but(removes=removes, equal={**change.equal, **equal}, adds={**change.adds, "ov": 1})
            result[key] = change
        return result

    async def _keys_of(self, event_id: str) -> Collection[Key]:
        """Return where an event may be: as it is remembered, or else after a look at all that this process owns."""
        if event_id not in self._places:
            await self.places()
        return sorted(self._places.get(event_id, {event_key(event_id)}))

    async def places(self, owner: str | None = None, after: int = 0, limit: int | None = None) -> list[Place]:
        """Return what an owner has queued above a position, in order, each id once."""
        entries = await self._writer.table.query(f"O#{owner or self.owner}", index="outbox", keys=("op", "os"))
        entries = [entry for entry in entries if (to_text(entry, "ol") or "") > number(after)]
        if limit is not None:
            begun = [entry for entry in entries if (to_text(entry, "os") or "") <= number(after)]
            entries = begun + entries[len(begun) :][:limit]
        items = await self._writer.read_all([key_of(entry) for entry in entries])
        found = [
            Place(key, element["M"]["id"]["S"], to_integer(element["M"], "p"), element)
            for key, item in items.items()
            for element in item.get("ob", {"L": []})["L"]
        ]
        for place in found:
            self._remember(place.event_id, place.key)
        once: dict[str, Place] = {}
        for place in sorted(found, key=lambda place: place.position):
            once.setdefault(place.event_id, place)
        return [place for place in once.values() if place.position > after][:limit]

    async def queued(self, place: Place) -> Queued | None:
        """Return an event as it is queued; None, with the event set aside, when it cannot be read."""
        parts, table = place.element["M"], self._writer.table
        found = await stored(table, parts, place.key[0])
        raw = found if isinstance(found, bytes) else ""
        event = table.set_aside.read(RecordKind.QUEUED_EVENT, place.event_id, partial(event_of, found), raw=raw)
        if event is None:
            return None
        not_before = to_text(parts, "nb")
        return Queued(place.position, event, to_integer(parts, "a"), read_moment(not_before) if not_before else None)

    async def postponed(self, event_id: str, attempts: int, not_before: datetime) -> list[ItemChange]:
        """Return the changes that record a failed try."""
        changes = []
        for key in await self._keys_of(event_id):
            item = await self._writer.read(key)
            if item is None or "ob" not in item:
                continue
            tried = {"a": integer(attempts), "nb": text(moment(not_before))}
            elements = [
                {"M": {**element["M"], **tried}} if element["M"]["id"]["S"] == event_id else element
                for element in item["ob"]["L"]
            ]
            changes.append(ItemChange(key, sets={"ob": listed(elements)}, adds={"ov": 1}, equal={"ov": item["ov"]}))
        return changes

    async def clean(self, event_id: str) -> None:
        """Forget where an event was, and drop the parts of one that was large."""
        for key in self._places.pop(event_id, set()):
            if key == event_key(event_id):
                parts = await self._writer.table.query(key[0], "B#", "B#~")
                await self._writer.table.delete_all([key_of(part) for part in parts])

    def _remember(self, event_id: str, key: Key) -> None:
        self._places.setdefault(event_id, set()).add(key)
        if len(self._places) > REMEMBERED:
            del self._places[next(iter(self._places))]
