"""One function as a process of its own in a cluster: its ports, its clocks, and what Knative tells it.

Every process is a whole platform over the one store, but what it commits goes to the broker, which brings each event to
the function whose it is. Workers are called by whichever process has committed their assignment.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from functions._adapters.http.knative import KnativeBroker
from functions._adapters.stores import OpenStore
from functions._engine.clock import SystemClock
from functions._engine.compose import Host, compose
from functions._engine.event_work import EventWork
from functions._engine.outbox_relay import STALE, OutboxRelay
from functions._engine.platform import Platform
from functions._engine.retention_job import RetentionJob
from functions._engine.settings import Settings, SettingsError
from functions._hosts.knative.edge import EventEdge
from functions._hosts.serving import recorder_of
from functions._observability.http_metrics import AsgiApp
from functions._observability.logs import log

if TYPE_CHECKING:  # imported by the functions that call webhooks
    from functions._engine.webhooks import Webhooks

DRAIN_SECONDS = 20
"""How long what runs may take to end when the process is to stop; Knative waits longer than this."""

LOOK_AROUND = timedelta(seconds=5)
LONGEST_SLEEP = timedelta(seconds=1)
"""Other processes arm wake-ups, too: this is how late the timer may notice."""

CALLS_WEBHOOKS = frozenset({"notify", "enforce_sla"})
"""The functions that call webhooks: with an event, and when a repetition is due."""

ROUNDS = 50
"""Rounds of retention at one tick, where no timer runs."""

EXTENSION = re.compile(r"[a-z0-9]{1,20}")
REQUIRED = {
    "database_url": "the functions share a PostgreSQL database",
    "public_url": "workers report to it",
    "worker_key": "all functions sign and check the workers' tokens with it",
}


Opens = Callable[[Settings], Awaitable[OpenStore]]
"""Opens a store as one whose outbox is everybody's: any process may publish what another has left."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a SinkBinding says: where events go, and the extensions that each gets."""

    sink: str
    extensions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunningFunction:
    """A function that takes requests: `app` answers them."""

    app: AsgiApp
    platform: Platform
    store: OpenStore


def read_environment(function: str, environment: Mapping[str, str]) -> tuple[Settings, Binding]:
    """Return what the environment says; raise `SettingsError` naming everything that is wrong or missing."""
    problems: list[str] = []
    settings = None
    try:
        settings = Settings.from_mapping(
            environment, port=None if environment.get("FLOWC_PORT") else environment.get("PORT")
        )
    except SettingsError as error:
        problems += error.problems
    required = REQUIRED | ({"api_key": "clients come from elsewhere"} if function == "api" else {})
    if settings is not None:
        missing = {name: why for name, why in required.items() if getattr(settings, name) is None}
        problems += [f"FLOWC_{name.upper()}: not set; {why}" for name, why in missing.items()]
    sink = environment.get("K_SINK", "").strip()
    if not sink:
        problems.append("K_SINK: not set; a SinkBinding of this Service to the broker sets it")
    try:
        extensions = _overrides(environment.get("K_CE_OVERRIDES", ""))
    except ValueError as error:
        problems.append(f"K_CE_OVERRIDES: {error}")
    if problems or settings is None:
        raise SettingsError(problems)
    if settings.worker_networks is None:
        # Who listens on loopback here is not alone on the machine: requests come through the pod's proxy.
        settings = settings.model_copy(update={"worker_networks": "private,public"})
    return settings, Binding(sink, extensions)


def _overrides(text: str) -> Mapping[str, str]:
    if not text.strip():
        return {}
    document = json.loads(text)
    extensions = (document.get("extensions") or {}) if isinstance(document, dict) else None
    if not isinstance(extensions, dict) or not all(
        EXTENSION.fullmatch(name) and isinstance(value, str) and value for name, value in extensions.items()
    ):
        raise ValueError('not {"extensions": {name: text, …}} with names of small letters and digits')
    return extensions


