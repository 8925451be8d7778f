"""Calls of URLs that a stranger can name beside workers: webhooks, OIDC providers, key sets, Vault.

What `client` promises holds: no redirects, no proxy, no address outside `networks` in any notation, and names are
called where their check has found them. Beyond that each call has its own bounds, a URL brings no credentials, and
headers are only those that cannot change where a request ends.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from functions._adapters.http.addresses import Networks, checked_url
from functions._adapters.http.client import HttpClient
from functions._adapters.http.reply import ANSWER_LIMIT, Bounds
from functions._adapters.http.reply import Reply as OutboundAnswer
from functions._core.errors import Rejected

__all__ = ["OutboundAnswer", "OutboundClient"]

TIMEOUT_SECONDS = 10.0
URL_CHARACTERS = 2048

METHODS = frozenset({"DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"})

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONNECTION_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that belong to the connection: the client alone sets them."""


class OutboundClient:
    """Calls HTTP servers within `networks`; belongs to the event loop of its first call, and `aclose` ends it."""

    def __init__(self, networks: Networks) -> None:
        """Open nothing yet."""
        self._networks = networks
        self._client = HttpClient(networks=networks)

    def check(self, url: str) -> None:
        """Raise what `request` raises for a URL before anything is sent; a name may yet lead elsewhere."""
        if len(url) > URL_CHARACTERS:
            raise Rejected(f"a URL has at most {URL_CHARACTERS} characters", code="bad_address")
        try:
            checked_url(url, self._networks)
        except Rejected as refusal:
            raise _forbidden(refusal) from refusal
        if "@" in urlsplit(url).netloc:
            raise Rejected("a URL may not hold a name or a password", code="bad_address")

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 it ends the connection, too
        limit: int = ANSWER_LIMIT,
    ) -> OutboundAnswer:
        """Return the answer, whatever its status, after `timeout` seconds at the latest.

        Up to `limit` bytes of its body are read; `complete` tells whether that is all of it. A redirect is an answer
        like any other.

        Raises `Unavailable` when no answer came, and `Rejected`: code `forbidden_address` for an address that may not
        be called, `bad_address` for what is no HTTP address, `bad_request` for a method or header that is not sent.
        """
        self.check(url)
        for name in headers or ():
            if not HEADER_NAME.fullmatch(name) or name.lower() in CONNECTION_HEADERS:
                raise Rejected(f"the header {name[:100]!r} may not be sent", code="bad_request")
        if method not in METHODS:
            raise Rejected(f"the method {method[:20]!r} is none of {', '.join(sorted(METHODS))}", code="bad_request")
        try:
            return await self._client.request(method, url, headers or {}, body, Bounds(timeout, timeout, limit))
        except Rejected as refusal:
            raise _forbidden(refusal) from refusal

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _forbidden(refusal: Rejected) -> Rejected:
    """Return the refusal with one code for every address that may not be called."""
    code = "forbidden_address" if refusal.code == "forbidden_network" else refusal.code
    return Rejected(str(refusal), code=code, status=refusal.status)
