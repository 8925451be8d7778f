"""Puts a platform together: the functions, and the ports of the chosen technology.

The runtime takes every function from here, so that this is the one place where the two meet.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from functions._adapters.http.client import HttpClient
from functions._adapters.http.telemetry import FileTelemetrySink, HttpTelemetrySink
from functions._adapters.http.workers import HttpWorkerGateway
from functions._adapters.stores import OpenStore, Stores
from functions._core.errors import Unavailable
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.ports import Clock, Ports, TelemetrySink
from functions._engine.clock import SystemClock
from functions._engine.settings import Settings
from functions._engine.tokens import JwtTokens, load_or_create_key
from functions.assign.function import answered, assign
from functions.dead_letter.function import dead_letter
from functions.discover.function import discover
from functions.enforce_sla.function import enforce_sla
from functions.generate_tickets.function import generate_tickets
from functions.monitor.function import left_out, monitor, reported
from functions.publish_telemetry.function import flush_telemetry, publish_telemetry, replay_telemetry
from functions.track_workers.function import Tracked, handed_on, release, track_workers
from functions.validate.function import validate

__all__ = [
    "FUNCTIONS",
    "Tracked",
    "answered",
    "dead_letter",
    "enforce_sla",
    "flush_telemetry",
    "handed_on",
    "left_out",
    "migrate_database",
    "open_store",
    "ports_of",
    "release",
    "replay_telemetry",
    "reported",
    "track_workers",
]

FUNCTIONS: Mapping[str, Callable[[Any, Context, Ports], Awaitable[AnyOutcome]]] = {
    "validate": validate,
    "generate_tickets": generate_tickets,
    "discover": discover,
    "assign": assign,
    "monitor": monitor,
    "publish_telemetry": publish_telemetry,
}


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


def ports_of(
    settings: Settings,
    stores: Stores,
    client: HttpClient,
    to_workers: HttpClient,
    sink: TelemetrySink | None = None,
    clock: Clock | None = None,
) -> Ports:
    """Return the ports of a platform.

    `client` calls what the settings name, `to_workers` what workers have named themselves. `sink` gets telemetry if the
    settings name no sink; without it a file does.
    """
    clock = clock or SystemClock()
    key = settings.worker_key.get_secret_value().encode() if settings.worker_key else None
    tokens = JwtTokens(key or load_or_create_key(settings.data / "worker.key"), clock)
    return stores.ports(
        telemetry_sink=_sink(settings, client, sink),
        gateway=HttpWorkerGateway(to_workers, tokens, clock),
        clock=clock,
        tokens=tokens,
    )


def _sink(settings: Settings, client: HttpClient, otherwise: TelemetrySink | None) -> TelemetrySink:
    if settings.telemetry_url is not None:
        return HttpTelemetrySink(client, str(settings.telemetry_url))
    return otherwise or FileTelemetrySink(settings.data / "telemetry.jsonl")
