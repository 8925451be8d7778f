"""The one HTTP client: all outbound calls of a process go through an `HttpClient`, which its owner closes.

It speaks aiohttp, because httpx costs several times the CPU per call over either transport. It never
follows redirects, keeps no cookies, uses no proxy, reads bounded answers, and never connects to link-local
or cloud metadata addresses: literals are refused before the call, names when they are resolved, so that
what was checked is what is connected to.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from functions._core.errors import Rejected, Unavailable

TIMEOUT_SECONDS = 5.0
"""A call to a worker, subscriber or sink, from looking for a connection to the last byte read."""

ANSWER_LIMIT = 64 * 1024
"""Bytes read of an answer; nothing that is ever read of one is longer."""

CONNECTIONS = 512
CONNECTIONS_PER_HOST = 64
"""One host that hangs can occupy an eighth of the connections, so the others go on."""

KEEP_ALIVE_SECONDS = 4.0
"""Idle connections go before servers drop theirs (often 5 s): a POST on a dead one is not repeated."""

FORBIDDEN_NAMES = frozenset(
    {"instance-data", "instance-data.ec2.internal", "metadata", "metadata.goog", "metadata.google.internal"}
)
FORBIDDEN_NETWORKS = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local, with the metadata services of AWS, Azure, Google and most others
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
    )
)
NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered; `body` is cut at `ANSWER_LIMIT`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def text(self) -> str:
        """The body as text, whatever its bytes."""
        return self.body.decode(errors="replace")


class HttpClient:
    """Calls HTTP servers over shared connections; belongs to the event loop of its first call."""

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POST `body`; see `request`."""
        return await self.request("POST", url, headers, body)

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """Return the answer, whatever its status.

        Raises `Rejected` with status 403 for an address that is never called and 400 for what is no HTTP
        address, `Unavailable` when no answer came.
        """
        target = _target(url)
        try:
            async with self._opened().request(
                method, target, headers=headers, data=body, allow_redirects=False
            ) as response:
                return Reply(response.status, response.headers, await _read(response))
        except TimeoutError as error:
            raise Unavailable(f"{target.host} did not answer in {self._timeout.total:g} s") from error
        except ValueError as error:  # such as a line break in a header; the text of the error may be secret
            raise Rejected("the request cannot be made", code="bad_request") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{target.host} cannot be reached: {error}") from error

    async def aclose(self) -> None:
        """Close all connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS,
                    limit_per_host=CONNECTIONS_PER_HOST,
                    keepalive_timeout=KEEP_ALIVE_SECONDS,
                    resolver=GuardedResolver(),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"accept-encoding": "identity", "user-agent": "flowc"},
                timeout=self._timeout,
            )
        return self._session


class GuardedResolver(aiohttp.ThreadedResolver):
    """The system's resolver, refusing names that lead to an address that is never called."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; raise `Rejected` when one of them is forbidden."""
        found = await super().resolve(host, port, family)
        for result in found:
            refuse_forbidden(result["host"])
        return found


def refuse_forbidden(host: str) -> None:
    """Raise `Rejected` with status 403 when `host`, a name or an address in any notation, is never called."""
    if _is_forbidden(host):
        raise Rejected(
            f"link-local and cloud metadata addresses are never called: {host}",
            code="forbidden_address",
            status=403,
        )


@lru_cache(maxsize=1024)
def _is_forbidden(host: str) -> bool:
    name = host.lower().rstrip(".")
    address = _address(name)
    if address is None:
        return name in FORBIDDEN_NAMES
    return any(address in network for network in FORBIDDEN_NETWORKS)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that `name` writes, an IPv4 one inside an IPv6 one unwrapped; None for a name."""
    try:
        address = ip_address(name)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(name))  # systems also read "2852039166" and "0xa9fe.43518"
        except OSError:
            return None
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _target(url: str) -> URL:
    try:
        target = URL(url)
    except ValueError as error:
        raise _no_address(url) from error
    if target.scheme not in {"http", "https"} or not target.raw_host:
        raise _no_address(url)
    refuse_forbidden(target.raw_host)
    return target


def _no_address(url: str) -> Rejected:
    return Rejected(f"not an HTTP address: {url[:200]!r}", code="bad_address")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= ANSWER_LIMIT:
            break
    return bytes(body[:ANSWER_LIMIT])
