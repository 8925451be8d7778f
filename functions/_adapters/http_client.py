"""The one HTTP client: all outbound calls of a process go through an `HttpClient`, which its owner closes.

It speaks aiohttp, because httpx costs several times the CPU per call over either transport. It never
follows redirects, keeps no cookies, uses no proxy, reads bounded answers, and connects to no address that
`addresses` refuses: literals are refused before the call, names when they are resolved, so that what was
checked is what is connected to.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from aiohttp.abc import ResolveResult

from functions._adapters.addresses import EVERY_NETWORK, Networks, checked_url, refuse_address
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


class NotReached(Unavailable):
    """There was no connection, so nothing was sent."""


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

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS, networks: Networks = EVERY_NETWORK) -> None:
        """Open nothing yet; only addresses within `networks` are called."""
        self._networks = networks
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POST `body`; see `request`."""
        return await self.request("POST", url, headers, body)

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """Return the answer, whatever its status.

        Raises `Rejected` with status 403 for an address that is never called and 400 for what is no HTTP
        address, `Unavailable` when no answer came, `NotReached` of it when nothing was sent.
        """
        target = checked_url(url, self._networks)
        try:
            async with self._opened().request(
                method, target, headers=headers, data=body, allow_redirects=False
            ) as response:
                return Reply(response.status, response.headers, await _read(response))
        except TimeoutError as error:
            raise Unavailable(f"{target.host} did not answer in {self._timeout.total:g} s") from error
        except ValueError as error:  # such as a line break in a header; the text of the error may be secret
            raise Rejected("the request cannot be made", code="bad_request") from error
        except aiohttp.ClientConnectorError as error:
            raise NotReached(f"{target.host} cannot be reached: {error}") from error
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
                    resolver=GuardedResolver(self._networks),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"accept-encoding": "identity", "user-agent": "flowc"},
                timeout=self._timeout,
            )
        return self._session


class GuardedResolver(aiohttp.ThreadedResolver):
    """The system's resolver, refusing names that lead to an address that may not be called."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self._networks = networks

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; raise `Rejected` when one of them may not be called."""
        found = await super().resolve(host, port, family)
        for result in found:
            refuse_address(result["host"], self._networks)
        return found


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= ANSWER_LIMIT:
            break
    return bytes(body[:ANSWER_LIMIT])
