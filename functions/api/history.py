"""What has happened, in all flows: transitions as events, and what validation found and what went wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from functions._core.errors import FlowcError, Unavailable, Unreadable
from functions._core.events.envelope import CloudEvent
from functions._core.events.subscribers import transition_event
from functions._core.ports import Ports
from functions._core.records.audits import AuditKind, IncidentRecord
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow
from functions.api.change_feed import missed
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, MAX_SEQ, Id, Limit, found
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.streams import (
    EVENT_STREAM,
    LONGEST_STREAM,
    SIGN_OF_LIFE,
    client_of,
    event_stream,
    last_seen,
    streamed,
)
from functions.api.views import AuditList, EventPage, IncidentList, event_view

router = Routes(prefix="/api/v1", tags=["history"])


From = Annotated[
    Annotated[int, Field(ge=0, le=MAX_SEQ)] | Literal["now"] | None,
    Query(description="Return what follows this sequence number; `now`: what comes from now on, as a stream does"),
]


@router.get(
    "/events",
    response_model=None,
    responses={
        **problems(400, 404, 422, 503),
        200: {"model": EventPage, "content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
    },
)
async def list_events(
    services: Services, request: Request, *, after: From = None, flow_id: Id = None, limit: Limit = DEFAULT_LIMIT
) -> EventPage | StreamingResponse:
    """Return the transitions of all flows, or one, as CloudEvents; asked again with `after`, those that came since.

    With `Accept: text/event-stream` go on telling them: each message is a `FlowChange`, and its id goes into
    `Last-Event-ID` or `after` to continue. A client that is too far behind gets the message `reset` first, with the
    number from which on it is told: what it shows has to be read again. Where answers cannot last, it is the page.
    """
    if flow_id is not None:
        await found("flow", flow_id, services.ports.store.flow)
    as_stream = streamed(request)
    last = last_seen(request) if as_stream else None
    after = after if last is None else last
    if after == "now" or (after is None and as_stream):
        after = await services.ports.views.last_seq()
    if as_stream and services.longest_wait >= LONGEST_STREAM:
        client = client_of(request)
        services.followers.check(client)
        return event_stream(services.followers, client, _stream(services, flow_id, after or 0))
    return await _page(services, flow_id, after or 0, limit)


async def _stream(services: ApiServices, flow_id: str | None, after: int) -> AsyncIterator[bytes]:
    """Yield what follows a number as server-sent events, until the longest time is over or the platform stops."""
    loop, feed, views = asyncio.get_running_loop(), services.changes, services.ports.views
    until = loop.time() + LONGEST_STREAM
    with suppress(FlowcError):
        newest = await views.last_seq()
        follower, read_until = await feed.follow(views, services.ended, flow_id, min(after, newest))
        try:
            # A number that was never given out is of another history: one that was there before a restore.
            told = await missed(views, flow_id, after, read_until) if after <= newest else None
            if told is None:
                yield f'event: reset\nid: {read_until}\ndata: {{"seq": {read_until}}}\n\n'.encode()
            else:
                yield f"retry: 1000\nid: {after}\n\n".encode() + b"".join(message for _, _, message in told)
            while not follower.ended and (left := until - loop.time()) > 0:
                part = await follower.next(min(SIGN_OF_LIFE, left))
                yield part or f": \nid: {follower.seq}\n\n".encode()
        finally:
            feed.leave(follower)


async def _page(services: ApiServices, flow_id: str | None, after: int, limit: int) -> EventPage:
    entries = await services.ports.views.history(flow_id, after, limit)
    flows: dict[str, Flow | None] = {}
    items = []
    for entry in entries:
        if entry.flow_id not in flows:
            flows[entry.flow_id] = None
            with suppress(Unreadable):
                flows[entry.flow_id] = await services.ports.store.flow(entry.flow_id)
        flow = flows[entry.flow_id]
        event = await _event_of(entry, flow, services.ports) if flow is not None else None
        if event is not None:
            items.append(event_view(event))
    return EventPage(items=tuple(items), after=entries[-1].seq if entries else after)


async def _event_of(entry: HistoryEntry, flow: Flow, ports: Ports) -> CloudEvent | None:
    """Return a transition with all that its type says; None when the ticket it is about is gone or cannot be read."""
    if entry.type == "ticket.assigned" and entry.ticket_id is not None:
        ticket = None
        with suppress(Unreadable):
            ticket = (await ports.store.tickets((entry.ticket_id,), entry.flow_id)).get(entry.ticket_id)
        return transition_event(entry, flow, ticket=ticket) if ticket is not None else None
    decision = None
    if entry.type == "decision.consolidated":
        with suppress(Unavailable, Unreadable):  # then the event says where it is
            decision = await ports.store.decision(entry.flow_id)
    return transition_event(entry, flow, decision=decision)


@router.get("/incidents", responses=problems(422))
async def list_incidents(services: Services, flow_id: Id = None, limit: Limit = DEFAULT_LIMIT) -> IncidentList:
    """Return what went wrong beyond what flows fix by themselves, the newest first."""
    audits = await services.ports.views.audits(flow_id, limit, kind=AuditKind.INCIDENT)
    return IncidentList(items=tuple(incident for incident in audits if isinstance(incident, IncidentRecord)))


@router.get("/audits", responses=problems(422))
async def list_audits(
    services: Services,
    *,
    flow_id: Id = None,
    kind: Annotated[AuditKind | None, Query(description="In any letter case")] = None,
    valid: Annotated[bool | None, Query(description="Only validations that found nothing wrong, or something")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> AuditList:
    """Return what C1 found in decisions, what people did and what went wrong, the newest first."""
    return AuditList(items=tuple(await services.ports.views.audits(flow_id, limit, kind=kind, valid=valid)))
