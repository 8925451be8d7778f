"""The whole platform in one process over one store: broker, clock, functions and HTTP on one port."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from functions._adapters.http.outbound import OutboundClient
from functions._adapters.stores import OpenStore
from functions._core.errors import Unavailable
from functions._core.ports import Ports
from functions._engine.clock import fresh_id
from functions._engine.compose import Composition, Host, compose
from functions._engine.env_file import with_env_file
from functions._engine.platform import Platform
from functions._engine.queue_heartbeat import queue_heartbeat
from functions._engine.secrets import environment_with_secrets
from functions._engine.settings import Settings
from functions._engine.webhooks import LEASE, Webhooks
from functions._hosts.api_app import api_app
from functions._hosts.one_machine.calculator import Calculator
from functions._hosts.open_store import open_store
from functions._hosts.serving import listen, new_event_loop, recorder_of, serving, tune, url_of
from functions._hosts.webhooks import local_webhooks, webhook_services
from functions._observability import logs
from functions._observability.http_metrics import AsgiApp

DEFAULT_URL = "http://127.0.0.1:8080"
"""Where the command line looks for a platform."""

SWITCH_ON = "To switch it on: FLOWC_API_KEY=$(openssl rand -hex 24) flowc up"
"""The command that asks for keys from the next start on."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which one thread gives way to another: the committer must not wait 5 ms for the event loop."""


@dataclass(frozen=True, slots=True)
class RunningPlatform:
    """A platform that takes requests at `url`, and at `grpc_port` where the settings ask for gRPC."""

    url: str
    engine: Platform
    ports: Ports
    grpc_port: int | None = None


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[RunningPlatform]:
    """Run the platform for as long as the context is open; raises what keeps it from starting."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    if settings.executors:
        from functions._engine.wiring_jobs import check_executors  # only where the platform has executors

        check_executors(settings)
    with listen(settings) as listener:
        url = url_of(settings, listener)
        recorder = recorder_of(settings)
        store = await open_store(settings, owner=fresh_id())
        made: Composition | None = None
        try:
            made = compose(
                settings, Host(stores=store.stores, base_url=str(settings.public_url or url), recorder=recorder)
            )
            async with _serving(made, settings, listener, store) as grpc_port:
                yield RunningPlatform(url, made.platform, made.platform.ports, grpc_port)
        finally:
            if recorder is not None:
                await recorder.close()
            if made is not None:
                await made.aclose()
            await store.close()


def run(settings: Settings) -> None:
    """Run the platform until SIGTERM or SIGINT."""
    logs.configure(settings.log_level)
    tune(settings)
    runner = asyncio.Runner(loop_factory=new_event_loop)
    with runner:
        runner.run(_until_stopped(settings))


def environment() -> Mapping[str, str]:
    """Return what settings are read from: the environment, `.env`, secrets that they name; raise `SettingsError`."""
    return environment_with_secrets(with_env_file(os.environ))


def next_steps(url: str) -> str:
    """Return what to do with a platform that has just started, as commands for another terminal."""
    at = "" if url == DEFAULT_URL else f" --url {url}"
    return (
        f"The console is at {url}/ for a browser. Next, in other terminals:\n"
        f"  flowc worker{at} --shell 'echo done'          takes tickets; --help says how it does them\n"
        f"  flowc sample | flowc submit -{at} --watch      a decision to try, or FILE in place of -\n"
        f"  flowc flows{at}                                and show, why, logs, result with an id from there\n"
        "Ctrl-C stops the platform; its data stays."
    )


async def _until_stopped(settings: Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(settings) as platform:
        shared = "DynamoDB" if settings.table else "PostgreSQL" if settings.database_url else None
        where = shared or str(settings.data.absolute())
        logs.log.info("platform.ready", url=platform.url, store=where)
        if settings.access_is_off:
            logs.log.warning("access.off", switch_on=SWITCH_ON)
        print(f"Flow C is ready at {platform.url} (data in {where})", flush=True)  # noqa: T201 for people
        if platform.grpc_port is not None:
            print(f"gRPC is at port {platform.grpc_port}", flush=True)  # noqa: T201 likewise
        if settings.access_is_off:
            print(f"Access is off: everybody on this machine may do everything. {SWITCH_ON}", flush=True)  # noqa: T201 likewise
        print(next_steps(platform.url), flush=True)  # noqa: T201 likewise
        await stopped.wait()


@asynccontextmanager
async def _serving(
    made: Composition, settings: Settings, listener: socket.socket, store: OpenStore
) -> AsyncIterator[int | None]:
    """Start the queue, HTTP and the clock, in this order; stop HTTP first. Yield the port of gRPC."""
    platform, calls = made.platform, OutboundClient(settings.networks)
    webhooks = local_webhooks(platform, settings, calls)
    if settings.webhooks:
        await webhooks.refresh()  # before anything is committed, or taken out of the queue
    await platform.start()
    clocks: list[asyncio.Task[None]] = []
    try:
        offered = webhook_services(platform, settings, calls, webhooks) if settings.webhooks else None
        app = api_app(platform, settings, store.check, calls, offered, Calculator().calculate)
        async with serving(app, settings, listener), _serving_grpc(app, settings) as grpc_port:
            # The clock last: reports that waited for the platform to come back are heard before anything times out.
            works = (
                platform.sweeper.run(),
                made.retention.run(),
                platform.secret_leases.run(),
                *([_deliver(webhooks, settings)] if settings.webhooks else []),
                queue_heartbeat(store.stores.queue, platform.outbox),
            )
            clocks += [asyncio.create_task(work, name="clock") for work in works]
            try:
                yield grpc_port
            finally:
                platform.flow_waiters.close()  # so that nobody who waits for an end keeps HTTP from stopping
    finally:
        for clock in clocks:
            clock.cancel()
        await asyncio.gather(*clocks, return_exceptions=True)
        await webhooks.close()
        await platform.close()
        await calls.aclose()


@asynccontextmanager
async def _serving_grpc(app: AsgiApp, settings: Settings) -> AsyncIterator[int | None]:
    """Serve gRPC where the settings name a port for it; yield the port."""
    if settings.grpc_port is None:
        yield None
        return
    try:
        from functions._hosts.grpc.server import serving_grpc
    except ImportError as missing:
        raise Unavailable(f"gRPC needs the packages of infra/requirements/grpc.txt ({missing})") from missing
    async with serving_grpc(app, settings) as port:
        logs.log.info("grpc.ready", port=port)
        yield port


async def _deliver(webhooks: Webhooks, settings: Settings) -> None:
    """Deliver to webhooks; what an earlier process had claimed is nobody's any more, where there is but one process."""
    alone = settings.database_url is None and settings.table is None
    await webhooks.run(first=LEASE if alone else timedelta())
