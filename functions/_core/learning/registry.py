"""The registry of models, in small records: a record for each, its payload in parts, and who serves.

What serves is one small record for each name, the pointer: whoever changes it has decided on the version that it saw,
so of two that promote at once one is refused. Records of models follow the pointer: one whose state says otherwise was
left by a process that died between the two, and `settled` sets it right.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import DecodeError

from functions._core.errors import Rejected
from functions._core.learning.model_record import DURATION, Judged, ModelRecord, ModelState
from functions._core.ports import Entry, KeyValues
from functions._core.records.audits import ActionRecord, action_id
from functions._core.records.change_set import ChangeSet
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Timestamp
from functions._core.small_records import changed_entry, every, every_entry, removed_entry

MODELS, PARTS, SERVING = "models", "model-parts", "model-serving"
"""The spaces of records, of the parts of payloads, and of the pointer by name."""

KEPT = 20
"""Models of a name that are kept; of older ones that neither serve nor wait record and payload are forgotten."""

MOST = 4 * KEPT
"""Records that are read at most."""


Change = Callable[[ModelRecord], ModelRecord | None]
"""What is to become of a record; None: it stays."""


class Pointer(Record):
    """Which model of a name serves."""

    number: int = 0
    """Its number; 0: none, the estimates count."""
    since: Timestamp
    """Since when."""


def number_of(model_id: str) -> int | None:
    """Return the number in the id of a model, None for what is no id of one."""
    name, _, digits = model_id.partition(":")
    if name != DURATION or not digits.isascii() or not digits.isdigit() or not 0 < len(digits) < 10:  # noqa: PLR2004
        return None
    return int(digits) or None


async def models(entries: KeyValues) -> Sequence[ModelRecord]:
    """Return all models, the newest first; one that cannot be read is passed over."""
    return sorted(await every(entries, MODELS, MOST, _read), key=lambda model: model.number, reverse=True)


async def model(entries: KeyValues, number: int) -> ModelRecord | None:
    """Return a model; None where there is none, or it cannot be read."""
    entry = await entries.get(MODELS, f"{DURATION}:{number}")
    return _read(entry) if entry is not None else None


async def serving(entries: KeyValues) -> tuple[int, int]:
    """Return the number of the model that serves, 0 for none, and the version of the pointer."""
    entry = await entries.get(SERVING, DURATION)
    if entry is None:
        return 0, 0
    try:
        return decode(Pointer, entry.value).number, entry.version
    except DecodeError:
        return 0, entry.version


async def parts_of(entries: KeyValues, record: ModelRecord) -> Sequence[bytes]:
    """Return the parts of a payload; fewer where some are not there."""
    found = [await entries.get(PARTS, _part(record.number, place)) for place in range(record.parts)]
    return [entry.value for entry in found if entry is not None]


async def added(entries: KeyValues, new: ModelRecord, parts: Sequence[bytes]) -> ModelRecord:
    """Store a model under the next free number, TRAINED, and then its payload.

    Whoever has added it moves it on when its payload is there; one that stays TRAINED was left by a process that died.
    Raises `Conflict` where another process takes the number at the same time.
    """
    taken = [number_of(entry.key) or 0 for entry in await every_entry(entries, MODELS, MOST)]  # unreadable ones, too
    number = max([*taken, (await serving(entries))[0]]) + 1
    record = new.but(number=number, state=ModelState.TRAINED, parts=len(parts), size=sum(map(len, parts)))
    await entries.put(MODELS, record.model_id, encode(record), version=0)
    for place, part in enumerate(parts):
        await changed_entry(entries, PARTS, _part(number, place), lambda _entry, part=part: (part, None))  # type: ignore[misc]
    return record


async def changed(entries: KeyValues, number: int, change: Change) -> ModelRecord | None:
    """Store what `change` makes of a model; None, and nothing stored, where it is gone or `change` returns None."""

    def as_stored(entry: Entry | None) -> tuple[bytes, ModelRecord] | None:
        known = _read(entry) if entry is not None else None
        new = change(known) if known is not None else None
        return None if new is None else (encode(new), new)

    found = await changed_entry(entries, MODELS, f"{DURATION}:{number}", as_stored)
    return None if found is None else found[0]


async def promoted(entries: KeyValues, number: int, now: datetime, reason: str) -> ModelRecord:
    """Let a model serve, and retire the one that has served; raise `Rejected`, status 409, for one that may not.

    SHADOW and RETIRED ones may: both have passed the bars on held-out tickets. Raises `Conflict` when another change
    was made at the same time.
    """
    before, version = await serving(entries)
    record = await model(entries, number)
    if record is None:
        raise Rejected(f"there is no model {DURATION}:{number}", code="unknown_model", status=404)
    if before == number:
        return record if record.state is ModelState.SERVING else await _is_serving(entries, record, now, reason, 0)
    if record.state not in {ModelState.SHADOW, ModelState.RETIRED} or not record.parts:
        text = f"model {record.model_id} is {record.state}: only a SHADOW or a RETIRED one with its payload can serve"
        raise Rejected(text, code="not_promotable", status=409)
    await entries.put(SERVING, DURATION, encode(Pointer(number=number, since=now)), version=version)
    found = await _is_serving(entries, record, now, reason, before)
    await _left(entries, before, ModelState.RETIRED, now, f"model {record.model_id} serves instead")
    return found


async def rolled_back(entries: KeyValues, number: int, now: datetime, reason: str) -> int:
    """Take the model that serves out; return the number of its predecessor, which serves again, 0 for none.

    The predecessor serves again only if it is RETIRED, so it has served and was not itself taken out. Raises
    `Rejected`, status 409, for a model that does not serve, `Conflict` when another change was made at the same time.
    """
    current, version = await serving(entries)
    if current != number:
        raise Rejected(f"model {DURATION}:{number} does not serve", code="not_serving", status=409)
    record = await model(entries, number)
    before = await model(entries, record.previous) if record is not None and record.previous else None
    usable = before is not None and before.state is ModelState.RETIRED and before.parts > 0
    back = before.number if before is not None and usable else 0
    await entries.put(SERVING, DURATION, encode(Pointer(number=back, since=now)), version=version)
    await _left(entries, number, ModelState.ROLLED_BACK, now, reason)
    if before is not None and usable:
        await _is_serving(entries, before, now, f"model {DURATION}:{number} was rolled back", before.previous)
    return back


async def settled(entries: KeyValues, now: datetime) -> int:
    """Make the records of models say what the pointer says; return how many did not.

    They do not where a process has died between the two. A model that does not serve any more is RETIRED.
    """
    current, _ = await serving(entries)
    wrong = 0
    for one in await models(entries):
        if one.number == current and one.state is not ModelState.SERVING:
            await _is_serving(entries, one, now, "it serves, although its record did not say so", 0)
        elif one.number != current and one.state is ModelState.SERVING:
            await _left(entries, one.number, ModelState.RETIRED, now, "it serves no more, although its record said so")
        else:
            continue
        wrong += 1
    return wrong


async def forgotten(entries: KeyValues) -> int:
    """Forget the oldest models above `KEPT`, with their payloads; return how many. What serves or waits stays."""
    current, _ = await serving(entries)
    known = await models(entries)
    needed = {one.number for one in known if one.state is ModelState.SHADOW} | {current}
    needed |= {one.previous for one in known if one.number == current}
    gone = [one for one in known[KEPT:] if one.number not in needed]
    for one in gone:
        for place in range(one.parts):
            await removed_entry(entries, PARTS, _part(one.number, place))
        await removed_entry(entries, MODELS, one.model_id)
    return len(gone)


def audit_of(action: str, target: str, who: str, why: str, at: datetime) -> ChangeSet:
    """Return the change set that keeps who did what to a model, and why; the same moment is the same action."""
    record = ActionRecord(
        audit_id=action_id(target, f"{action}/{at.isoformat()}"),
        flow_id="",
        action=action,
        target=target,
        who=who,
        why=why[:1000],
        at=at,
    )
    return ChangeSet(flow_id="", audit=(record,))


async def _is_serving(
    entries: KeyValues, record: ModelRecord, now: datetime, reason: str, previous: int
) -> ModelRecord:
    """Make the record of a model say that it serves; what it was judged by begins again."""

    def change(known: ModelRecord) -> ModelRecord:
        moved = known.moved(ModelState.SERVING, now, reason)
        return moved.but(previous=previous or known.previous, judged=Judged())

    return await changed(entries, record.number, change) or record


async def _left(entries: KeyValues, number: int, state: ModelState, now: datetime, reason: str) -> None:
    if number:
        await changed(entries, number, lambda known: known.moved(state, now, reason))


def _part(number: int, place: int) -> str:
    return f"{DURATION}:{number}:{place}"


def _read(entry: Entry) -> ModelRecord | None:
    try:
        return decode(ModelRecord, entry.value)
    except DecodeError:
        return None
