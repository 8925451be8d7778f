"""Whom a credential proves: the first administrator by the platform's own key, others by keys or by their provider."""

import hmac
from collections.abc import Awaitable, Callable

from functions._core.ports import Clock
from functions._core.records.principal import FIRST_ADMIN, Principal, Role
from functions._engine.api_keys import ApiKeys
from functions._engine.settings import Settings

Identify = Callable[[str], Awaitable[Principal | None]]


def identified(settings: Settings, keys: ApiKeys, clock: Clock) -> Identify | None:
    """Return what finds the caller of a credential; None: access is off."""
    if settings.access_is_off:
        return None
    own = settings.api_key.get_secret_value().encode() if settings.api_key else None
    by_provider = _by_provider(settings, clock)

    async def identify(credential: str) -> Principal | None:
        if own is not None and hmac.compare_digest(credential.encode("latin-1"), own):
            return Principal(FIRST_ADMIN, frozenset({Role.ADMIN}))
        known = await keys.identify(credential)
        return known or (await by_provider(credential) if by_provider is not None else None)

    return identify


def _by_provider(settings: Settings, clock: Clock) -> Identify | None:
    """Return what finds the caller by a token of the provider, if the settings name one; imported only then."""
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
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
    return Oidc(provider, fetch, clock).identify
