"""Rate limits over HTTP: a request takes a token before its body is read; whoever has none left gets a 429."""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from fastapi import Response

from functions._core.rate_limits import READ, STRANGER, WORKER, WRITE, Allowance, Limit, whole_seconds
from functions._core.records.principal import Principal, Role
from functions.api.access import SAFE, Asgi, Message, Receive, Send
from functions.api.problems import problem

UNLIMITED = frozenset({"/health", "/live", "/ready", "/metrics"})
"""Whoever watches over the platform must see it when it is flooded, too."""

WORKERS = ("/api/v1/workers", "/api/v1/agents", "/api/v1/tasks")
"""Registrations, heartbeats and requests for tickets: all workers may have one key."""

MCP = "/mcp"
"""A message of MCP counts as reading: the call of a tool in it is a request of its own, and counts as what it is."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that tell clients apart: one client has all addresses behind them."""


class Limiter(Protocol):
    """Counts the requests of clients."""

    async def take(self, client: str, name: str) -> Allowance | None:
        """Take a token of the limit `name`; None where nothing is limited."""


class RateLimits:
    """ASGI middleware behind the front door: limits the requests of callers that are known.

    Reports are limited by their endpoint, which knows the worker; see `slowed_down`.
    """

    def __init__(self, app: Asgi, limiter: Limiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        principal: Principal | None = scope.get("state", {}).get("principal") if scope["type"] == "http" else None
        if principal is None or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        name = limit_of(principal, scope)
        allowance = await self._limiter.take(client_of(principal), name)
        if allowance is None:
            await self._app(scope, receive, send)
        elif allowance.allowed:
            await self._app(scope, receive, send if name == WORKER else _showing(allowance, send))
        else:
            await refusal(allowance)(scope, receive, send)


def limit_of(principal: Principal, scope: Message) -> str:
    """Return the limit that a request counts against."""
    if principal.attempt is not None or principal.roles == {Role.WORKER}:
        return WORKER
    if scope["method"] in SAFE or scope["path"] == MCP:
        return READ
    return WORKER if scope["path"].startswith(WORKERS) else WRITE


def client_of(principal: Principal) -> str:
    """Return the name under which the requests of a caller are counted."""
    if principal.attempt is not None:
        return f"worker:{principal.name}"
    return f"name:{principal.name}" if principal.key_id is None else f"key:{principal.key_id}"


async def slowed_down(limiter: Limiter, worker_id: str) -> Response | None:
    """Return the refusal of a report by a worker that has sent too many; None: it may pass."""
    allowance = await limiter.take(f"worker:{worker_id}", WORKER)
    return None if allowance is None or allowance.allowed else refusal(allowance)


async def stranger_slowed_down(limiter: Limiter | None, scope: Message) -> Response | None:
    """Return the refusal of a client that has sent too many requests without a good credential; None otherwise."""
    if limiter is None:
        return None
    client = scope.get("client")
    allowance = await limiter.take(f"address:{_network(client[0] if client else '')}", STRANGER)
    return None if allowance is None or allowance.allowed else refusal(allowance)


def refusal(allowance: Allowance) -> Response:
    """Return the answer to a request that has no token left."""
    limit, seconds = allowance.limit, whole_seconds(allowance.retry_after)
    headers = {"retry-after": str(seconds), **headers_of(allowance)}
    if limit.at_once:
        text = f"the quota of {limit.size} requests a day is used up; it is full again in {seconds} s"
        return problem(429, "quota_exceeded", text, headers)
    rate = f"{limit.size / limit.seconds:g}"
    text = (
        f"the limit {limit.name!r} allows {rate} requests a second and {limit.size} at once; try again in {seconds} s"
    )
    return problem(429, "rate_limited", text, headers)


def headers_of(allowance: Allowance) -> Mapping[str, str]:
    """Return the RateLimit headers: those of the IETF's draft, and the older ones that many clients read."""
    limit, reset = allowance.limit, whole_seconds(allowance.reset)
    return {
        "ratelimit-policy": _policy(limit),
        "ratelimit": f'"{limit.name}";r={allowance.remaining};t={reset}',
        "x-ratelimit-limit": str(limit.size),
        "x-ratelimit-remaining": str(allowance.remaining),
        "x-ratelimit-reset": str(reset),
    }


def _policy(limit: Limit) -> str:
    return f'"{limit.name}";q={limit.size};w={whole_seconds(limit.seconds)}'


def _showing(allowance: Allowance, send: Send) -> Send:
    """Return `send` that adds the RateLimit headers to an answer."""

    async def showing(message: Message) -> None:
        if message["type"] == "http.response.start":
            lines = [(name.encode(), value.encode()) for name, value in headers_of(allowance).items()]
            message["headers"] = [*message.get("headers", ()), *lines]
        await send(message)

    return showing


def _network(host: str) -> str:
    """Return what tells a client apart by its address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    return str(address.ipv4_mapped or ip_network((address, IPV6_PREFIX), strict=False))
