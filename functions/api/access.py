"""Who may call: clients on this machine freely, all others with the platform's key.

Where a client is follows from its connection alone. What headers say of it is never believed to let somebody in; one
that says that a request was passed on by a proxy keeps it from counting as made on this machine.

A browser on this machine is a client, too, and the pages in it come from anywhere. Where no key keeps them out, the
host that a request names does: a page can let its own name lead here (DNS rebinding), but it cannot send another one.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from functions.api.problems import HEADERS, problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/health", "/ready"})
"""Whoever watches over the platform has no key, and learns no more than whether it works."""

REPORTS = re.compile(r"/api/v1/flows/[^/]+/reports")
"""Authorised by the token of the assignment, which proves more than a key does."""

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d*)?", re.ASCII)

FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})


class KeyRequired:
    """ASGI middleware that answers 401 to a client elsewhere that does not bring the key."""

    def __init__(self, app: Asgi, key: str) -> None:
        """Take the key in the form in which it is sent."""
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it without reading its body."""
        if scope["type"] != "http" or self._admits(scope):
            await self._app(scope, receive, send)
            return
        text = "a client that is not on the platform's machine has to send its key: X-API-Key: <key>"
        await problem(401, "missing_key", text, HEADERS[401])(scope, receive, send)

    def _admits(self, scope: Message) -> bool:
        path: str = scope["path"]
        if path in OPEN or (scope["method"] == "POST" and REPORTS.fullmatch(path)):
            return True
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        client = scope.get("client")
        if client and on_loopback(client[0]) and FORWARDED.isdisjoint(name for name, _ in headers):
            return True
        # All are compared, each in constant time: how long it takes says nothing about the key.
        return sum([hmac.compare_digest(given, self._key) for given in _keys(headers)]) > 0


class HostRequired:
    """ASGI middleware that answers 421 to a request that names a host which is not the platform's."""

    def __init__(self, app: Asgi, hosts: Collection[str]) -> None:
        """Take the names, in lower case, that the platform has beside those of loopback."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it without reading its body."""
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if named and all(self._is_ours(_host(value)) for value in named):
            await self._app(scope, receive, send)
            return
        text = (
            f"the platform is not known as {', '.join(named)[:200]!r}: call it as localhost, "
            "or start it with FLOWC_PUBLIC_URL or FLOWC_API_KEY"
        )
        await problem(421, "misdirected_request", text)(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        return host == "localhost" or host in self._hosts or on_loopback(host)


@lru_cache(maxsize=1024)
def _host(value: str) -> str:
    """Return the name or address in a Host header, without brackets and port; nothing for what is malformed."""
    found = HOST.fullmatch(value.lower())
    return found[1] or found[2] if found else ""


@lru_cache(maxsize=1024)
def on_loopback(host: str) -> bool:
    """Whether a connection from the address `host` was made on this machine; what is no address is not."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _keys(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """Yield what may be a key: `X-API-Key: <key>` and `Authorization: Bearer <key>`."""
    for name, value in headers:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip()