@asynccontextmanager
async def running(function: str, settings: Settings, binding: Binding, opens: Opens) -> AsyncIterator[RunningFunction]:
    """Run a function for as long as the context is open; then let what it has begun end, within bounds."""
    store, clock = await opens(settings), SystemClock()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        recorder = recorder_of(settings)
        if recorder is not None:
            stack.push_async_callback(recorder.close)
        made = compose(
            settings,
            Host(
                stores=store.stores,
                base_url=str(settings.public_url),
                broker=lambda client: KnativeBroker(client, binding.sink, binding.extensions, clock),
                recorder=recorder,
                clock=clock,
            ),
        )
        stack.push_async_callback(made.aclose)
        platform, relay = made.platform, made.relay
        platform.companions.jobs.check(function)
        webhooks = await _webhooks(function, platform, settings, stack)
        keeper = _Keeper(platform, relay, made.retention, webhooks, timer=settings.sla_timer)
        tick = platform.companions.ticks.get(function, keeper.tick)
        notify = webhooks.publish if webhooks is not None else None
        app = _app(function, platform, settings, store, EventWork(function, platform, relay, tick, notify))
        loops = [platform.secret_leases.run(), *keeper.loops(function)]
        clocks = [asyncio.create_task(loop, name="clock") for loop in loops]
        try:
            yield RunningFunction(app, platform, store)
        finally:
            for task in clocks:
                task.cancel()
            await asyncio.gather(*clocks, return_exceptions=True)
            await _drained(platform)
            await platform.close()


def _app(function: str, platform: Platform, settings: Settings, store: OpenStore, work: EventWork) -> AsgiApp:
    if function != "api":
        return EventEdge(work, platform.ports.clock, settings.max_body_bytes, platform.metrics.text)
    from functions._adapters.http.outbound import OutboundClient
    from functions._hosts.api_app import api_app
    from functions._hosts.webhooks import webhook_services

    calls = OutboundClient(settings.networks)  # it lives as long as the process
    offered = webhook_services(platform, settings, calls, None, settings.tells) if settings.webhooks else None
    return api_app(platform, settings, store.check, calls, offered)


async def _webhooks(function: str, platform: Platform, settings: Settings, stack: AsyncExitStack) -> "Webhooks | None":
    """Return the webhooks of a function that calls them: as an event comes, or when a repetition is due."""
    if function not in CALLS_WEBHOOKS or not settings.webhooks:
        return None
    from functions._adapters.http.outbound import OutboundClient
    from functions._engine.webhooks import Webhooks

    calls = OutboundClient(settings.networks)
    stack.push_async_callback(calls.aclose)
    webhooks = Webhooks(platform.ports, calls, platform.metrics, base_url=platform.base_url)
    stack.push_async_callback(webhooks.close)
    platform.instruments.gauges.more = webhooks.gauges
    return webhooks


class _Keeper:
    """Does what is to be done as time passes: all of it at a tick, or each thing in a loop of its own."""

    def __init__(
        self,
        platform: Platform,
        relay: OutboxRelay,
        retention: RetentionJob,
        webhooks: "Webhooks | None",
        *,
        timer: bool,
    ) -> None:
        self._platform = platform
        self._webhooks = webhooks
        self._relay = relay
        self._retention = retention
        self._timer = timer

    async def tick(self) -> None:
        """Act on what is due, publish what was left, forget what is old."""
        await self._platform.sweeper.tick()
        await self._relay.recover()
        if self._webhooks is not None:
            until = asyncio.get_running_loop().time() + DRAIN_SECONDS
            await self._webhooks.drain(lambda: asyncio.get_running_loop().time() < until)
        for _ in range(ROUNDS):
            if not await self._retention.round():
                return

    def loops(self, function: str) -> list[Coroutine[Any, Any, None]]:
        """Return the loops of a function's process."""
        if function == "api":
            return [_every(LOOK_AROUND, self._platform.look_around)]
        if function == "enforce_sla" and self._timer:
            self._platform.sweeper.longest_sleep = LONGEST_SLEEP
            webhooks = [self._webhooks.run()] if self._webhooks is not None else []
            return [self._platform.sweeper.run(), _every(STALE, self._relay.recover), self._retention.run(), *webhooks]
        return []


async def _every(pause: timedelta, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 a clock must not stop, whatever one round runs into
            log.exception("clock.failed", work=work.__qualname__)
        await asyncio.sleep(pause.total_seconds())


async def _drained(platform: Platform) -> None:
    """Wait for deliveries and publications that are under way; what is cut off is done again by others."""
    until = asyncio.get_running_loop().time() + DRAIN_SECONDS
    while platform.busy and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 many things, none of which tells
        await asyncio.sleep(0.01)
