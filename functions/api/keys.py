"""API keys of people, programs and workers: made, listed and revoked by administrators."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query, Request, Response

from functions._core.errors import Rejected
from functions._core.records.principal import ApiKey, Principal, Role
from functions._core.records.record import Record, fields_of
from functions._core.records.values import Timestamp, add_time
from functions.api.access import acting, principal_of
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.forms import KeyForm
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Limit
from functions.api.routes import Routes
from functions.api.services import ApiServices, KeyKeeper, Services

router = Routes(prefix="/api/v1/keys", tags=["keys"])


class KeyView(Record):
    """A key without what could be used."""

    key_id: str
    """Public part of the key."""
    name: str
    """Name that is kept with everything that the holder does."""
    roles: tuple[Role, ...]
    """Roles of the holder."""
    scopes: tuple[str, ...]
    """Areas of the API that it opens; empty: all."""
    worker_id: str | None
    """The only worker that the holder acts for; None: any."""
    created_at: Timestamp
    """When it was made."""
    created_by: str
    """Name of the administrator who made it."""
    expires_at: Timestamp | None
    """When it stops to hold; None: never."""


class NewKey(KeyView):
    """A key that has just been made."""

    key: str
    """The key itself. It is shown this once."""


class KeyPage(Record):
    """Keys that hold, by id."""

    items: tuple[KeyView, ...]
    """Keys."""
    after: str | None
    """Id of the last of them, for the next page; None: no more follow."""


@router.post("", status_code=201, responses=problems(400, 413, 415, 422, 503), openapi_extra=json_body(KeyForm))
async def create_key(services: Services, request: Request, response: Response) -> NewKey:
    """Make a key. It is in this answer and nowhere else. Who has scopes gives no others."""
    form = await read_json(request, KeyForm)
    _check_scopes(principal_of(request), form)
    now, lasts = services.ports.clock.now(), form.expires_in_seconds
    expires_at = None if lasts is None else add_time(now, timedelta(seconds=lasts))
    who = acting(request, NOBODY)
    made, key = await _keeper(services).create(
        form.name, form.roles, scopes=form.scopes, worker_id=form.worker_id, expires_at=expires_at, created_by=who
    )
    why = f"{made.name}: {', '.join(made.roles)}"
    await record(services, "create_key", made.key_id, who=who, why=why)
    response.headers["cache-control"] = "no-store"
    return NewKey(**_shown(made), key=key)


@router.get("", responses=problems(400, 422))
async def list_keys(
    services: Services,
    after: Annotated[str | None, Query(max_length=16, pattern="^[0-9a-f]*$", description="Behind this id")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> KeyPage:
    """Return the keys that hold, by id; never the keys themselves."""
    keys = await _keeper(services).page(after, limit)
    return KeyPage(
        items=tuple(KeyView(**_shown(key)) for key in keys), after=keys[-1].key_id if len(keys) == limit else None
    )


@router.delete("/{key_id}", status_code=204, responses=problems(404, 422, 503))
async def revoke_key(
    services: Services, request: Request, key_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Revoke a key. Another process of the platform may take it for 10 more seconds."""
    keeper = _keeper(services)
    if not await keeper.knows(key_id):
        raise not_found("key", key_id)
    await record(services, "revoke_key", key_id, who=acting(request, requested_by), why=why)
    await keeper.revoke(key_id)


def _keeper(services: ApiServices) -> KeyKeeper:
    if services.keys is None:
        raise Rejected("keys are not kept here", code="no_keys", status=501)
    return services.keys


def _check_scopes(principal: Principal | None, form: KeyForm) -> None:
    """Raise `Rejected`, status 403, for a key that would open more areas than that of its maker."""
    own = principal.scopes if principal is not None else frozenset()
    if own and not (form.scopes and own.issuperset(form.scopes)):
        text = f"a key with scopes makes keys with some of them: {', '.join(sorted(own))}"
        raise Rejected(text, code="insufficient_scope", status=403)


def _shown(key: ApiKey) -> dict[str, Any]:
    fields = fields_of(key)
    del fields["digest"]
    return fields
