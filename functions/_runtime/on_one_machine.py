"""The whole platform in one process over one data folder: store, broker, clock, functions and HTTP on one port."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI

from functions._adapters.cloudevents_http import read_events
from functions._adapters.http_client import HttpClient
from functions._adapters.sqlite.store import SqliteStore
from functions._adapters.workers_http import HttpBroker
from functions._core.ports import Ports
from functions._runtime import logs
from functions._runtime.platform import Platform
from functions._runtime.settings import Settings
from functions._runtime.wiring import ports_of
from functions._runtime.wiring_api import ApiServices, create_app

HOST = "127.0.0.1"
BACKLOG = 2048
"""Connections that wait to be accepted: a burst of workers reporting at once is no error."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which one thread gives way to another: the committer must not wait 5 ms for the event loop."""


@dataclass(frozen=True, slots=True)
class Running:
    """A platform that takes requests at `url`."""

    url: str
    engine: Platform
    ports: Ports


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run the platform for as long as the context is open; raises what keeps it from starting."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, settings.port))
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        store = SqliteStore.open(settings.data)
        client = HttpClient()
        try:
            ports = ports_of(settings, store.stores, client)
            platform = Platform(settings, ports, store.stores.queue, str(settings.public_url or url))
            if settings.subscriber_url is not None:
                platform.pump.subscriber = HttpBroker(client, str(settings.subscriber_url))
            async with _serving(platform, settings, listener):
                yield Running(url, platform, ports)
        finally:
            await client.aclose()
            await store.close()


def run(settings: Settings) -> None:
    """Run the platform until SIGTERM or SIGINT."""
    logs.configure(settings.log_level)
    runner = asyncio.Runner(loop_factory=_new_event_loop)
    with runner:
        runner.run(_until_stopped(settings))


def environment() -> Mapping[str, str]:
    """Return the environment that settings are read from."""
    return os.environ


def _new_event_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


async def _until_stopped(settings: Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(settings) as platform:
        logs.log.info("platform.ready", url=platform.url, data=str(settings.data))
        print(f"Flow C is ready at {platform.url} (data in {settings.data})", flush=True)  # noqa: T201 for people
        await stopped.wait()


@asynccontextmanager
async def _serving(platform: Platform, settings: Settings, listener: socket.socket) -> AsyncIterator[None]:
    """Start the queue, the clock and HTTP, in this order; stop them in the opposite one."""
    await platform.start()
    clock = asyncio.create_task(platform.sweeper.run(), name="sweeper")
    server = _Server(_config(_app(platform, settings)))
    http = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started:
            if http.done():
                http.result()
                raise RuntimeError("the HTTP server has stopped while starting")
            await asyncio.sleep(0.005)  # uvicorn offers no event to wait for
        yield
    finally:
        server.should_exit = True
        await http
        clock.cancel()
        with suppress(asyncio.CancelledError):
            await clock
        await platform.close()


def _app(platform: Platform, settings: Settings) -> FastAPI:
    async def ready() -> Mapping[str, object]:
        return {"queue": platform.pump.held, "telemetry_buffer": await platform.ports.telemetry_buffer.size()}

    return create_app(
        ApiServices(
            ports=platform.ports,
            engine=platform,
            rules=platform.rules,
            read_events=read_events,
            metrics=platform.metrics.text,
            ready=ready,
            max_body=settings.max_body_bytes,
            version=version("flowc"),
        )
    )


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        server_header=False,
        date_header=False,
    )


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals alone: whoever runs the platform decides when it stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
