"""The schema, brought to the version that this code knows: by numbered scripts, each applied once.

Scripts only add, so older code works on a newer schema and processes can be replaced one after the other.
"""

from collections.abc import Sequence
from typing import Any

import asyncpg

from functions._adapters.sql import migrations
from functions._adapters.sql.postgres.errors import connecting, told

ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(1179407190)"

VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_version (
    version    integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

CONNECT_SECONDS = 10.0


async def migrate(url: str) -> Sequence[int]:
    """Bring the database at `url` to this version's schema; return the numbers of the scripts that were applied.

    Any number of processes may do so at once. A database that is newer is left as it is. Raises `Unavailable`.
    """
    with connecting():
        connection: Any = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    with told():
        try:
            async with connection.transaction():
                return await _migrate(connection)
        finally:
            await connection.close()


async def _migrate(connection: Any) -> Sequence[int]:
    scripts = migrations("postgres")
    if await connection.fetchval("SELECT to_regclass('schema_version')"):
        known = await connection.fetchval("SELECT max(version) FROM schema_version")
        if known is not None and known >= len(scripts):
            return []  # without the lock: whoever only uses the schema need not wait for anybody
    await connection.execute(ONE_AT_A_TIME)
    await connection.execute(VERSIONS)
    version = await connection.fetchval("SELECT max(version) FROM schema_version") or 0
    applied = list(range(version + 1, len(scripts) + 1))
    for number in applied:
        await connection.execute(scripts[number - 1])
        await connection.execute("INSERT INTO schema_version (version) VALUES ($1)", number)
    return applied
