"""Connections that the calls of one HTTP client share; see `client`, which imports this at the first call."""

import asyncio
from collections.abc import Mapping
from weakref import WeakValueDictionary

from functions._adapters.http.addresses import Networks, Target, checked_url
from functions._adapters.http.connection import Connection
from functions._adapters.http.dialing import Dialer
from functions._adapters.http.reply import Bounds, NotReached, Reply
from functions._core.errors import Rejected, Unavailable

BODY_SECONDS = 1.0
"""How long the body of an answer may take after its head, whose status alone decides what the answer means."""

CONNECTIONS = 512
CONNECTIONS_PER_HOST = 64
"""One host that hangs can occupy an eighth of the connections, so the others go on."""

KEEP_ALIVE_SECONDS = 4.0
"""Idle connections go before servers drop theirs (often 5 s): a POST on a dead one is not repeated."""


class _Host:
    """The connections to one scheme, host and port."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(CONNECTIONS_PER_HOST)
        self.idle: list[Connection] = []
        """The last one has been idle for the shortest time, and is the next to be used."""


class HttpSession:
    """Connections that an `HttpClient` shares among its calls."""

    def __init__(self, timeout_seconds: float, networks: Networks, ca_file: str | None = None) -> None:
        """Open nothing yet; belongs to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._bounds = Bounds(timeout_seconds, BODY_SECONDS)
        self._networks = networks
        self._dialer = Dialer(networks, ca_file)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._hosts: WeakValueDictionary[tuple[bool, str, int], _Host] = WeakValueDictionary()
        self._connections: set[Connection] = set()
        self._dialing = 0
        self._closed = False
        self._idle: dict[Connection, _Host] = {}
        """The first one has been idle for the longest time."""
        self._sweep: asyncio.TimerHandle | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, bounds: Bounds | None = None
    ) -> Reply:
        """See `HttpClient.request`."""
        bounds = bounds or self._bounds
        target = checked_url(url, self._networks)
        message = _head(method, target, headers, len(body)) + body
        host = self._hosts.get(target.origin) or self._hosts.setdefault(target.origin, _Host())
        reply = None
        try:
            async with asyncio.timeout(bounds.seconds) as limit, host.turns, self._turns:
                connection = self._take(host) or await self._connect(target)
                try:
                    await connection.ask(message, bounds.answer_bytes)
                    if not connection.ended and method != "HEAD":  # whose answer ends with its head
                        self._hurry(limit, bounds.body_seconds)
                        await connection.rest()
                finally:
                    reply = connection.reply
                    self._release(connection, host)
        except TimeoutError as error:
            if reply is None:
                raise Unavailable(f"{target.host} did not answer in {bounds.seconds:g} s") from error
        except OSError as error:
            raise Unavailable(f"{target.host} cannot be reached: {error}") from error
        if reply is None:
            raise AssertionError("an exchange ends with an answer or an error")
        return reply

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._dialer.close()
        for connection in self._connections:
            connection.abort()
        await asyncio.sleep(0)  # the event loop closes the sockets

    def _hurry(self, limit: asyncio.Timeout, seconds: float) -> None:
        """Leave the rest of an answer its time, within that of the whole call."""
        until = self._loop.time() + seconds
        limit.reschedule(min(until, limit.when() or until))

    def _take(self, host: _Host) -> Connection | None:
        """Return an idle connection that can carry a request."""
        while host.idle:
            connection = host.idle.pop()
            del self._idle[connection]
            if connection.reusable and self._loop.time() < connection.idle_since + KEEP_ALIVE_SECONDS:
                return connection
            connection.abort()
        return None

    def _release(self, connection: Connection, host: _Host) -> None:
        """Keep a connection for the next request if it can carry one."""
        if not connection.reusable:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        host.idle.append(connection)
        self._idle[connection] = host
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEP_ALIVE_SECONDS, self._close_idle)

    async def _connect(self, target: Target) -> Connection:
        """Return a new connection, in the place of the one that has been idle longest where there are too many."""
        if self._idle and len(self._connections) + self._dialing >= CONNECTIONS:
            oldest = next(iter(self._idle))
            self._forget(oldest)
            oldest.abort()
        self._dialing += 1
        try:
            connection = await self._dialer.connect(target, self._forget)
        except OSError as error:
            raise NotReached(f"{target.host} cannot be reached: {error}") from error
        finally:
            self._dialing -= 1
        if self._closed:
            connection.abort()
            raise NotReached(f"{target.host} was not called: the client was closed meanwhile")
        self._connections.add(connection)
        return connection

    def _forget(self, connection: Connection) -> None:
        """Keep a connection that is closed no longer."""
        self._connections.discard(connection)
        host = self._idle.pop(connection, None)
        if host is not None:
            host.idle.remove(connection)

    def _close_idle(self) -> None:
        """Close what has been idle for too long, and come back when the next connection may be."""
        self._sweep = None
        for connection in list(self._idle):
            left = connection.idle_since + KEEP_ALIVE_SECONDS - self._loop.time()
            if left > 0:
                self._sweep = self._loop.call_later(left, self._close_idle)
                return
            self._forget(connection)
            connection.abort()


def _head(method: str, target: Target, headers: Mapping[str, str], length: int) -> bytes:
    """Return the request line and the headers; raise `Rejected` for what would end one of them before its end."""
    lines = [
        f"{method} {target.path} HTTP/1.1",
        f"host: {target.authority}",
        "accept: */*",
        "accept-encoding: identity",
        "user-agent: flowc",
        f"content-length: {length}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if target.authorization and "authorization" not in headers:
        lines.append(f"authorization: {target.authorization}")
    text = "\r\n".join(lines)
    # The text is not shown: it may be secret.
    if text.count("\r") >= len(lines) or text.count("\n") >= len(lines) or "\0" in text:
        raise Rejected("the request cannot be made: a header has a line break in it", code="bad_request")
    try:
        return f"{text}\r\n\r\n".encode()
    except UnicodeEncodeError as error:
        raise Rejected("the request cannot be made: a header is no text", code="bad_request") from error
