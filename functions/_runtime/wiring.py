"""Puts a platform together: the functions, and the ports of the chosen technology.

The runtime takes every function from here, so that this is the one place where the two meet.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from functions._adapters.http_client import HttpClient
from functions._adapters.stores import Stores
from functions._adapters.telemetry import FileTelemetrySink, HttpTelemetrySink
from functions._adapters.workers_http import HttpWorkerGateway
from functions._core.outcomes import AnyOutcome
from functions._core.ports import Ports, TelemetrySink
from functions._core.situation import Situation
from functions._runtime.clock import SystemClock
from functions._runtime.settings import Settings
from functions._runtime.tokens import JwtTokens, load_or_create_key
from functions.assign.function import answered, assign
from functions.dead_letter.function import dead_letter
from functions.discover.function import discover
from functions.enforce_sla.function import enforce_sla
from functions.generate_tickets.function import generate_tickets
from functions.monitor.function import monitor, reported
from functions.publish_telemetry.function import flush_telemetry, publish_telemetry
from functions.track_workers.function import Tracked, release, track_workers
from functions.validate.function import validate

__all__ = [
    "FUNCTIONS",
    "Tracked",
    "answered",
    "dead_letter",
    "enforce_sla",
    "flush_telemetry",
    "ports_of",
    "release",
    "reported",
    "track_workers",
]

FUNCTIONS: Mapping[str, Callable[[Any, Situation, Ports], Awaitable[AnyOutcome]]] = {
    "validate": validate,
    "generate_tickets": generate_tickets,
    "discover": discover,
    "assign": assign,
    "monitor": monitor,
    "publish_telemetry": publish_telemetry,
}


def ports_of(settings: Settings, stores: Stores, client: HttpClient, to_workers: HttpClient) -> Ports:
    """Return the ports of the one-machine platform.

    `client` calls what the settings name, `to_workers` what workers have named themselves.
    """
    clock = SystemClock()
    key = settings.worker_key.get_secret_value().encode() if settings.worker_key else None
    return Ports(
        store=stores.store,
        tally=stores.tally,
        wakeups=stores.wakeups,
        registry=stores.registry,
        views=stores.views,
        statistics=stores.statistics,
        retention=stores.retention,
        dead_letters=stores.dead_letters,
        telemetry_buffer=stores.telemetry_buffer,
        telemetry_sink=_sink(settings, client),
        gateway=HttpWorkerGateway(to_workers),
        clock=clock,
        tokens=JwtTokens(key or load_or_create_key(settings.data / "worker.key"), clock),
    )


def _sink(settings: Settings, client: HttpClient) -> TelemetrySink:
    if settings.telemetry_url is not None:
        return HttpTelemetrySink(client, str(settings.telemetry_url))
    return FileTelemetrySink(settings.data / "telemetry.jsonl")
