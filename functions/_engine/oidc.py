"""Bearer tokens of an OpenID Connect provider: who has signed in there is a caller here, with roles from a claim.

The provider's keys are fetched when the first token comes, and again each hour, or at most each minute for a key that
is not known: providers change keys without saying so, and strangers may name keys that nobody has.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Clock
from functions._core.records.principal import FIRST_ADMIN, Principal, Role
from functions._engine.jose import Malformed, PublicKey, json_object, public_key, taken_apart, verified

SKEW = timedelta(seconds=30)
"""How far the clocks of provider and platform may be apart."""

KEYS_HOLD = timedelta(hours=1)
UNKNOWN_KEY_PAUSE = timedelta(minutes=1)
MAX_KEYS = 100
DOCUMENT_BYTES = 256 * 1024
DISCOVERY = "/.well-known/openid-configuration"
TYPES = (None, "JWT", "at+jwt", "application/at+jwt")
MAX_NAME = 255
HTTP_OK = 200


class Fetched(Protocol):
    """An answer over HTTP."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


Fetch = Callable[[str], Awaitable[Fetched]]
"""GETs a URL that the settings or the provider name; raises `Unavailable`, or `Rejected` for an address not allowed."""


class Provider(NamedTuple):
    """An OpenID Connect provider, and how its tokens are read.

    `jwks_url` is where its keys are; None: where its discovery document says. `roles` maps what `roles_claim` holds to
    roles; empty: the claim holds our words. A claim may lie in another: `realm_access.roles`.
    """

    issuer: str
    audience: str
    jwks_url: str | None = None
    roles_claim: str = "roles"
    name_claim: str = "sub"
    roles: Mapping[str, Role] = {}


class Oidc:
    """Identifies callers by the tokens of one provider."""

    def __init__(self, provider: Provider, fetch: Fetch, clock: Clock) -> None:
        self._provider = provider
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, PublicKey] = {}
        self._fetched: datetime | None = None
        self._tried: datetime | None = None
        self._fetching = asyncio.Lock()

    async def identify(self, token: str) -> Principal | None:
        """Return the caller; None for a token that another issuer has made, or that is none.

        Raises `Rejected`, status 401, for a token that claims to be the provider's and does not hold; `Unavailable`
        when the provider's keys cannot be fetched and none are known.
        """
        claims = await self.claims(token, self._provider.audience)
        return None if claims is None else self._principal(claims)

    async def claims(self, token: str, audience: str) -> Mapping[str, Any] | None:
        """Return what the provider says in a token for `audience`; see `identify` for None and what is raised."""
        try:
            raw = taken_apart(token)
            if json_object(raw.payload).get("iss") != self._provider.issuer:
                return None
        except Malformed:
            return None
        try:
            claims = verified(raw, await self._key(raw.header.get("kid")), types=TYPES)
        except Malformed:
            raise _bad("the token is not valid") from None
        self._check(claims, audience)
        return claims

    async def _key(self, kid: str | None) -> PublicKey | None:
        """Return the key of a name; a provider of one key need not name it."""
        now = self._clock.now()
        stale = self._fetched is None or now - self._fetched >= KEYS_HOLD
        if stale or kid not in self._keys:
            await self._refresh(now)
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid or "")

    async def _refresh(self, now: datetime) -> None:
        """Fetch the keys, unless that was tried a moment ago; keep those that are known when it does not succeed."""
        async with self._fetching:
            if self._tried is not None and now - self._tried < UNKNOWN_KEY_PAUSE:
                if self._fetched is None:
                    raise Unavailable("the keys of the identity provider cannot be fetched")
                return
            self._tried = now
            try:
                self._keys = await self._fetched_keys()
                self._fetched = now
            except (Unavailable, Rejected, Malformed) as error:
                if self._fetched is None:
                    raise Unavailable("the keys of the identity provider cannot be fetched") from error

    async def _fetched_keys(self) -> Mapping[str, PublicKey]:
        url = self._provider.jwks_url
        if url is None:
            url = (await self.discovered()).get("jwks_uri")
            if not isinstance(url, str):
                raise Malformed("the discovery document names no keys")
        listed = (await self._document(url)).get("keys")
        keys: dict[str, PublicKey] = {}
        for jwk in listed[:MAX_KEYS] if isinstance(listed, list) else ():
            with suppress(Malformed):  # providers publish keys of other kinds, too
                key = public_key(jwk)
                keys[key.kid] = key
        if not keys:
            raise Malformed("no key that can be used")
        return keys

    async def discovered(self) -> Mapping[str, Any]:
        """Return the provider's discovery document; raise `Malformed` for one of another issuer, or none."""
        found = await self._document(self._provider.issuer.rstrip("/") + DISCOVERY)
        if found.get("issuer") != self._provider.issuer:
            raise Malformed("the discovery document is another issuer's")
        return found

    async def _document(self, url: str) -> Mapping[str, Any]:
        answer = await self._fetch(url)
        if answer.status != HTTP_OK:
            raise Unavailable(f"the identity provider answered {answer.status}")
        return json_object(answer.body)

    def _check(self, claims: Mapping[str, Any], audience: str) -> None:
        said = claims.get("aud")
        if audience not in (said if isinstance(said, list) else [said]):
            raise _bad("the token was made for somebody else")
        now = self._clock.now().timestamp()
        ends, begins = _number(claims.get("exp")), _number(claims.get("nbf", 0))
        if ends is None or begins is None:
            raise _bad("the token does not say until when it holds")
        if ends <= now - SKEW.total_seconds():
            raise Rejected("the token has expired", code="expired_token", status=401)
        if begins > now + SKEW.total_seconds():
            raise _bad("the token does not hold yet")

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        provider = self._provider
        name = _at(claims, provider.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or UNPRINTABLE.search(name):
            raise _bad(f"the token has no name in {provider.name_claim}")
        said = _at(claims, provider.roles_claim)
        words = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
        known = provider.roles or {role.value: role for role in Role}
        roles = frozenset(known[word] for word in words if isinstance(word, str) and word in known)
        # What a caller does is kept under this name: it must not be taken for that of the administrator.
        return Principal(f"{name} of {provider.issuer}" if name == FIRST_ADMIN else name, roles)


def _at(claims: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 any JSON value
    """Return the claim of this name; else that which lies in others, with points between their names."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _bad(why: str) -> Rejected:
    return Rejected(why, code="bad_token", status=401)
