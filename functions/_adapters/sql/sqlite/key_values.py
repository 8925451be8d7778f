"""Small records that belong to no flow."""

from collections.abc import Sequence
from datetime import datetime

from functions._adapters.key_values import fits, successor
from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.rows import from_ms, to_ms
from functions._core.errors import Conflict
from functions._core.ports import Clock, Entry


class SqliteKeyValues:
    """The `KeyValues`."""

    def __init__(self, database: SqliteDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get(self, space: str, key: str) -> Entry | None:
        """Return the entry of a key, None when there is none."""
        rows = self._database.rows("entry", space=space, key=key, now=self._now()) if fits(key) else ()
        return _entry(*rows[0]) if rows else None

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        """Store a value in place of that of `version`; raise `Conflict` when the stored version is another one."""
        entry = successor(key, value, version, expires_at, self._clock.now())
        row = {
            "space": space,
            "key": key,
            "value": value,
            "version": entry.version,
            "base": version,
            "expires_at": None if expires_at is None else to_ms(expires_at),
            "now": self._now(),
        }
        if not await self._changes("entry_update" if version else "entry_insert", row):
            raise Conflict
        return entry

    async def remove(self, space: str, key: str, version: int) -> bool:
        """Remove the entry that is at `version`; tell whether it was there at that version."""
        row = {"space": space, "key": key, "version": version, "now": self._now()}
        return fits(key) and await self._changes("entry_delete", row)

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` entries behind `after`, in the order of keys."""
        rows = self._database.rows("entries", space=space, after=after or "", limit=limit, now=self._now())
        return [_entry(*row) for row in rows]

    async def _changes(self, name: str, row: dict[str, object]) -> bool:
        """Run a named query; tell whether it has changed anything."""
        return await self._database.write(lambda connection: connection.execute(SQL[name], row).rowcount > 0)

    def _now(self) -> int:
        return to_ms(self._clock.now())


def _entry(key: str, value: bytes, version: int, expires_at: int | None) -> Entry:
    return Entry(key, value, version, None if expires_at is None else from_ms(expires_at))
