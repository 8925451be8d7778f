"""Small records that belong to no flow."""

from collections.abc import Sequence
from datetime import datetime

from functions._adapters.key_values import fits, successor
from functions._adapters.sql.postgres.database import PostgresDatabase
from functions._core.errors import Conflict
from functions._core.ports import Clock, Entry


class PostgresKeyValues:
    """The `KeyValues`."""

    def __init__(self, database: PostgresDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get(self, space: str, key: str) -> Entry | None:
        """Return the entry of a key, None when there is none."""
        rows = await self._database.rows("entry", space=space, key=key, now=self._clock.now()) if fits(key) else ()
        return Entry(*rows[0]) if rows else None

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        """Store a value in place of that of `version`; raise `Conflict` when the stored version is another one."""
        now = self._clock.now()
        entry = successor(key, value, version, expires_at, now)
        row = {"space": space, "key": key, "value": value, "version": entry.version, "expires_at": expires_at}
        query = "entry_update" if version else "entry_insert"
        if not await self._database.rows(query, **row, base=version, now=now):
            raise Conflict
        return entry

    async def remove(self, space: str, key: str, version: int) -> bool:
        """Remove the entry that is at `version`; tell whether it was there at that version."""
        row = {"space": space, "key": key, "version": version, "now": self._clock.now()}
        return fits(key) and bool(await self._database.rows("entry_delete", **row))

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` entries behind `after`, in the order of keys."""
        now = self._clock.now()
        rows = await self._database.rows("entries", space=space, after=after or "", limit=limit, now=now)
        return [Entry(*row) for row in rows]
