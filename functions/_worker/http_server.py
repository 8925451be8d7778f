"""uvicorn as a part of a process that has its own signals and its own loop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import uvicorn

STOP_SECONDS = 5
"""How long requests may take to end when the server stops."""


class HttpServer:
    """Serves one ASGI application on one address, from `start` to `stop`."""

    def __init__(
        self,
        app: Any,  # noqa: ANN401 - ASGI has no type of its own
        host: str,
        port: int,
        protocol: type[asyncio.Protocol] | Literal["auto"] = "auto",
    ) -> None:
        """Serve nothing yet; `protocol` bounds what clients may do."""
        config = uvicorn.Config(
            app,
            http=protocol,
            interface="asgi3",
            lifespan="off",
            proxy_headers=False,
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        self._server = _Server(config)
        self._address = host, port
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> int:
        """Listen, and return the port; connections are taken from now on. Raises `OSError`."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.create_server(self._address, family=family, backlog=2048)
        # asyncio does this for sockets that name TCP as their protocol; without it each answer takes 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._serving = asyncio.create_task(self._server.serve([listener]))
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Take no more connections and let the present requests end."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving


class _Server(uvicorn.Server):
    """Leaves the signals of the process alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
