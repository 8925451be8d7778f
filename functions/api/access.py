"""Who may call: whoever proves who it is; where access is off, all clients of this machine; and no page in a browser.

Access is off on a platform that only this machine reaches and that was given no key. Everywhere else a request brings
a credential, which is looked at before anything else of it is: a key, the token of an identity provider, or the token
of a ticket. What the credential proves is the `Principal`, which the routes ask for roles (see `roles`).

A browser on this machine is a client, too, and the pages in it come from anywhere. Two things keep them out:

- A page can send what a form can send, to any address (cross-site request forgery). The browser says where the page
  is from (`Origin`, `Sec-Fetch-Site`), and a form cannot say that its body is JSON. Both are asked of every request
  that may change something.
- A page can let its own name lead here (DNS rebinding). Then it is of the same origin, but its requests name its host.
  It is asked for where access is off: whoever sends a credential is no page, and the hosts of a cluster's ingress or
  of a gateway are not known here.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Any

from fastapi import Request, Response

from functions._core.errors import Rejected, Unavailable
from functions._core.records.attempts import of_attempt
from functions._core.records.models import Ticket
from functions._core.records.principal import Principal
from functions._core.records.values import TicketStatus
from functions.api.problems import HEADERS, answer_to, problem

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

Authenticate = Callable[[str], Awaitable[Principal | None]]
"""Returns whom a credential proves, None for none; raises `Rejected`, status 401, or `Unavailable`."""

SESSION = "/api/v1/session"
"""Whoever signs in has no credential yet."""

SCHEMAS = frozenset(f"/schemas/{name}.json" for name in ("plan", "decision", "slo-definition", "sla-policy"))
OPEN = frozenset(
    {"/health", "/live", "/ready", "/.well-known/jwks.json", "/.well-known/agent-card.json", *SCHEMAS, SESSION}
)
"""Whoever watches over the platform has no key, and learns no more than whether it works; public keys are public, as
are schemas, which editors fetch.
"""

CONSOLE = "/console"
"""The files of the console are open as well, at the paths below this one and at `/`: it asks for the key itself."""

TICKETS = "/api/v1/tickets/"
"""Paths at which the token of a ticket is looked at even where access is off: it must not open another ticket."""

MAX_CREDENTIAL = 16 * 1024
"""Characters of a credential; a longer one is no key, and no identity provider makes such a token."""

MAX_CREDENTIALS = 4
"""Credentials of one request that are looked at: each may cost a read of the store."""

REPORTS = re.compile(r"/api/v1/flows/[^/]+/reports")
"""Authorised by the token of the assignment, which proves more than a key does."""

SIGNED = frozenset({"/api/v1/webhooks/pipeline-completed", "/webhooks/alertmanager"})
"""Authorised by a secret of their own: by the signature of the body, or by the secret as a bearer token."""

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::(\d*))?", re.ASCII)
PORTS = {"http": "80", "https": "443"}

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing here. A page of elsewhere may send them; its browser keeps the answer from it."""

OWN_SITE = frozenset({b"same-origin", b"none"})
"""Values of Sec-Fetch-Site for a page of the platform itself, and for a person who typed the address."""

JSON = re.compile(
    rb"[^/\s;,]+/(?:[^/\s;,]+\+)?json|application/cloudevents(?:-batch)?\+[a-z]+|application/avro|avro/binary"
    rb"|application/(?:x-)?yaml"
)
"""Media types that a page of elsewhere cannot send; a form has three others, and they are always refused."""

NOT_OF_A_FORM = frozenset({b"ce-specversion", b"ce-type", b"x-api-key", b"x-requested-with", b"authorization"})
"""Headers that no form can set: each stands for a content type that is not said."""


