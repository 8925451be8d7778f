"""Stored plans: versions that never change, as small records of the store.

A version is a record of its own, with the content beside it in parts: deflated, as base64, since a value is JSON text
of bounded size. The parts come first and the record last, so that a version is there as a whole or not at all. Keys
put the newest version of a name first.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from msgspec import DecodeError, ValidationError

from functions._core.decision.named_plans import PlanReference, order_of, reference_in, with_plan
from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Entry, KeyValues
from functions._core.records.json_text import content_hash
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Timestamp, milliseconds

SPACE, PARTS = "plans", "plan-parts"

PLAN_BYTES = 1024 * 1024
"""Bytes of a stored plan as JSON: some thousand tasks. A larger one is sent with its decision."""

PART_CHARACTERS = 60_000
"""Characters of a part: with its quotation marks it fits into a value."""

MAX_VERSIONS = 1_000
"""Versions of all plans together: all of them are looked at when one is stored or listed."""

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")
HIGHEST = 999_999_999
KNOWN = 32
"""Contents that a process remembers; they never change."""


class StoredPlan(Record):
    """A version of a plan. It never changes, so whoever names it gets the same plan each time."""

    name: str
    """Name of the plan."""
    version: str
    """Version, MAJOR.MINOR.PATCH."""
    content_hash: str
    """SHA-256 of the plan as canonical JSON, 64 hexadecimal digits."""
    tasks: int
    """Number of its tasks, those of sub-plans aside."""
    size_bytes: int
    """Size of the plan as compact JSON, in bytes."""
    parts: int
    """Number of records that its content takes."""
    created_at: Timestamp
    """When it was stored."""
    created_by: str
    """Name of the caller who stored it."""


async def versions_of(entries: KeyValues, name: str | None = None) -> Sequence[StoredPlan]:
    """Return the versions of a plan, or of all plans by name; of each name the newest first."""
    after = None if name is None else f"{name}@"
    found: list[StoredPlan] = []
    for entry in await entries.page(SPACE, after, 2 * MAX_VERSIONS):  # more are there for a moment at most
        one = _read(entry)
        if one is None:
            continue
        if name is not None and one.name != name:
            break
        found.append(one)
    return found


async def stored_version(entries: KeyValues, named: PlanReference) -> StoredPlan | None:
    """Return a version, without one the newest; None when there is none."""
    if named.version is not None:
        entry = await entries.get(SPACE, _key(named.name, named.version))
        return None if entry is None else _read(entry)
    for entry in await entries.page(SPACE, f"{named.name}@", 1):
        one = _read(entry)
        return one if one is not None and one.name == named.name else None
    return None


async def content_of(entries: KeyValues, one: StoredPlan) -> dict[str, Any]:
    """Return the plan of a version; raise `Unavailable` when it is just being removed."""
    prefix = _parts_of(one)
    if (known := _KNOWN.get(prefix)) is None:
        parts = [await entries.get(PARTS, _part(prefix, number)) for number in range(one.parts)]
        if any(part is None for part in parts):
            raise Unavailable(f"the content of plan {one.name}@{one.version} is not there")
        known = "".join(json.loads(part.value) for part in parts if part is not None)
        while len(_KNOWN) >= KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)))
        _KNOWN[prefix] = known
    plan: dict[str, Any] = _opened(known)
    return plan


async def store_version(entries: KeyValues, named: StoredPlan, plan: Mapping[str, Any]) -> tuple[StoredPlan, bool]:
    """Store a version, unless it is there with the same content; return it, and whether it is new.

    Raises `Rejected`: status 409 for a version that is there with other content, or one more than `MAX_VERSIONS`.
    """
    known = await stored_version(entries, PlanReference(named.name, named.version))
    if known is not None:
        return _same(known, named), False
    if len(await versions_of(entries)) >= MAX_VERSIONS:
        message = f"{MAX_VERSIONS} versions of plans are stored; delete some that are no longer used"
        raise Rejected(message, code="too_many_plans", status=409)
    text = _closed(plan)
    pieces = [text[at : at + PART_CHARACTERS] for at in range(0, len(text), PART_CHARACTERS)]
    new = named.but(parts=len(pieces))
    for number, piece in enumerate(pieces):
        await _put_part(entries, _part(_parts_of(new), number), json.dumps(piece).encode())
    try:
        await entries.put(SPACE, _key(new.name, new.version), encode(new), version=0)
    except Conflict:
        known = await stored_version(entries, PlanReference(new.name, new.version))
        if known is None or _parts_of(known) != _parts_of(new):
            await _remove_parts(entries, new)
        if known is None:  # and gone again
            raise
        return _same(known, named), False
    return new, True


async def remove_version(entries: KeyValues, named: PlanReference) -> bool:
    """Forget a version; tell whether it was there. Flows that were made of it keep their plan."""
    if named.version is None:
        return False
    entry = await entries.get(SPACE, _key(*named))
    one = None if entry is None else _read(entry)
    if entry is None or one is None or not await entries.remove(SPACE, entry.key, entry.version):
        return False
    await _remove_parts(entries, one)
    return True


async def resolved(entries: KeyValues, decision: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a decision with the stored plan that it names, or as it is; raise `Rejected`, status 422."""
    named = reference_in(decision)
    if named is None:
        return decision
    one = await stored_version(entries, named)
    if one is None:
        text = named.name if named.version is None else f"{named.name}@{named.version}"
        raise Rejected(f"cognitive_plan.plan: no plan {text} is stored", code="unknown_plan", status=422)
    return with_plan(decision, await content_of(entries, one), one.name, one.version)


