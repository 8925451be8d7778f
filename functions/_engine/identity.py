"""Whom a credential proves: the first administrator by the platform's own key, others by keys or by their provider."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from functions._core.ports import Clock
from functions._core.records.principal import FIRST_ADMIN, Principal, Role
from functions._engine.api_keys import ApiKeys
from functions._engine.settings import Settings

if TYPE_CHECKING:
    from functions._engine.sign_in import SignIn

Identify = Callable[[str], Awaitable[Principal | None]]


class Identity(NamedTuple):
    """How callers are known: by `identify`, None where access is off; `sign_in` lets people get a token."""

    identify: Identify | None
    sign_in: "SignIn | None" = None


def identity_of(settings: Settings, keys: ApiKeys, clock: Clock) -> Identity:
    """Return how callers are known."""
    if settings.access_is_off:
        return Identity(None)
    own = settings.api_key.get_secret_value().encode() if settings.api_key else None
    by_provider, sign_in = _by_provider(settings, clock)

    async def identify(credential: str) -> Principal | None:
        if own is not None and hmac.compare_digest(credential.encode("latin-1"), own):
            return Principal(FIRST_ADMIN, frozenset({Role.ADMIN}))
        known = await keys.identify(credential)
        return known or (await by_provider(credential) if by_provider is not None else None)

    return Identity(identify, sign_in)


def _by_provider(settings: Settings, clock: Clock) -> "tuple[Identify | None, SignIn | None]":
    """Return what finds the caller by a token of the provider, if the settings name one; imported only then."""
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None, None
    from functions._adapters.http.outbound import OutboundAnswer, OutboundClient
    from functions._engine.oidc import DOCUMENT_BYTES, Oidc, Provider

    client = OutboundClient(settings.networks)

    async def fetch(url: str) -> OutboundAnswer:
        return await client.request("GET", url, headers={"accept": "application/json"}, limit=DOCUMENT_BYTES)

    provider = Provider(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        jwks_url=str(settings.oidc_jwks_url) if settings.oidc_jwks_url else None,
        roles_claim=settings.oidc_roles_claim,
        name_claim=settings.oidc_name_claim,
        roles={name: Role(role) for name, _, role in (pair.partition("=") for pair in settings.oidc_roles.split())},
    )
    oidc = Oidc(provider, fetch, clock)
    if settings.oidc_client_id is None:
        return oidc.identify, None
    from functions._engine.sign_in import ANSWER_BYTES, RegisteredClient, SignIn

    secret = settings.oidc_client_secret
    registered = RegisteredClient(
        settings.oidc_client_id, secret.get_secret_value() if secret else None, settings.oidc_scope
    )

    async def post(url: str, headers: Mapping[str, str], body: bytes) -> OutboundAnswer:
        return await client.request("POST", url, headers=headers, body=body, limit=ANSWER_BYTES)

    return oidc.identify, SignIn(settings.oidc_issuer, oidc, registered, post, clock)
