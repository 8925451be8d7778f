"""What the routes of records that people name do alike: so many of a kind, an audit, then the record."""

from typing import Any, TypeVar

from fastapi import Response

from functions._core.errors import Rejected
from functions._core.named_records import NamedRecords
from functions._core.records.values import Model
from functions.api.actions import record
from functions.api.problems import not_found
from functions.api.questions import sound
from functions.api.services import ApiServices

M = TypeVar("M", bound=Model)


async def put_named(  # noqa: PLR0913 a change is of a record, under a name, by somebody
    services: ApiServices,
    response: Response,
    records: NamedRecords[M],
    name: str,
    fields: dict[str, Any],
    *,
    kind: str,
    who: str,
    why: str,
) -> M:
    """Store a record of `fields` under a name, with the times of its changes; the answer is 201 for a new one.

    The audit is `put_` and the `kind` (`guard policy`). Raises `Rejected`, status 409, for a new one too many.
    """
    entries, now = services.ports.key_values, services.ports.clock.now()
    _, version = await records.one(entries, name)
    if not version and await records.full(entries):
        kinds = records.space.replace("-", " ")
        text = f"there are {records.at_most} {kinds}, which is as many as there may be"
        raise Rejected(text, code="too_many", status=409)
    await record(services, f"put_{kind.replace(' ', '_')}", name, who=who, why=why)

    def made(known: M | None, _version: int) -> M:
        created = getattr(known, "created_at", now)
        return records.model.model_validate({**fields, "name": name, "created_at": created, "updated_at": now})

    stored, _ = await records.changed(entries, name, made)
    response.status_code = 200 if version else 201
    return stored


async def delete_named(
    services: ApiServices, records: NamedRecords[M], name: str, *, kind: str, who: str, why: str
) -> None:
    """Remove the record of a name, after an audit; raise `Rejected`, status 404, when there is none."""
    sound(kind, name)
    await record(services, f"delete_{kind.replace(' ', '_')}", name, who=who, why=why)
    if not await records.removed(services.ports.key_values, name):
        raise not_found(kind, name)
