"""Who may call: clients on this machine freely, all others with the platform's key; and no page in a browser.

Where a client is follows from its connection alone. A header never lets anybody in because of what it says about
that; one that says that a proxy passed the request on keeps it from counting as made on this machine.

A browser on this machine is a client, too, and the pages in it come from anywhere. Two things keep them out:

- A page can send what a form can send, to any address (cross-site request forgery). The browser says where the page
  is from (`Origin`, `Sec-Fetch-Site`), and a form cannot say that its body is JSON. Both are asked of every request
  that may change something.
- A page can let its own name lead here (DNS rebinding). Then it is of the same origin, but its requests name its host.
  Only a client that is let in without a key is asked for the host: whoever sends the key is no page, and the hosts of
  a cluster's ingress or of a gateway are not known here.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from fastapi import Response

from functions.api.problems import HEADERS, problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

OPEN = frozenset({"/health", "/ready"})
"""Whoever watches over the platform has no key, and learns no more than whether it works."""

REPORTS = re.compile(r"/api/v1/flows/[^/]+/reports")
"""Authorised by the token of the assignment, which proves more than a key does."""

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::(\d*))?", re.ASCII)
PORTS = {"http": "80", "https": "443"}

FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing here. A page of elsewhere may send them; its browser keeps the answer from it."""

OWN_SITE = frozenset({b"same-origin", b"none"})
"""Values of Sec-Fetch-Site for a page of the platform itself, and for a person who typed the address."""

JSON = re.compile(
    rb"[^/\s;,]+/(?:[^/\s;,]+\+)?json|application/cloudevents(?:-batch)?\+[a-z]+|application/avro|avro/binary"
)
"""Media types that a page of elsewhere cannot send; a form has three others, and they are always refused."""

NOT_OF_A_FORM = frozenset({b"ce-specversion", b"ce-type", b"x-api-key", b"x-requested-with", b"authorization"})
"""Headers that no form can set: each stands for a content type that is not said."""


class FrontDoor:
    """ASGI middleware that refuses a request, without reading its body, for where it comes from.

    421 for a host that is not the platform's, 403 and 415 for what a page in a browser may have sent, 401 for a client
    elsewhere without the key.
    """

    def __init__(
        self, app: Asgi, key: str | None, hosts: Collection[str] | None, origins: Collection[str] = ()
    ) -> None:
        """Take the key as it is sent, and the platform's names and origins beside those of loopback, in lower case.

        Without a key nobody is asked for one. Without `hosts` requests may name any.
        """
        self._app = app
        self._key = None if key is None else key.encode()
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Message) -> Response | None:
        headers: Headers = scope["headers"]
        # All keys are compared, each in constant time: how long it takes says nothing about the key.
        known = self._key is not None and sum([hmac.compare_digest(given, self._key) for given in _keys(headers)]) > 0
        misdirected = None if known else self._misdirected(scope, headers)
        return misdirected or self._from_a_page(scope, headers) or (None if known else self._without_key(scope))

    def _misdirected(self, scope: Message, headers: Headers) -> Response | None:
        asked = self._key is None or on_this_machine(scope)
        if self._hosts is None or not asked or scope["path"] == "/health":
            return None
        named = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if named and all(self._is_ours(split_host(value)[0]) for value in named):
            return None
        text = (
            f"the platform is not known as {', '.join(named)[:200]!r}: call it as localhost, "
            "start it with FLOWC_PUBLIC_URL, or send FLOWC_API_KEY with the request"
        )
        return problem(421, "misdirected_request", text)

    def _from_a_page(self, scope: Message, headers: Headers) -> Response | None:
        if scope["method"] in SAFE:
            return None
        for name, value in headers:
            if (name == b"sec-fetch-site" and value.strip().lower() not in OWN_SITE) or (
                name == b"origin" and not self._is_own(value.decode("latin-1").lower(), scope, headers)
            ):
                text = "a web page of another origin may not change anything here; send the request from a program"
                return problem(403, "cross_site", text)
        media = [value.partition(b";")[0].strip().lower() for name, value in headers if name == b"content-type"]
        if all(JSON.fullmatch(value) for value in media) and (media or _needs_none(headers)):
            return None
        said = b", ".join(media).decode("latin-1")[:100]
        text = f"the content type {said!r} is not JSON: a request that may change something says application/json"
        event = scope["path"] == "/" or REPORTS.fullmatch(scope["path"])
        return problem(415, "unsupported_media_type" if event else "not_json", text)

    def _is_own(self, origin: str, scope: Message, headers: Headers) -> bool:
        """Whether a page of `origin` is one of the platform's own: same scheme, host and port."""
        scheme, _, authority = origin.partition("://")
        if origin in self._origins:
            return True
        if scheme != scope.get("scheme", "http"):
            return False
        theirs = split_host(authority, scheme)
        for named in (split_host(value.decode("latin-1"), scheme) for name, value in headers if name == b"host"):
            if theirs == named or (theirs[1] == named[1] and _is_local(theirs[0]) and _is_local(named[0])):
                return bool(theirs[0])
        return False

    def _without_key(self, scope: Message) -> Response | None:
        path: str = scope["path"]
        if self._key is None or path in OPEN or (scope["method"] == "POST" and REPORTS.fullmatch(path)):
            return None
        if on_this_machine(scope):
            return None
        text = "a client that is not on the platform's machine has to send its key: X-API-Key: <key>"
        return problem(401, "missing_key", text, HEADERS[401])

    def _is_ours(self, host: str) -> bool:
        return _is_local(host) or (self._hosts is not None and host in self._hosts)


def on_this_machine(scope: Message) -> bool:
    """Whether a request was made on this machine, and not passed on by a proxy on it."""
    client = scope.get("client")
    return client is not None and on_loopback(client[0]) and FORWARDED.isdisjoint(name for name, _ in scope["headers"])


@lru_cache(maxsize=1024)
def split_host(value: str, scheme: str = "http") -> tuple[str, str]:
    """Return name (or address, without brackets) and port of a Host header; two empty texts for a malformed one."""
    found = HOST.fullmatch(value.lower())
    return (found[1] or found[2], found[3] or PORTS.get(scheme, "")) if found else ("", "")


@lru_cache(maxsize=1024)
def on_loopback(host: str) -> bool:
    """Whether a connection from the address `host` was made on this machine; what is no address is not."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _is_local(host: str) -> bool:
    return host == "localhost" or on_loopback(host)


def _needs_none(headers: Headers) -> bool:
    """Whether a request needs no content type: it has no body, or a header that no form can set.

    Without a body the content type may be absent: curl sends a POST so, and a browser always sends `Origin` with it.
    """
    names = {name for name, _ in headers}
    if not NOT_OF_A_FORM.isdisjoint(names):
        return True
    length = next((value for name, value in headers if name == b"content-length"), b"0")
    return b"transfer-encoding" not in names and not length.strip(b"0 ")


def _keys(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[bytes]:
    """Yield what may be a key: `X-API-Key: <key>` and `Authorization: Bearer <key>`."""
    for name, value in headers:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip()
