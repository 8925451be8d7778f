"""Opens the store that the settings name, on hosts that may have any of them."""

from collections.abc import Sequence

from functions._adapters.stores import OpenStore
from functions._core.errors import Unavailable
from functions._engine.clock import SystemClock
from functions._engine.settings import Settings


async def open_store(settings: Settings, *, owner: str | None = None) -> OpenStore:
    """Open the store that the settings name, brought to the schema of this version.

    `owner` names a process that is its own broker: it handles what it queues itself, and what the dead have left.
    """
    if settings.table is not None:
        from functions._adapters.dynamodb import DynamoStore

        try:
            return await DynamoStore.open(settings.table, owner, SystemClock())
        except ImportError as missing:
            raise Unavailable(f"DynamoDB needs the packages of infra/requirements/aws.txt ({missing})") from missing
    if settings.database_url is None:
        from functions._adapters.sql.sqlite.store import SqliteStore

        return SqliteStore.open(settings.data)
    try:
        from functions._adapters.sql.postgres import PostgresStore
    except ImportError as missing:
        raise _without_driver(missing) from missing
    url = settings.database_url.get_secret_value()
    return await PostgresStore.open(url, owner=owner, connections=settings.database_connections)


async def migrate_database(url: str) -> Sequence[int]:
    """Bring a PostgreSQL database to the schema of this version; return the numbers of what was applied."""
    try:
        from functions._adapters.sql.postgres import migrate
    except ImportError as missing:
        raise _without_driver(missing) from missing
    return await migrate(url)


def _without_driver(missing: ImportError) -> Unavailable:
    return Unavailable(f"PostgreSQL needs the packages of infra/requirements/postgres.txt ({missing})")
