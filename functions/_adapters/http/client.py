"""The one HTTP client: all outbound calls of a process go through an `HttpClient`, which its owner closes.

Its connections are our own (`connection`), over the parser that serves requests, too: a call costs a third of the CPU
of one by aiohttp. It never follows redirects, keeps no cookies, uses no proxy, reads bounded answers, and calls no
address that `addresses` refuses: literals are refused before the call, names when they are resolved, so that what was
checked is what is connected to. Most functions never call anybody, so connections are imported at the first call.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from functions._adapters.http.addresses import EVERY_NETWORK, Networks
from functions._adapters.http.reply import Bounds, Reply
from functions._core.errors import Rejected, Unavailable

if TYPE_CHECKING:
    from functions._adapters.http.session import HttpSession

TIMEOUT_SECONDS = 5.0
"""A call to a worker, subscriber or sink, from waiting for a connection to the last byte read."""


class HttpClient:
    """Calls HTTP servers over shared connections; belongs to the event loop of its first call."""

    def __init__(
        self,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        networks: Networks = EVERY_NETWORK,
        ca_file: str | None = None,
    ) -> None:
        """Open nothing yet; only addresses within `networks` are called.

        `ca_file` has the certificates that are trusted in place of the system's; it is read with the first call.
        """
        self._networks, self._ca_file = networks, ca_file
        self._timeout_seconds = timeout_seconds
        self._session: HttpSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POST `body`; see `request`."""
        return await self.request("POST", url, headers, body)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", bounds: Bounds | None = None
    ) -> Reply:
        """Return the answer, whatever its status, and whatever becomes of its body.

        The answer to HEAD has no body and is never `complete`. `bounds` are those of this call alone. Raises `Rejected`
        with status 403 for an address that is never called and 400 for what is no HTTP address, `Unavailable` when no
        answer came, `NotReached` of it when nothing was sent.
        """
        if self._session is None:
            from functions._adapters.http.session import HttpSession  # noqa: PLC0415 see above

            self._session = HttpSession(self._timeout_seconds, self._networks, self._ca_file)
        return await self._session.request(method, url, headers, body, bounds)

    async def aclose(self) -> None:
        """Close all connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def post_to_setting(client: HttpClient, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
    """POST to an address that a setting names; return the answer, whatever its status.

    Raises `Unavailable` also for an address that may not be called: the setting can be corrected, and what waits goes
    out then. The events themselves are not to blame.
    """
    try:
        return await client.post(url, headers, body)
    except Rejected as refusal:
        raise Unavailable(str(refusal)) from refusal
