"""How people get into the console: what its sign-in page has to know, and the token for a code of the provider.

Both routes are open, as whoever asks has no credential yet. A code is redeemed for the console of this platform alone:
the address to which the provider has sent it is made of the page's own origin, which the front door has checked.
"""

from typing import Literal

from fastapi import Request, Response

from functions._core.errors import Rejected
from functions._core.records.principal import Role
from functions._core.records.record import Record
from functions._core.records.values import Timestamp
from functions.api.access import CONSOLE
from functions.api.bodies import header, read_json
from functions.api.documents import json_body, problems
from functions.api.forms import SessionForm
from functions.api.problems import not_found
from functions.api.rate_limits import stranger_slowed_down
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/session", tags=["session"])

NO_STORE = {"cache-control": "no-store"}
"""For an answer with a token."""


class SignInView(Record):
    """The identity provider at which people sign in, and how."""

    issuer: str
    """The provider."""
    authorization_endpoint: str | None
    """Where the browser goes; None while the provider cannot be asked."""
    client_id: str
    """The console's name at the provider."""
    scope: str
    """The scopes that it asks for, with spaces between them."""


class SessionView(Record):
    """What somebody without a credential may know of how to get in."""

    access: Literal["off", "on"]
    """Whether requests need a credential at all."""
    sign_in: SignInView | None
    """How people sign in; None where only keys are taken."""


class SessionToken(Record):
    """A token that proves who has signed in, to be sent as a bearer token."""

    access_token: str
    """The token."""
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 a word of the protocol
    """How it is sent."""
    expires_at: Timestamp
    """Until when it holds."""
    name: str
    """Name that is kept with everything that the caller does."""
    roles: tuple[Role, ...]
    """Roles of the caller."""


@router.get("")
async def get_session(services: Services) -> SessionView:
    """Return whether a credential is needed, and where people sign in."""
    offer = await services.sign_in.offer() if services.sign_in is not None else None
    found = None
    if offer is not None:
        found = SignInView(
            issuer=offer.issuer,
            authorization_endpoint=offer.authorization_endpoint,
            client_id=offer.client_id,
            scope=offer.scope,
        )
    return SessionView(access="off" if services.identify is None else "on", sign_in=found)


@router.post(
    "",
    response_model=SessionToken,
    responses=problems(400, 401, 404, 413, 415, 422, 429, 503),
    openapi_extra=json_body(SessionForm),
)
async def begin_session(services: Services, request: Request, response: Response) -> SessionToken | Response:
    """Return the token for a code of the identity provider, to a page of the console alone.

    404 where no provider is set at which people sign in.
    """
    refusal = await stranger_slowed_down(services.limiter, request.scope)
    if refusal is not None:
        return refusal
    if services.sign_in is None:
        raise not_found("identity provider", "to sign in at")
    origin = header(request, b"origin")
    if not origin:
        raise Rejected("only the page of the console may sign people in: no Origin was sent", code="no_origin")
    form = await read_json(request, SessionForm)
    person = await services.sign_in.redeem(form.code, form.code_verifier, form.nonce, f"{origin}{CONSOLE}/")
    response.headers.update(NO_STORE)
    return SessionToken(
        access_token=person.token,
        expires_at=person.expires_at,
        name=person.principal.name,
        roles=tuple(sorted(person.principal.roles)),
    )
