"""Parameters that several routes share, with their limits."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Query, Request
from fastapi.routing import APIRoute
from pydantic import StringConstraints

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.errors import Rejected
from functions.api.problems import not_found

MAX_SEQ = 2**63 - 1
"""The largest sequence number that every store can hold."""

DEFAULT_LIMIT = 100

Limit = Annotated[int, Query(ge=1, le=500, description="How many to return at most")]
After = Annotated[int, Query(ge=0, le=MAX_SEQ, description="Return what follows this sequence number")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=200,
        description="The `cursor` of the page before",
        json_schema_extra={"pattern": "^[0-9]{1,18}$"},  # only said: what is no cursor is the store's to refuse
    ),
]
Labels = Annotated[
    list[Annotated[str, StringConstraints(max_length=127, pattern=r"^[A-Za-z0-9._/-]{1,63}:[A-Za-z0-9._/-]{1,63}$")]]
    | None,
    Query(max_length=5, description="Only those with this label, `name:value`; with several those that have all"),
]
Id = Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]

NAME = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
"""The name that a person gives to a record: it is part of paths, keys, audits and labels."""

Found = TypeVar("Found")

MAX_NAMED = 5
"""Parameters that a refusal names."""


async def known_parameters(request: Request) -> None:
    """Raise `Rejected`, status 400, when a request has query parameters that its route does not know.

    A misspelt filter would list everything, and `dry_run` in the address of an order would not keep it from being done.
    """
    if not request.scope["query_string"]:
        return
    route: APIRoute = request.scope["route"]
    known = [parameter.alias for parameter in route.dependant.query_params]
    unknown = list(dict.fromkeys(name for name in request.query_params if name not in known))
    if unknown:
        named = ", ".join(repr(name[:60]) for name in unknown[:MAX_NAMED])
        more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
        text = f"parameters that are not known here: {named}{more}; known are {', '.join(known) or 'none'}"
        raise Rejected(text, code="unknown_parameter", status=400)


def named(name: str) -> str:
    """Return the name of a record that is to be made; raise `Rejected`, status 422, for one that none may have."""
    if not re.fullmatch(NAME, name):
        text = "a name has 1 to 63 letters, digits, `.`, `_` and `-`, with a letter or a digit at both ends"
        raise Rejected(text, code="bad_name", status=422)
    return name


async def found(what: str, record_id: str, look: Callable[[str], Awaitable[Found | None]]) -> Found:
    """Return the record that a path names; raise `Rejected`, status 404, when there is none."""
    record = await look(sound(what, record_id))
    if record is None:
        raise not_found(what, record_id)
    return record


def sound(what: str, record_id: str) -> str:
    """Return an id that may exist; raise `Rejected`, status 404, for one that cannot.

    No id holds control characters, and not every store can be asked for one that does.
    """
    if UNPRINTABLE.search(record_id):
        raise not_found(what, record_id)
    return record_id