class FrontDoor:
    """ASGI middleware that refuses a request, without reading its body, for where it comes from or whose it is.

    421 for a host that is not the platform's, 403 and 415 for what a page in a browser may have sent, 401 without a
    credential that is good, 503 when that cannot be found out. `scope["state"]["principal"]` is the caller, if known.
    """

    def __init__(
        self,
        app: Asgi,
        authenticate: Authenticate,
        hosts: Collection[str] | None,
        origins: Collection[str] = (),
        *,
        off: bool,
        slow_down: Callable[[Message], Awaitable[Response | None]] | None = None,
    ) -> None:
        """Take the platform's names and origins beside those of loopback, in lower case; `off`: let everybody in.

        Without `hosts` requests may name any. `slow_down` refuses a client without a credential that asks too often.
        """
        self._app = app
        self._authenticate = authenticate
        self._hosts = hosts
        self._origins = origins
        self._off = off
        self._slow_down = slow_down

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal: Response | None = None
        if scope["type"] == "http":
            headers: Headers = scope["headers"]
            refusal = (self._misdirected(scope, headers) if self._off else None) or self._from_a_page(scope, headers)
            if refusal is None and self._asks(scope):
                refusal = await self._unknown(scope, headers)
                if refusal is not None and self._slow_down is not None:
                    refusal = await self._slow_down(scope) or refusal
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _asks(self, scope: Message) -> bool:
        """Whether credentials are looked at."""
        path: str = scope["path"]
        if self._off:
            return path.startswith(TICKETS)
        if path in OPEN or (scope["method"] in SAFE and (path in {"/", CONSOLE} or path.startswith(f"{CONSOLE}/"))):
            return False
        return not (scope["method"] == "POST" and (path in SIGNED or REPORTS.fullmatch(path)))

    async def _unknown(self, scope: Message, headers: Headers) -> Response | None:
        """Return the refusal of a caller that is not known; keep one that is.

        Where access is off only the token of a ticket counts, which restricts.
        """
        refusal: Response | None = None
        for credential in islice(_credentials(headers), MAX_CREDENTIALS):
            if self._off and credential.count(".") != 2:  # noqa: PLR2004 parts of a token
                continue
            try:
                principal = await self._authenticate(credential) if len(credential) <= MAX_CREDENTIAL else None
            except (Rejected, Unavailable) as error:
                refusal = answer_to(error)
                continue
            if principal is not None:
                scope.setdefault("state", {})["principal"] = principal
                return None
        if refusal is not None or self._off:
            return refusal
        text = "a client has to send a key that is known here: X-API-Key: <key>, or a bearer token"
        return problem(401, "missing_key", text, HEADERS[401])

    def _misdirected(self, scope: Message, headers: Headers) -> Response | None:
        if self._hosts is None or scope["path"] == "/health":
            return None
        named = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if named and all(self._is_ours(split_host(value)[0]) for value in named):
            return None
        text = (
            f"the platform is not known as {', '.join(named)[:200]!r}: call it as localhost, "
            "or start it with FLOWC_PUBLIC_URL, or with FLOWC_API_KEY and send that"
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

    def _is_ours(self, host: str) -> bool:
        return _is_local(host) or (self._hosts is not None and host in self._hosts)


def principal_of(request: Request) -> Principal | None:
    """Return the caller of a request; None where access is off."""
    principal: Principal | None = request.scope.get("state", {}).get("principal")
    return principal


def acting(request: Request, otherwise: str) -> str:
    """Return the name under which what a request asks for is kept: the caller's if known, whatever the request says."""
    principal = principal_of(request)
    return otherwise if principal is None else principal.name


def check_attempt(request: Request, ticket: Ticket) -> None:
    """Raise `Rejected`, status 403, when the caller is known by the token of an attempt that does not run.

    The owner of a ticket that no worker holds is known by the token of the next attempt.
    """
    principal = principal_of(request)
    if principal is None or principal.attempt is None or invited(principal, ticket):
        return
    ticket = of_attempt(ticket, principal.attempt)
    if principal.attempt != ticket.attempt or ticket.worker_id not in {None, principal.name}:
        raise Rejected("the token was made for another attempt", code="foreign_token", status=403)


def invited(principal: Principal, ticket: Ticket) -> bool:
    """Whether a caller has the token for the attempt that begins when it claims the ticket."""
    return ticket.status is TicketStatus.PENDING and principal.attempt == ticket.attempt + 1


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


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[str]:
    """Yield what may be a credential: `X-API-Key: <key>` and `Authorization: Bearer <key or token>`."""
    for name, value in headers:
        if name == b"x-api-key":
            yield value.decode("latin-1")
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip().decode("latin-1")
