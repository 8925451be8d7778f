"""Whom a credential proves: the first administrator by the platform's own key."""

import hmac
from collections.abc import Awaitable, Callable

from functions._core.records.principal import Principal, Role
from functions._engine.settings import Settings

FIRST_ADMIN = Principal(name="admin", roles=frozenset({Role.ADMIN}))
"""Whoever has FLOWC_API_KEY."""

Identify = Callable[[str], Awaitable[Principal | None]]


def identified(settings: Settings) -> Identify | None:
    """Return what finds the caller of a credential; None: access is off."""
    if settings.api_key is None:
        return None
    key = settings.api_key.get_secret_value().encode()

    async def identify(credential: str) -> Principal | None:
        return FIRST_ADMIN if hmac.compare_digest(credential.encode("latin-1"), key) else None

    return identify
