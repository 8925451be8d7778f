"""Insights: listed, found by what they are about, and counted. `analyze` makes them."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Literal, TypeVar

from fastapi import Query, Request, Response
from pydantic import StringConstraints

from functions._core.insights.analysis import last_domains
from functions._core.insights.insight import Insight, InsightPriority, InsightType
from functions._core.insights.query import numbers_of
from functions._core.insights.stored import InsightFilter, expired
from functions._core.records.values import Timestamp, Word
from functions.api.aggregates import LONGEST_WINDOW_HOURS, WINDOW_HOURS
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.insight_forms import MAX_OFFSET, MAX_TAGS, InsightPage, InsightQuery, InsightStatistics
from functions.api.problems import not_found
from functions.api.questions import sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

W = TypeVar("W", bound=Word)

router = Routes(prefix="/api/v1/insights", tags=["insights"])

MAX_PAGE = 4 * 1024 * 1024
"""Bytes of a page, of which there is always one insight."""

MAX_QUERY = 16 * 1024
FEW = 50
"""Insights of a page that are written at once; more take milliseconds, and a thread."""

Many = Annotated[int, Query(ge=1, le=1000, description="How many to return at most")]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="How many to leave out")]
Since = Annotated[Timestamp | None, Query(description="Only those whose time that was looked at ends then or later")]
Until = Annotated[Timestamp | None, Query(description="Only those whose time that was looked at begins before then")]
Tags = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=100)]],
    Query(min_length=1, max_length=MAX_TAGS, description="A tag, several times or with commas between"),
]
EXPIRED = Query(description="Whether those count that have expired, and are not removed yet")

PAGE: Mapping[int | str, dict[str, object]] = {200: {"model": InsightPage}}


@router.get("", response_model=None, responses={**problems(400, 422), **PAGE})
async def list_insights(  # noqa: PLR0913, PLR0917 a parameter for each question
    services: Services,
    insight_type: Annotated[InsightType | None, Query(description="In any letter case")] = None,
    priority: Annotated[InsightPriority | None, Query(description="In any letter case")] = None,
    start_timestamp: Since = None,
    end_timestamp: Until = None,
    tags: Annotated[str | None, Query(max_length=2000, description="Tags with commas between: any of them")] = None,
    entity_id: Annotated[
        str | None, Query(min_length=1, max_length=255, description="Only those that are about this, whatever it is")
    ] = None,
    limit: Many = 100,
    offset: Offset = 0,
    *,
    include_expired: Annotated[bool, EXPIRED] = False,
) -> Response:
    """Return insights, the newest first."""
    asked = InsightFilter(
        types=_only(insight_type),
        priorities=_only(priority),
        since=start_timestamp,
        until=end_timestamp,
        entity_id=entity_id,
        tags=_split([tags] if tags else []),
        include_expired=include_expired,
    )
    return await _page(services, asked, limit, offset)


@router.get("/statistics", responses=problems(422))
async def get_insight_statistics(
    services: Services,
    window_hours: Annotated[
        int, Query(ge=0, le=LONGEST_WINDOW_HOURS, description="How far back to look; 0 looks at all")
    ] = WINDOW_HOURS,
    start_timestamp: Since = None,
    end_timestamp: Until = None,
) -> InsightStatistics:
    """Return how many insights were found, by kind and priority; with times those between them, whatever the window."""
    now = services.ports.clock.now()
    ranged = start_timestamp is not None or end_timestamp is not None
    since = start_timestamp if ranged else now - timedelta(hours=window_hours) if window_hours else None
    asked = InsightFilter(since=since, until=end_timestamp, include_expired=True)
    numbers = numbers_of(await services.analysts.insights(services.ports).query(asked))
    last = await last_domains(services.ports.key_values)
    return InsightStatistics(
        total=numbers.total,
        insights_by_type=numbers.by_type,
        insights_by_priority=numbers.by_priority,
        insights_by_tag=numbers.by_tag,
        avg_confidence=numbers.confidence,
        avg_impact=numbers.impact,
        window_hours=0 if ranged else window_hours,
        domains=last.domains if last is not None else (),
        domains_until=last.end if last is not None else None,
        generated_at=now,
    )


@router.get("/by-tags", response_model=None, responses={**problems(400, 422), **PAGE})
async def list_insights_by_tags(
    services: Services,
    tags: Tags,
    match: Annotated[Literal["any", "all"], Query(description="Whether one of the tags is enough")] = "any",
    limit: Many = 100,
    offset: Offset = 0,
) -> Response:
    """Return insights with any of some tags, or with all of them, the newest first."""
    asked = InsightFilter(tags=_split(tags), all_tags=match == "all")
    return await _page(services, asked, limit, offset)


@router.get(
    "/by-entity/{entity_type}/{entity_id:path}", response_model=None, responses={**problems(400, 404, 422), **PAGE}
)
async def list_insights_by_entity(
    services: Services, entity_type: str, entity_id: str, limit: Many = 100, offset: Offset = 0
) -> Response:
    """Return insights about something, such as `worker` and its id, the newest first; none for what nobody knows."""
    asked = InsightFilter(entity_type=sound("entity", entity_type), entity_id=sound("entity", entity_id))
    return await _page(services, asked, limit, offset)


@router.post(
    "/query",
    response_model=None,
    responses={**problems(400, 413, 415, 422), **PAGE},
    openapi_extra=json_body(InsightQuery),
)
async def query_insights(services: Services, request: Request) -> Response:
    """Return the insights that a query of one of six types finds, the newest first."""
    form = await read_json(request, InsightQuery, limit=MAX_QUERY)
    asked = InsightFilter(
        types=_only(form.insight_type),
        priorities=_only(form.priority),
        since=form.start_timestamp,
        until=form.end_timestamp,
        entity_type=form.entity_type,
        entity_id=form.entity_id,
        tags=frozenset(tag.casefold() for tag in form.tags or ()),
        all_tags=bool(form.match_all),
        include_expired=form.include_expired,
    )
    if form.insight_id is not None:
        return await _one(services, form.insight_id, asked, form.limit, form.offset)
    return await _page(services, asked, form.limit, form.offset)


@router.get("/{insight_id}", response_model=None, responses={**problems(404), 200: {"model": Insight}})
async def get_insight(services: Services, insight_id: str) -> Response:
    """Return an insight."""
    known = await services.analysts.insights(services.ports).get(sound("insight", insight_id))
    if known is None or expired(known, services.ports.clock.now()):
        raise not_found("insight", insight_id)
    return Response(known.model_dump_json(), media_type="application/json")


async def _page(services: ApiServices, asked: InsightFilter, limit: int, offset: int) -> Response:
    """Return a page as JSON; a large one is written in a thread."""
    known = await services.analysts.insights(services.ports).query(asked)
    if min(len(known), limit) > FEW:
        text = await asyncio.to_thread(_written, known, limit, offset)
    else:
        text = _written(known, limit, offset)
    return Response(text, media_type="application/json")


async def _one(services: ApiServices, insight_id: str, asked: InsightFilter, limit: int, offset: int) -> Response:
    known = await services.analysts.insights(services.ports).get(sound("insight", insight_id))
    fits = known is not None and asked.takes(known, services.ports.clock.now())
    return Response(_written([known] if known and fits else [], limit, offset), media_type="application/json")


def _written(known: Sequence[Insight], limit: int, offset: int) -> bytes:
    """Return a page of insights, of which one at least, and no more than `MAX_PAGE` bytes."""
    texts: list[bytes] = []
    left = MAX_PAGE
    for insight in known[offset : offset + limit]:
        text = insight.model_dump_json().encode()
        left -= len(text)
        if texts and left < 0:
            break
        texts.append(text)
    about = f'"total":{len(known)},"limit":{limit},"offset":{offset}'.encode()
    return b'{"items":[' + b",".join(texts) + b"]," + about + b"}"


def _only(word: W | None) -> frozenset[W]:
    return frozenset() if word is None else frozenset({word})


def _split(tags: list[str]) -> frozenset[str]:
    return frozenset(tag.strip().casefold() for some in tags for tag in some.split(",") if tag.strip())
