"""Small records that belong to no flow."""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from functions._adapters.key_values import is_there, successor
from functions._adapters.memory.state import State
from functions._core.errors import Conflict
from functions._core.ports import Clock, Entry


class MemoryKeyValues:
    """The `KeyValues`."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._entries = state.entries
        self._clock = clock

    async def get(self, space: str, key: str) -> Entry | None:
        """Return the entry of a key, None when there is none."""
        entry = self._entries.get((space, key))
        return entry if entry and is_there(entry, self._clock.now()) else None

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        """Store a value in place of that of `version`; raise `Conflict` when the stored version is another one."""
        entry = successor(key, value, version, expires_at, self._clock.now())
        known = await self.get(space, key)
        if (known.version if known else 0) != version:
            raise Conflict
        self._entries[space, key] = entry
        return entry

    async def remove(self, space: str, key: str, version: int) -> bool:
        """Remove the entry that is at `version`; tell whether it was there at that version."""
        known = await self.get(space, key)
        if known is None or known.version != version:
            return False
        del self._entries[space, key]
        return True

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` entries behind `after`, in the order of keys."""
        now, behind = self._clock.now(), after or ""
        there = (
            entry for (of, key), entry in self._entries.items() if of == space and key > behind and is_there(entry, now)
        )
        return list(islice(sorted(there, key=lambda entry: entry.key), limit))
