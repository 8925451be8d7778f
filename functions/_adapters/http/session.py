"""Connections of the one HTTP client, over aiohttp; see `client`, which imports this at the first call."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
from aiohttp.abc import ResolveResult

from functions._adapters.http.addresses import Networks, checked_url, refuse_address
from functions._adapters.http.reply import ANSWER_LIMIT, NotReached, Reply
from functions._core.errors import Rejected, Unavailable

BODY_SECONDS = 1.0
"""How long the body of an answer may take after its status line, which alone decides what the answer means."""

CONNECTIONS = 512
CONNECTIONS_PER_HOST = 64
"""One host that hangs can occupy an eighth of the connections, so the others go on."""

KEEP_ALIVE_SECONDS = 4.0
"""Idle connections go before servers drop theirs (often 5 s): a POST on a dead one is not repeated."""


class HttpSession:
    """Connections that an `HttpClient` shares among its calls."""

    def __init__(self, timeout_seconds: float, networks: Networks) -> None:
        """Open nothing yet; belongs to the running event loop."""
        self._networks = networks
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS,
                limit_per_host=CONNECTIONS_PER_HOST,
                keepalive_timeout=KEEP_ALIVE_SECONDS,
                resolver=GuardedResolver(networks),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"accept-encoding": "identity", "user-agent": "flowc"},
            timeout=self._timeout,
        )

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """See `HttpClient.request`."""
        target = checked_url(url, self._networks)
        try:
            async with self._session.request(
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

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


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
    """Return what comes of the body in its time: one that ends too early, late or never is no other answer."""
    body = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) >= ANSWER_LIMIT:
                    break
    return bytes(body[:ANSWER_LIMIT])
