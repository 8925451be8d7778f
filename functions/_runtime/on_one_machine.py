"""The whole platform in one process over one data folder: store, broker, clock, functions and HTTP on one port."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI

from functions._adapters.cloudevents_http import read_events
from functions._adapters.http_client import HttpClient
from functions._adapters.sqlite.store import SqliteStore
from functions._adapters.workers_http import HttpBroker
from functions._core.errors import Unavailable
from functions._core.ports import Ports
from functions._runtime import logs
from functions._runtime.bounded_http import bounded
from functions._runtime.forgetting import Forgetting
from functions._runtime.instruments import Recorder
from functions._runtime.metrics_http import AsgiApp
from functions._runtime.metrics_queries import QueryMetrics
from functions._runtime.platform import Platform
from functions._runtime.settings import Settings
from functions._runtime.wiring import ports_of
from functions._runtime.wiring_api import ApiServices, create_app

IPV6 = 6
FILES = 2048
"""Files beside the connections of clients: the database, and the connections to workers."""

BACKLOG = 2048
"""Connections that wait to be accepted: a burst of workers reporting at once is no error."""

GARBAGE_THRESHOLD = 20_000
"""Objects made and not yet dropped before young garbage is looked for; the usual 700 costs a twentieth of the CPU."""

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
    with _listener(settings) as listener:
        url = _url(settings, listener)
        recorder = _recorder(settings)
        store = SqliteStore.open(settings.data)
        client, to_workers = HttpClient(), HttpClient(networks=settings.networks)
        try:
            ports = ports_of(settings, store.stores, client, to_workers)
            platform = Platform(settings, ports, store.stores.queue, str(settings.public_url or url), recorder)
            if settings.subscriber_url is not None:
                platform.pump.subscriber = HttpBroker(client, str(settings.subscriber_url))
            async with _serving(platform, settings, listener, store):
                yield Running(url, platform, ports)
        finally:
            if recorder is not None:
                await recorder.close()
            await client.aclose()
            await to_workers.aclose()
            await store.close()


def _recorder(settings: Settings) -> Recorder | None:
    """Return what keeps traces; where nothing is to be kept, OpenTelemetry is not even imported."""
    if settings.otlp_endpoint is None and settings.trace_file is None:
        return None
    endpoint = str(settings.otlp_endpoint) if settings.otlp_endpoint is not None else None
    try:
        from functions._runtime.tracing import open_tracing

        return open_tracing(endpoint, settings.trace_file, version("flowc"))
    except ImportError as missing:
        raise Unavailable(f"traces need the packages of infra/requirements/otel.txt ({missing})") from missing


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if settings.host.version == IPV6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(settings.host), settings.port))
    except OSError:
        listener.close()
        raise
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    """Return where the platform is for programs on this machine."""
    loopback = "::1" if settings.host.version == IPV6 else "127.0.0.1"
    host = loopback if settings.host.is_unspecified else str(settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def run(settings: Settings) -> None:
    """Run the platform until SIGTERM or SIGINT."""
    logs.configure(settings.log_level)
    _tune_memory()
    _allow_files(2 * settings.connections + FILES)
    runner = asyncio.Runner(loop_factory=_new_event_loop)
    with runner:
        runner.run(_until_stopped(settings))


def _allow_files(wanted: int) -> None:
    """Let the process open `wanted` files, or as many as it may: a connection is a file, and 1024 a usual limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft not in {resource.RLIM_INFINITY, allowed} and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _tune_memory() -> None:
    """Look for garbage cycles seldom: records are made and dropped by the thousand, and hardly any is in a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)


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
async def _serving(
    platform: Platform, settings: Settings, listener: socket.socket, store: SqliteStore
) -> AsyncIterator[None]:
    """Start the queue, HTTP and the clock, in this order; stop HTTP first."""
    await platform.start()
    forgetting = Forgetting(
        store.stores.retention,
        platform.ports.clock,
        platform.metrics,
        keep=timedelta(days=settings.retention_days),
        letters=settings.dead_letters_max,
    )
    clocks: list[asyncio.Task[None]] = []
    server = _Server(_config(platform.instruments.serving(_app(platform, settings, store)), settings))
    http = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started:
            if http.done():
                http.result()
                raise RuntimeError("the HTTP server has stopped while starting")
            await asyncio.sleep(0.005)  # uvicorn offers no event to wait for
        # The clock last: reports that waited for the platform to come back are heard before anything times out.
        clocks += [asyncio.create_task(work, name="clock") for work in (platform.sweeper.run(), forgetting.run())]
        yield
    finally:
        server.should_exit = True
        platform.endings.close()
        await http
        for clock in clocks:
            clock.cancel()
        await asyncio.gather(*clocks, return_exceptions=True)
        await platform.close()


def _app(platform: Platform, settings: Settings, store: SqliteStore) -> FastAPI:
    async def ready() -> Mapping[str, object]:
        await store.check()
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
            api_key=settings.api_key,
            hosts=settings.hosts,
            ended=platform.endings.wait,
            up_since=lambda: platform.dispatcher.up_since,
            queried=QueryMetrics(platform.metrics),
        )
    )


def _config(app: AsgiApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(request_seconds=settings.request_seconds, connections=settings.connections),
        ws="none",
        lifespan="off",
        proxy_headers=False,  # else a header could say that its client is on this machine
        access_log=False,
        log_config=None,
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
