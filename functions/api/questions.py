"""Parameters that several routes share, with their limits."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Query

from functions._core.vocabulary import UNPRINTABLE
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
Id = Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]

Found = TypeVar("Found")


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
