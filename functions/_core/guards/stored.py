"""Guard policies in the store: small records of `KeyValues`, changed by whoever changes first."""

from collections.abc import Sequence
from functools import lru_cache

from pydantic import ValidationError

from functions._core.guards.policy import MAX_POLICIES, SPACE, GuardPolicy
from functions._core.ports import Entry, KeyValues
from functions._core.slo.stored import everything, written
from functions._core.small_records import changed_entry


async def guard_policies(entries: KeyValues) -> Sequence[GuardPolicy]:
    """Return all guard policies that can be read, by name."""
    found = await everything(entries, SPACE, MAX_POLICIES)
    return [one for entry in found if (one := _policy(entry.value))]


async def guard_policy(entries: KeyValues, name: str) -> GuardPolicy | None:
    """Return one guard policy."""
    entry = await entries.get(SPACE, name)
    return None if entry is None else _policy(entry.value)


async def put_guard_policy(entries: KeyValues, new: GuardPolicy) -> GuardPolicy:
    """Store a guard policy, or put it in place of the one of its name; return it as it is stored."""

    def as_stored(entry: Entry | None) -> tuple[bytes, GuardPolicy]:
        known = _policy(entry.value) if entry is not None else None
        stored = new if known is None else new.but(created_at=known.created_at)
        return written(stored), stored

    return (await changed_entry(entries, SPACE, new.name, as_stored))[0]


@lru_cache(maxsize=2 * MAX_POLICIES)
def _policy(value: bytes) -> GuardPolicy | None:
    try:
        return GuardPolicy.model_validate_json(value)
    except ValidationError:
        return None
