"""What every entry point that serves HTTP needs: a listener, a bounded server, and a process fit for one event loop."""

import asyncio
import gc
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from functions._core.errors import Unavailable
from functions._engine.settings import Settings
from functions._engine.version import __version__
from functions._hosts.bounded_http import bounded
from functions._hosts.tls import server_context
from functions._observability.http_metrics import AsgiApp
from functions._observability.instruments import Recorder

IPV6 = 6
FILES = 2048
"""Files beside the connections of clients: the database, and the connections to workers."""

BACKLOG = 2048
"""Connections that wait to be accepted: a burst of workers reporting at once is no error."""

GARBAGE_THRESHOLD = 20_000
"""Objects made and not yet dropped before young garbage is looked for; the usual 700 costs a twentieth of the CPU."""

DRAIN_SECONDS = 5
"""How long requests may take to end when the server stops."""


def listen(settings: Settings) -> socket.socket:
    """Return a socket bound to the address that the settings name; raises `OSError`."""
    family = socket.AF_INET6 if settings.host.version == IPV6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(settings.host), settings.port))
    except OSError:
        listener.close()
        raise
    return listener


def url_of(settings: Settings, listener: socket.socket) -> str:
    """Return where a listener is for programs on this machine."""
    loopback = "::1" if settings.host.version == IPV6 else "127.0.0.1"
    host = loopback if settings.host.is_unspecified else str(settings.host)
    scheme = "http" if settings.tls_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


@asynccontextmanager
async def serving(
    app: AsgiApp, settings: Settings, listener: socket.socket, *, drain_seconds: int = DRAIN_SECONDS
) -> AsyncIterator[None]:
    """Serve `app` for as long as the context is open; then take no more, and let what runs end."""
    config = _config(app, settings, drain_seconds)
    config.load()
    config.ssl = server_context(settings)
    server = _Server(config)
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


def recorder_of(settings: Settings) -> Recorder | None:
    """Return what keeps traces; where nothing is to be kept, OpenTelemetry is not even imported."""
    if settings.otlp_endpoint is None and settings.trace_file is None:
        return None
    endpoint = str(settings.otlp_endpoint) if settings.otlp_endpoint is not None else None
    try:
        from functions._observability.traces import open_tracing

        return open_tracing(endpoint, settings.trace_file, __version__)
    except ImportError as missing:
        raise Unavailable(f"traces need the packages of infra/requirements/otel.txt ({missing})") from missing


def tune(settings: Settings) -> None:
    """Tune the process for one platform: garbage, and files."""
    _tune_memory()
    _allow_files(2 * settings.connections + FILES)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a fast event loop."""
    import uvloop

    return uvloop.new_event_loop()


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


def _config(app: AsgiApp, settings: Settings, drain_seconds: int) -> uvicorn.Config:
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
        timeout_graceful_shutdown=drain_seconds,
        server_header=False,
        date_header=False,
    )


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals alone: whoever runs the platform decides when it stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
