"""Playbooks, and what they have done, in the store: small records of `KeyValues`, changed by whoever is first.

A run is kept under its flow and incident, and named twice more: in the list of all, by the moment of its incident, and
among those that are under way. The actions of the last hour are one record, so that no two processes take the last one.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from msgspec import MsgspecError

from functions._core.errors import Conflict
from functions._core.events.healing import OPEN_RUNS
from functions._core.events.healing import PLAYBOOKS as SPACE
from functions._core.healing.playbooks import MAX_PLAYBOOKS, PER_HOUR, Playbook
from functions._core.healing.runs import HealingRun, log_key
from functions._core.named_records import NamedRecords
from functions._core.ports import Entry, KeyValues
from functions._core.records.record import Record, decode, encode
from functions._core.records.values import Timestamp, add_time
from functions._core.small_records import changed_entry, removed_entry

RUNS, LOG, HOURS = "healing-runs", "healing-log", "healing-hours"
"""The spaces of runs by flow and incident, of the list of all of them, and of the actions of the last hour."""

KEPT = timedelta(days=30)
"""How long it is known what was done about an incident."""

TOLD = 50
"""Runs of one flow that are read."""

HOUR = timedelta(hours=1)
ALL = "all"


class HealingSlot(Record):
    """An action that counts in its hour."""

    run: str
    """Key of the run."""
    number: int
    """Number of the action within the run."""
    playbook: str
    """Name of the playbook."""
    at: Timestamp
    """When it was begun."""


class HealingHour(Record):
    """The actions of the last hour."""

    slots: tuple[HealingSlot, ...] = ()
    """The actions, the oldest first."""


PLAYBOOKS = NamedRecords(SPACE, Playbook, MAX_PLAYBOOKS)


async def run(entries: KeyValues, key: str) -> tuple[HealingRun | None, int]:
    """Return a run and the version of its record."""
    entry = await entries.get(RUNS, key)
    return (None, 0) if entry is None else (_read(entry), entry.version)


async def put_run(entries: KeyValues, one: HealingRun, version: int, now: datetime) -> int:
    """Store a run in place of that of `version`; return its version; raise `Conflict`."""
    expires = add_time(now, KEPT)
    if not version:  # the list first: what it names and is not there is passed over
        with suppress(Conflict):
            await entries.put(LOG, log_key(one), b"{}", version=0, expires_at=expires)
    return (await entries.put(RUNS, one.key, encode(one), version=version, expires_at=expires)).version


async def runs_of(entries: KeyValues, flow_id: str) -> Sequence[HealingRun]:
    """Return the runs of a flow, up to `TOLD`, the first first."""
    prefix = f"{flow_id}/"
    page = await entries.page(RUNS, prefix, TOLD)
    of_flow = [one for entry in page if entry.key.startswith(prefix) if (one := _read(entry)) is not None]
    return sorted(of_flow, key=lambda one: (one.begun_at, one.key))


async def newest_runs(entries: KeyValues, after: str | None, limit: int) -> tuple[Sequence[HealingRun], str | None]:
    """Return runs, the newest incident first, and the key behind which the next page begins; None: nothing follows."""
    page = await entries.page(LOG, after, limit)
    found = [(await run(entries, entry.key.partition("/")[2]))[0] for entry in page]
    following = page[-1].key if len(page) == limit else None
    return [one for one in found if one is not None], following


async def keep_open(entries: KeyValues, key: str) -> None:
    """Have a run looked at until it has ended; twice is once."""
    if await entries.get(OPEN_RUNS, key) is None:
        with suppress(Conflict):
            await entries.put(OPEN_RUNS, key, b"{}", version=0)


async def open_runs(entries: KeyValues, after: str | None, limit: int) -> Sequence[str]:
    """Return the keys of runs that are under way."""
    return [entry.key for entry in await entries.page(OPEN_RUNS, after, limit)]


async def close(entries: KeyValues, key: str) -> None:
    """Look at a run no more."""
    await removed_entry(entries, OPEN_RUNS, key)


async def take_slot(entries: KeyValues, one: HealingSlot, per_hour: int) -> bool:
    """Count an action in its hour, once; tell whether it fits into the hour, of all playbooks and of its own."""

    def counted(entry: Entry | None) -> tuple[bytes, bool]:
        known = _slots(entry)
        slots = [slot for slot in known if one.at - slot.at < HOUR]
        if any((slot.run, slot.number) == (one.run, one.number) for slot in slots):
            return encode(HealingHour(slots=tuple(slots))), True
        own = sum(slot.playbook == one.playbook for slot in slots)
        fits = len(slots) < PER_HOUR and own < min(per_hour, PER_HOUR)
        return encode(HealingHour(slots=(*slots, one) if fits else tuple(slots))), fits

    fits, _ = await changed_entry(entries, HOURS, ALL, counted)
    return fits


def _slots(entry: Entry | None) -> Sequence[HealingSlot]:
    return () if entry is None else decode(HealingHour, entry.value).slots


def _read(entry: Entry) -> HealingRun | None:
    try:
        return decode(HealingRun, entry.value)
    except MsgspecError:
        return None
