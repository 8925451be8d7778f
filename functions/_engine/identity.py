"""Whom a credential proves: the first administrator by the platform's own key, others by keys that were made."""

import hmac
from collections.abc import Awaitable, Callable

from functions._core.records.principal import Principal, Role
from functions._engine.api_keys import ApiKeys
from functions._engine.settings import Settings

FIRST_ADMIN = Principal(name="admin", roles=frozenset({Role.ADMIN}))
"""Whoever has FLOWC_API_KEY."""

Identify = Callable[[str], Awaitable[Principal | None]]


def identified(settings: Settings, keys: ApiKeys) -> Identify | None:
    """Return what finds the caller of a credential; None: access is off."""
    if settings.access_is_off:
        return None
    own = settings.api_key.get_secret_value().encode() if settings.api_key else None

    async def identify(credential: str) -> Principal | None:
        if own is not None and hmac.compare_digest(credential.encode("latin-1"), own):
            return FIRST_ADMIN
        return await keys.identify(credential)

    return identify
