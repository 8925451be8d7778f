"""What the routes of SLOs and of freeze policies share: pages by id, ETags, and changes of some fields."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, TypeVar

from fastapi import Header, Query, Request, Response
from pydantic import Field

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.ports import KeyValues
from functions._core.records.values import Model, Timestamp, add_time
from functions._core.slo import definition, freezing
from functions._core.slo.definition import MAX_WINDOW_DAYS, Slo, SloForm
from functions._core.slo.freezing import FreezePolicy, FreezePolicyForm
from functions._core.slo.stored import BUDGETS, written
from functions._core.small_records import removed_entry
from functions.api.access import acting
from functions.api.actions import NOBODY
from functions.api.preconditions import LIST, MAX_TAGS, names
from functions.api.problems import checked

MAX_FORM = 32 * 1024
"""Bytes of an SLO or a policy: it is one small record of the store."""

BODY_PROBLEMS = (400, 403, 413, 415, 422)

DAYS = 7
"""Days of a history that are shown unless others are asked for."""

AfterId = Annotated[
    str | None, Query(max_length=64, pattern="^[A-Za-z0-9-]+$", description="The `cursor` of the page before")
]
Service = Annotated[
    str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", description="Of one service")
]
IfMatch = Annotated[
    str | None,
    Header(
        max_length=MAX_TAGS,
        description="ETags, in quotation marks, or *: 412 when what is stored has another one",
        json_schema_extra=LIST,
    ),
]
Since = Annotated[Timestamp | None, Query(alias="from", description="The first moment; absent: `days` before `to`")]
Until = Annotated[Timestamp | None, Query(alias="to", description="The last moment; absent: now")]
Days = Annotated[
    Annotated[int, Field(ge=1, le=MAX_WINDOW_DAYS)] | None, Query(description=f"In place of `from`: 1 to 90; {DAYS}")
]

One = TypeVar("One", Slo, FreezePolicy)
Form = TypeVar("Form", SloForm, FreezePolicyForm)
T = TypeVar("T")


def etag_of(one: Model) -> str:
    """Return the ETag of an SLO or a policy: what is stored of it, as a digest."""
    return f'"{_tag_of(one)}"'


def tagged(response: Response, one: One) -> One:
    """Give an answer the ETag of what is in it, and return that."""
    response.headers["etag"] = etag_of(one)
    return one


def check_change(one: Slo | FreezePolicy, if_match: str | None) -> None:
    """Raise `Rejected` for what may not be changed like this: 409 of a document, 412 of another ETag."""
    if one.managed_by is not None:
        text = f"it is made from the document {one.managed_by}: change or delete that"
        raise Rejected(text, code="managed_by_document", status=409)
    if if_match is not None and not names(if_match, _tag_of(one)):
        text = f"it was changed meanwhile, and has the ETag {etag_of(one)} now: read it again"
        raise Rejected(text, code="version_moved", status=412)


def with_fields(form: type[Form], one: Model, given: Mapping[str, Any]) -> Form:
    """Return the form of a record with some fields being others; raise `Itemised`, status 422, for wrong ones."""
    known = one.model_dump(mode="json", include=set(form.model_fields))
    return checked(form, {**known, **given}, "body")


def page_of(items: Sequence[T], key: Callable[[T], str], after: str | None, limit: int) -> tuple[list[T], str | None]:
    """Return up to `limit` items behind the key `after`, by key, and the key for the next page."""
    found = sorted((item for item in items if after is None or key(item) > after), key=key)
    return found[:limit], key(found[limit - 1]) if len(found) > limit else None


def check_room(all_of_them: Sequence[Slo] | Sequence[FreezePolicy], limit: int, what: str, more: int = 1) -> None:
    """Raise `Rejected`, status 409, when with so many more there would be more enabled ones than there may be."""
    if sum(one.enabled for one in all_of_them) + more > limit:
        text = f"there are {limit} {what} that are enabled, which is as many as there may be: delete some"
        raise Rejected(text, code="too_many", status=409)


async def make_room(entries: KeyValues, known: Sequence[One], limit: int) -> Sequence[One]:
    """Forget the one that was deleted longest ago, where there are as many deleted ones as there may be others.

    Return those that are left.
    """
    deleted = [one for one in known if not one.enabled]
    if len(deleted) < limit:
        return known
    oldest = min(deleted, key=lambda one: one.updated_at)
    if isinstance(oldest, Slo):
        await removed_entry(entries, BUDGETS, oldest.slo_id)
        await removed_entry(entries, definition.SPACE, oldest.slo_id)
    else:
        await removed_entry(entries, freezing.SPACE, oldest.policy_id)
    return [one for one in known if one is not oldest]


async def later_if_not_now(work: Awaitable[object]) -> None:
    """Do what the next round would do as well; a store that is away leaves it to that."""
    try:
        await work
    except (Unavailable, Conflict):
        return


def span_of(
    since: datetime | None, until: datetime | None, days: int | None, now: datetime
) -> tuple[datetime, datetime]:
    """Return the span that is asked for; raise `Rejected`, status 422, for one that is none, or too long."""
    last = until or now
    if since is not None and days is not None:
        raise Rejected("days is said in place of from, not with it", code="invalid_filter", status=422)
    first = since or add_time(last, -timedelta(days=days or DAYS))
    if not timedelta() <= last - first <= timedelta(days=MAX_WINDOW_DAYS):
        text = f"from is before to, and at most {MAX_WINDOW_DAYS} days before it"
        raise Rejected(text, code="invalid_filter", status=422)
    return first, last


def person(request: Request, named: str | None, requested_by: str) -> str:
    """Return who asks for something: whom the credential proves, else whom the body or the query names."""
    return acting(request, named or requested_by or NOBODY)


def _tag_of(one: Model) -> str:
    return sha256(written(one)).hexdigest()[:20]
