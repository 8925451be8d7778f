"""People sign in at the OpenID Connect provider with a browser: authorization code flow with PKCE (RFC 6749, 7636).

The browser goes to the provider and comes back with a code. The platform redeems it at the token endpoint that the
provider's discovery document names, and nowhere else, so the browser talks to the platform alone. State is the
browser's to compare; the nonce is compared here, within the ID token whose signature holds.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote_plus, urlencode

from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Clock
from functions._core.records.principal import Principal
from functions._engine.jose import Malformed, json_object, taken_apart
from functions._engine.oidc import HTTP_OK, Oidc

ANSWER_BYTES = 64 * 1024
"""Bytes of the provider's answer that are read: a few tokens."""

AT_ONCE = 8
"""Codes that are redeemed at the same time: a provider that hangs holds no more requests than these."""

DOCUMENT_HOLDS = timedelta(hours=1)
PAUSE = timedelta(minutes=1)
"""How long a document that could not be fetched is not asked for again."""

MAX_TOKEN = 12 * 1024
"""Characters of a token: it must fit into the header of a request."""

LAST_MOMENT = 253_402_300_799.0
"""The last second of the year 9999, since 1970: moments end there."""

HTTP_REFUSED = range(400, 500)
WORD = re.compile(r"[a-z_]{1,60}", re.ASCII)


class Posted(Protocol):
    """An answer of the provider."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def complete(self) -> bool: ...


Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Posted]]
"""POSTs to a URL that the provider names; raises `Unavailable`, or `Rejected` for an address not allowed."""


class RegisteredClient(NamedTuple):
    """The console's client at the provider; without a `secret` PKCE alone proves that the code is the browser's."""

    client_id: str
    secret: str | None
    scope: str


class Offer(NamedTuple):
    """What a browser has to know; no `authorization_endpoint` while the provider cannot be asked."""

    issuer: str
    authorization_endpoint: str | None
    client_id: str
    scope: str


class SignedIn(NamedTuple):
    """Somebody who has signed in, and the token that proves it until `expires_at`."""

    token: str
    expires_at: datetime
    principal: Principal


class SignIn:
    """Lets people sign in at one provider."""

    def __init__(self, issuer: str, oidc: Oidc, client: RegisteredClient, post: Post, clock: Clock) -> None:
        self._issuer = issuer
        self._oidc = oidc
        self._client = client
        self._post = post
        self._clock = clock
        self._endpoints: tuple[str, str] | None = None
        self._tried: datetime | None = None
        self._fetching = asyncio.Lock()
        self._redeeming = 0

    async def offer(self) -> Offer:
        """Return what a browser has to know; never raises."""
        try:
            endpoint, _ = await self._found()
        except Unavailable:
            endpoint = None
        return Offer(self._issuer, endpoint, self._client.client_id, self._client.scope)

    async def redeem(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> SignedIn:
        """Return who has signed in.

        Raises `Rejected`, status 401, for a code that the provider refuses or an answer that does not prove anybody;
        `Unavailable` when the provider cannot be asked, or too many ask at once.
        """
        if self._redeeming >= AT_ONCE:
            raise Unavailable("too many people sign in at once; try again")
        self._redeeming += 1
        try:
            tokens = await self._redeemed(code, verifier, redirect_uri)
            return await self._proven(tokens, nonce)
        finally:
            self._redeeming -= 1

    async def _found(self) -> tuple[str, str]:
        """Return the authorization endpoint and the token endpoint."""
        async with self._fetching:
            now = self._clock.now()
            hold = PAUSE if self._endpoints is None else DOCUMENT_HOLDS
            if self._tried is None or now - self._tried >= hold:
                self._tried = now
                with suppress(Unavailable, Rejected, Malformed):  # what is known stays good: providers move rarely
                    self._endpoints = self._read(await self._oidc.discovered())
        if self._endpoints is None:
            raise Unavailable("the identity provider does not say where people sign in")
        return self._endpoints

    def _read(self, document: Mapping[str, Any]) -> tuple[str, str]:
        """Return both endpoints; raise `Malformed` for one that is no web address, or less safe than the issuer's."""
        schemes = ("https://",) if self._issuer.startswith("https://") else ("https://", "http://")
        found = document.get("authorization_endpoint"), document.get("token_endpoint")
        for url in found:
            if not isinstance(url, str) or not url.startswith(schemes) or not url.isprintable() or "#" in url:
                raise Malformed("the discovery document names no endpoints to sign in")
        return str(found[0]), str(found[1])

    async def _redeemed(self, code: str, verifier: str, redirect_uri: str) -> Mapping[str, Any]:
        """Return the token endpoint's answer to a code."""
        _, url = await self._found()
        client, secret, _ = self._client
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": client,
            "code_verifier": verifier,
        }
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if secret is not None:
            pair = f"{quote_plus(client)}:{quote_plus(secret)}".encode()
            headers["authorization"] = f"Basic {b64encode(pair).decode()}"
        try:
            answer = await self._post(url, headers, urlencode(form).encode())
            said = json_object(answer.body) if answer.complete else None
        except Malformed:
            said = None
        if said is None or answer.status not in {HTTP_OK, *HTTP_REFUSED}:
            raise Unavailable("the identity provider does not answer as it should")
        if answer.status != HTTP_OK:
            word = said.get("error")
            why = word if isinstance(word, str) and WORD.fullmatch(word) else "it does not say why"
            raise _refused(f"the identity provider refused to sign you in: {why}")
        return said

    async def _proven(self, tokens: Mapping[str, Any], nonce: str) -> SignedIn:
        """Return the caller that the tokens prove: by the access token if it is for the platform, else by the other."""
        id_token, access = tokens.get("id_token"), tokens.get("access_token")
        claims = await self._oidc.claims(id_token, self._client.client_id) if isinstance(id_token, str) else None
        if claims is None or claims.get("nonce") != nonce:
            raise _refused("the identity provider's answer belongs to another attempt to sign in")
        last: Rejected | None = None
        for token in (access, id_token):
            if not isinstance(token, str) or len(token) > MAX_TOKEN:
                continue
            try:
                principal = await self._oidc.identify(token)
            except Rejected as refusal:
                last = refusal
                continue
            if principal is not None:
                return SignedIn(token, _expiry(token), principal)
        raise last or _refused("the identity provider gave no token for this platform")


def _expiry(token: str) -> datetime:
    """Return until when a token holds that has been verified."""
    seconds = float(json_object(taken_apart(token).payload)["exp"])
    return datetime.fromtimestamp(max(0.0, min(seconds, LAST_MOMENT)), UTC)


def _refused(why: str) -> Rejected:
    return Rejected(why, code="sign_in_refused", status=401)
