"""Documents in the store, and the SLOs and policies that they make.

A document is stored first, and what it makes after it; deleted in the same order. Whatever a crash leaves in between,
or somebody has changed otherwise, `reconcile` repairs: it compares all documents with what there is, in memory, and
writes what differs. One that cannot be read, or made, keeps no other from it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import MsgspecError
from pydantic import ValidationError

from functions._core.errors import Conflict, Rejected
from functions._core.ports import Entry, KeyValues
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import JsonObject, Timestamp
from functions._core.slo import definition, freezing, stored
from functions._core.slo.definition import MAX_SLOS, Slo
from functions._core.slo.documents import POLICY_KIND, SloResource, key_of, made_id
from functions._core.slo.freezing import MAX_POLICIES, FreezePolicy
from functions._core.slo.reading import read_document
from functions._core.small_records import TRIES, changed_entry, every_entry, removed_entry

SPACE, ROUNDS, ROUND = "slo-resources", "slo-resource-rounds", "last"
"""The space of documents by kind and name, that of the last look at all of them, and its key there."""

MAX_RESOURCES = MAX_SLOS + MAX_POLICIES

MAX_DOCUMENT = 16 * 1024
"""Bytes of a document as JSON."""

EVERY = timedelta(seconds=300)
"""How often all documents are looked at."""

Made = Slo | FreezePolicy

ApplyResult = Literal["created", "changed", "unchanged"]
"""What applying a document does to it."""


class StoredResource(Record):
    """A document, and whether what it makes is as it says."""

    kind: str
    """Kind of the document."""
    name: str
    """Its name."""
    document: JsonObject
    """What it says."""
    applied_at: Timestamp
    """When it was applied last."""
    applied_by: str
    """Who has applied it."""
    synced: bool = False
    """Whether what it makes was as it says when that was looked at last."""
    synced_at: Timestamp | None = None
    """When what it makes was last changed for it, or could not be; looks that changed nothing are `ResourceRound`."""
    message: str = ""
    """Why it is not as the document says; empty where it is."""

    @property
    def made_id(self) -> str:
        """Id of the SLO or policy that it makes."""
        return made_id(self.kind, self.name)

    @property
    def key(self) -> str:
        """The document among all."""
        return key_of(self.kind, self.name)


class ResourceRound(Record):
    """The last look at all documents."""

    begun_at: Timestamp
    """When it began; another one begins when `EVERY` has passed."""
    ended_at: Timestamp | None = None
    """When one was ended last."""


class ResourceState(NamedTuple):
    """What a reader is told of a document: `synced_at` is when that was known last, `remaining` percent of a budget."""

    resource: StoredResource
    synced_at: datetime | None
    remaining: float | None


class Reconciled(NamedTuple):
    """What a look at all documents has done: how many there are, were repaired, and could not be."""

    documents: int = 0
    repaired: int = 0
    failed: int = 0


def check_size(document: object) -> None:
    """Raise `Rejected`, status 413 or 422, for a document that cannot be stored; ask before it is read."""
    try:
        size = len(encode(document))
    except (UnicodeEncodeError, OverflowError) as error:
        text = "the document has text or a number that cannot be stored"
        raise Rejected(text, code="not_storable", status=422) from error
    if size > MAX_DOCUMENT:
        raise Rejected(f"a document has at most {MAX_DOCUMENT} bytes as JSON", code="too_large", status=413)


async def plan_resource(entries: KeyValues, resource: SloResource) -> ApplyResult:
    """Return what applying a document would do to it.

    Of one that is unchanged what it makes may have to be repaired all the same. Raises `Rejected`: 413 for one that is
    too large, 409 (`slo_exists`, `policy_exists`, `too_many_resources`).
    """
    check_size(resource.document)
    await _check_room(entries, resource)
    entry = await entries.get(SPACE, resource.key)
    if entry is None and len(await every_entry(entries, SPACE, MAX_RESOURCES)) >= MAX_RESOURCES:
        text = f"there are {MAX_RESOURCES} documents, which is as many as there may be"
        raise Rejected(text, code="too_many_resources", status=409)
    if entry is None:
        return "created"
    known = _read(entry)
    return "unchanged" if known is not None and known.document == resource.document else "changed"


async def apply_resource(entries: KeyValues, resource: SloResource, now: datetime, by: str) -> StoredResource:
    """Store a document that `plan_resource` has nothing against, and make what it says."""
    document = resource.document
    new = StoredResource(kind=resource.kind, name=resource.name, document=document, applied_at=now, applied_by=by)
    for _ in range(TRIES):
        entry = await entries.get(SPACE, resource.key)
        known = None if entry is None else _read(entry)
        if entry is not None and known is not None and known.document == document:
            return await _synced(entries, known, entry.version, now)
        try:
            put = await entries.put(SPACE, resource.key, encode(new), version=entry.version if entry else 0)
        except Conflict:
            continue
        return await _synced(entries, new, put.version, now)
    raise Conflict(f"the document {resource.key} changed {TRIES} times meanwhile")


async def _check_room(entries: KeyValues, resource: SloResource) -> None:
    """Raise `Rejected`, status 409, when what a document makes has the name of something else, or is one too many."""
    form = resource.form
    if isinstance(form, definition.SloForm):
        slos = [one for one in await stored.slos(entries) if one.enabled and one.slo_id != resource.made_id]
        taken = any((one.service_name, one.name) == (form.service_name, form.name) for one in slos)
        full, most, code = len(slos) >= MAX_SLOS, f"{MAX_SLOS} SLOs", "slo_exists"
        what = f"an SLO {form.name[:100]!r} of {form.service_name[:100]!r}"
    else:
        policies = [one for one in await stored.policies(entries) if one.enabled and one.policy_id != resource.made_id]
        taken = any(one.name == form.name for one in policies)
        full, most, code = len(policies) >= MAX_POLICIES, f"{MAX_POLICIES} policies", "policy_exists"
        what = f"a policy {form.name[:100]!r}"
    if form.enabled and taken:
        raise Rejected(f"there is {what} already, which {resource.key} does not make", code=code, status=409)
    if form.enabled and full:
        raise Rejected(f"there are {most}, which is as many as there may be", code="too_many_resources", status=409)


async def delete_resource(entries: KeyValues, kind: str, name: str, now: datetime) -> bool:
    """Forget a document; what it made is not enabled any more. Tell whether it was there."""
    key = key_of(kind, name)
    if not await removed_entry(entries, SPACE, key):
        return False
    await _release(entries, kind, made_id(kind, name), now)
    return True


async def resource_key(entries: KeyValues, kind: str, name: str) -> str | None:
    """Return the key of a document that is there, whether or not it can be read."""
    entry = await entries.get(SPACE, key_of(kind, name))
    return None if entry is None else entry.key


async def resource_state(entries: KeyValues, kind: str, name: str) -> ResourceState | None:
    """Return a document with its state; None when there is none that can be read."""
    entry = await entries.get(SPACE, key_of(kind, name))
    found = None if entry is None else _read(entry)
    return None if found is None else await _state(entries, found, await _last_round(entries))


async def resource_states(
    entries: KeyValues, after: str | None, limit: int
) -> tuple[Sequence[ResourceState], str | None]:
    """Return up to `limit` documents by key, from behind the key `after`, with their states; and the key to go on with.

    One that cannot be read is left out.
    """
    round_ = await _last_round(entries)
    page = await entries.page(SPACE, after, limit)
    states = [await _state(entries, found, round_) for entry in page if (found := _read(entry)) is not None]
    return states, page[-1].key if len(page) == limit else None


async def reconcile_when_due(entries: KeyValues, now: datetime) -> Reconciled | None:
    """Look at all documents if nobody has within `EVERY`; None when somebody has, or does."""
    entry = await entries.get(ROUNDS, ROUND)
    last = None if entry is None else stored.read_record(ResourceRound, entry)
    if last is not None and now < last.begun_at + EVERY:
        return None
    begun = ResourceRound(begun_at=now, ended_at=None if last is None else last.ended_at)
    try:
        claimed = await entries.put(ROUNDS, ROUND, encode(begun), version=entry.version if entry else 0)
    except Conflict:
        return None
    done = await reconcile(entries, now)
    with suppress(Conflict):  # it took so long that another one has begun
        await entries.put(ROUNDS, ROUND, encode(begun.but(ended_at=now)), version=claimed.version)
    return done


async def reconcile(entries: KeyValues, now: datetime) -> Reconciled:
    """Make everything as the documents say, and disable what is left of deleted ones."""
    # What is made first: a document that is deleted in between is then not taken for one that was never there.
    made: dict[str, Made] = {one.slo_id: one for one in await stored.slos(entries)}
    made |= {one.policy_id: one for one in await stored.policies(entries)}
    documents = await every_entry(entries, SPACE, MAX_RESOURCES)
    keys = {entry.key for entry in documents}
    repaired = failed = 0
    for entry in documents:
        try:
            changed = await _repaired(entries, entry, made, now)
        except (Rejected, Conflict):
            failed += 1
        else:
            repaired += changed
    for made_id_, one in made.items():
        if one.managed_by is not None and one.managed_by not in keys:
            await _release(entries, one.managed_by.partition("/")[0], made_id_, now)
            repaired += 1
    return Reconciled(len(documents), repaired, failed)


async def _repaired(entries: KeyValues, entry: Entry, made: Mapping[str, Made], now: datetime) -> bool:
    """Make what a document says; tell whether anything was written. Raises `Rejected` for one that makes nothing."""
    one = _read(entry)
    if one is None:
        raise Rejected("the document cannot be read", code="unreadable_record")
    resource = _understood(entry.value)
    if isinstance(resource, SloResource):
        known = made.get(resource.made_id)
        if one.synced and known is not None and _made_of(resource, known, now) is known:
            return False
    after = await _synced(entries, one, entry.version, now)
    if not after.synced:
        raise Rejected(after.message)
    return True


async def _synced(entries: KeyValues, one: StoredResource, version: int, now: datetime) -> StoredResource:
    """Make what a document says and store whether that went well, unless the document has changed meanwhile."""
    try:
        await _make(entries, read_document(one.document), now)
    except Rejected as refusal:
        after = one.but(synced=False, synced_at=now, message=str(refusal)[:1000])
    else:
        after = one.but(synced=True, synced_at=now, message="")
    if (one.synced, one.message) == (False, after.message) and not after.synced and one.synced_at is not None:
        return one  # as before: nothing to tell
    with suppress(Conflict):  # whoever was faster has made what the newer one says, or the next look does
        await entries.put(SPACE, one.key, encode(after), version=version)
    return after


async def _make(entries: KeyValues, resource: SloResource, now: datetime) -> None:
    """Let what a document makes be as it says."""
    space = freezing.SPACE if resource.kind == POLICY_KIND else definition.SPACE

    def as_said(entry: Entry | None) -> tuple[bytes, None] | None:
        known = None if entry is None else _known(resource.kind, entry.value)
        new = _made_of(resource, known, now)
        return None if new is known else (stored.written(new), None)

    await changed_entry(entries, space, resource.made_id, as_said)


def _made_of(resource: SloResource, known: Made | None, now: datetime) -> Made:
    """Return what a document makes in place of what is known; that itself where it is the same."""
    times = {"created_at": known.created_at if known else now, "updated_at": known.updated_at if known else now}
    fields = {**resource.form.model_dump(), **times, "managed_by": resource.key}
    new: Made
    if resource.kind == POLICY_KIND:
        new = FreezePolicy.model_validate({**fields, "policy_id": resource.made_id})
    else:
        new = Slo.model_validate({**fields, "slo_id": resource.made_id})
    if known is not None and new == known:
        return known
    return new.but(updated_at=now)


async def _release(entries: KeyValues, kind: str, made: str, now: datetime) -> None:
    """Disable what a document made that is not there any more; nobody manages it from now on."""
    if kind == POLICY_KIND:
        await stored.changed_policy(entries, made, lambda one: _released(one, now))
    else:
        await stored.changed_slo(entries, made, lambda one: _released(one, now))


def _released(one: stored.M, now: datetime) -> stored.M:
    return one.but(enabled=False, managed_by=None, updated_at=now)


async def _state(entries: KeyValues, one: StoredResource, last: ResourceRound | None) -> ResourceState:
    ended = last.ended_at if last is not None else None
    own = one.synced_at
    # A look that found everything as it should be has written nothing to the document itself.
    synced_at = ended if one.synced and ended is not None and own is not None and ended > own else own
    if one.kind == POLICY_KIND:
        return ResourceState(one, synced_at, None)
    state, _ = await stored.budget_state(entries, one.made_id)
    return ResourceState(one, synced_at, None if state is None else state.budget.error_budget_remaining)


async def _last_round(entries: KeyValues) -> ResourceRound | None:
    entry = await entries.get(ROUNDS, ROUND)
    return None if entry is None else stored.read_record(ResourceRound, entry)


def _known(kind: str, value: bytes) -> Made | None:
    try:
        return (FreezePolicy if kind == POLICY_KIND else Slo).model_validate_json(value)
    except ValidationError:
        return None


def _read(entry: Entry) -> StoredResource | None:
    return _parsed(entry.value)


@lru_cache(maxsize=MAX_RESOURCES)
def _parsed(value: bytes) -> StoredResource | None:
    try:
        return decode(StoredResource, value)
    except MsgspecError:
        return None


@lru_cache(maxsize=MAX_RESOURCES)
def _understood(value: bytes) -> SloResource | None:
    """Return what a stored document says; None where that is nothing."""
    one = _parsed(value)
    try:
        return None if one is None else read_document(one.document)
    except Rejected:
        return None
