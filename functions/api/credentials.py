"""The credentials that a request may bring, and the caller that each proves."""

from collections.abc import Mapping
from typing import Any

from functions._core.errors import Rejected
from functions._core.records.principal import Principal, Role
from functions.api.access import Authenticate
from functions.api.services import ApiServices

DOTS_OF_A_TOKEN = 2


def credentials(services: ApiServices) -> Authenticate:
    """Return what finds the caller: by the token of a ticket, or as `services.identify` does."""
    identify = services.identify

    async def authenticate(credential: str) -> Principal | None:
        refusal: Rejected | None = None
        if credential.count(".") == DOTS_OF_A_TOKEN:
            try:
                return worker_of(services.ports.tokens.claims(credential))
            except Rejected as error:
                refusal = error
        principal = await identify(credential) if identify is not None else None
        if principal is None and refusal is not None:
            raise refusal
        return principal

    return authenticate


def worker_of(claims: Mapping[str, Any]) -> Principal:
    """Return the worker that the claims of a ticket's token name, who may act on that ticket alone."""
    return Principal(
        name=claims["sub"],
        roles=frozenset({Role.WORKER}),
        ticket_id=claims["ticket_id"],
        attempt=claims["attempt"],
    )
