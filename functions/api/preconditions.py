"""Headers that make a request conditional: ETag, If-Match, If-None-Match, and the key that makes a repeat harmless.

The ETag of a ticket is its version. What follows from the time, such as its slack, is not part of it.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated

from fastapi import Header, Request, Response

from functions._core.errors import Rejected
from functions._core.records.models import Ticket
from functions.api.access import principal_of

MAX_TAGS = 1_000
"""Characters of a header that lists ETags."""

TAG = re.compile(r'\s*(?:W/)?"([^"\x00-\x1f\x7f]*)"\s*(?:,|$)')
VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)

LIST = {"pattern": r'^(\*|(W/)?"[^"\x00-\x1f\x7f]*"( *, *(W/)?"[^"\x00-\x1f\x7f]*")*)$'}
"""A list of ETags; only said: `matches` refuses others."""

IfMatch = Annotated[
    str | None,
    Header(
        max_length=MAX_TAGS,
        description="ETags, in quotation marks, or *: 412 when the ticket has another one",
        json_schema_extra=LIST,
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(max_length=MAX_TAGS, description="ETags: 304 when one of them still holds", json_schema_extra=LIST),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        description="The same key again does the same thing no second time",
    ),
]


def own_key(request: Request, key: str | None) -> str | None:
    """Return what stands for an Idempotency-Key of this caller: the same key of another caller is another one."""
    principal = principal_of(request)
    if key is None or principal is None:
        return key
    return sha256(f"{len(principal.name)}:{principal.name}{key}".encode(errors="surrogatepass")).hexdigest()


def tagged(response: Response, ticket: Ticket) -> None:
    """Give an answer the ETag of the ticket in it."""
    response.headers["etag"] = etag_of(ticket)


def etag_of(ticket: Ticket) -> str:
    """Return the ETag of a ticket."""
    return f'"{ticket.version}"'


def matches(given: str, ticket: Ticket) -> bool:
    """Whether a list of ETags names that of the ticket; raise `Rejected`, status 400, for what is no such list."""
    return names(given, str(ticket.version))


def names(given: str, tag: str) -> bool:
    """Whether a list of ETags names one of them, given without its quotation marks; raises as `matches` does."""
    return given.strip() == "*" or tag in _tags(given)


def matched_version(given: str | None, ticket: Ticket) -> int | None:
    """Return the version that If-Match asks for, None for any; raise `Rejected`, status 412, for another one."""
    if given is None or given.strip() == "*":
        return None
    if not matches(given, ticket):
        message = f"the ticket is in version {ticket.version}, not in {given[:100]}: read it again"
        raise Rejected(message, code="version_moved", status=412)
    return ticket.version


def unmoved(kind: str, name: str, if_match: str | None, if_none_match: str | None) -> Callable[[int], None]:
    """Return what raises `Rejected`, status 412, for a version, 0 for none, that the headers of a request exclude."""

    def check(version: int) -> None:
        wrong = if_match is not None and (not version or not names(if_match, str(version)))
        if wrong or (if_none_match is not None and version and names(if_none_match, str(version))):
            there = f"is in version {version}" if version else "is not there"
            raise Rejected(f"the {kind} {name} {there}: read it again", code="version_moved", status=412)

    return check


def _tags(given: str) -> list[str]:
    tags, place = [], 0
    if not given.strip():
        raise Rejected("the list of ETags is empty", code="malformed_etag")
    while place < len(given):
        tag = TAG.match(given, place)
        if tag is None:
            raise Rejected("ETags are written in quotation marks, and listed with commas", code="malformed_etag")
        tags.append(tag[1])
        place = tag.end()
    return tags