async def with_stored_plan(entries: KeyValues, event: CloudEvent) -> CloudEvent:
    """Return the event of a decision with the stored plan that the decision names; see `resolved`."""
    if reference_in(event.data) is None:
        return event
    return replace(event, data=await resolved(entries, event.data))


_KNOWN: dict[str, str] = {}
"""Contents, deflated, by their parts."""


def _same(known: StoredPlan, new: StoredPlan) -> StoredPlan:
    if known.content_hash != new.content_hash:
        message = f"plan {new.name}@{new.version} is stored with other content; store yours as another version"
        raise Rejected(message, code="plan_exists", status=409)
    return known


async def _put_part(entries: KeyValues, key: str, value: bytes) -> None:
    try:
        await entries.put(PARTS, key, value, version=0)
    except Conflict:  # the same content at the same moment: the part is the same
        return


async def _remove_parts(entries: KeyValues, one: StoredPlan) -> None:
    for number in range(one.parts):
        part = await entries.get(PARTS, _part(_parts_of(one), number))
        if part is not None:
            await entries.remove(PARTS, part.key, part.version)


def _key(name: str, version: str | None) -> str:
    """Return the key of a version: the higher its numbers, the earlier it comes."""
    return f"{name}@" + ".".join(f"{HIGHEST - part:09}" for part in order_of(version or "0.0.0"))


def _parts_of(one: StoredPlan) -> str:
    """Return the start of the keys of the content: that of another attempt to store a version has another one."""
    return f"{one.name}@{one.version}/{one.content_hash[:32]}-{milliseconds(one.created_at - EPOCH)}"


def _part(prefix: str, number: int) -> str:
    return f"{prefix}/{number:03}"


def _closed(plan: Mapping[str, Any]) -> str:
    text = json.dumps(plan, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b64encode(zlib.compress(text)).decode()


def _opened(text: str) -> Any:  # noqa: ANN401 any JSON
    return json.loads(zlib.decompressobj().decompress(b64decode(text), 2 * PLAN_BYTES))


def _read(entry: Entry) -> StoredPlan | None:
    return _parsed(entry.value)


@lru_cache(maxsize=MAX_VERSIONS)
def _parsed(value: bytes) -> StoredPlan | None:
    try:
        return decode(StoredPlan, value)
    except (ValidationError, DecodeError):
        return None


def described(name: str, version: str, plan: Mapping[str, Any], at: datetime, by: str) -> StoredPlan:
    """Return the record of a version that is to be stored; raise `Rejected`, status 413, for a plan too large."""
    size = len(json.dumps(plan, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > PLAN_BYTES:
        message = f"the plan takes {size} bytes; up to {PLAN_BYTES} are stored, so send it with its decision"
        raise Rejected(message, code="too_large", status=413)
    tasks = plan.get("tasks")
    return StoredPlan(
        name=name,
        version=version,
        content_hash=content_hash(plan),
        tasks=len(tasks) if isinstance(tasks, list) else 0,
        size_bytes=size,
        parts=0,
        created_at=at,
        created_by=by,
    )
