"""Watch: the changes of the registry as they happen, each with its revision, by long poll or as server-sent events.

Whoever lists the agents, and then watches from the revision of the list on, misses nothing, whatever process answers:
revisions are in the store. Of each change the agent is told as it is when it is read; one change may be told twice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.engine import REGISTRY
from functions._core.errors import FlowcError, Rejected, Unreadable
from functions._core.placement.agent_log import LogEntry, newest, read_after
from functions._core.placement.agents import AgentChange, ChangeKind
from functions._core.records.record import encode
from functions._core.records.worker import AgentType, Worker
from functions.api.agent_forms import AgentChanges, AgentChangeView, OfType, agent_view
from functions.api.documents import problems
from functions.api.questions import MAX_SEQ
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

router = Routes(prefix="/api/v1/agents", tags=["agents"])

LONGEST_POLL = 60.0
"""Seconds after which an answer ends at the latest; a client goes on with another request."""

PAUSE = 1.0
"""Seconds after which the log is looked at again: another process may have told something."""

AT_ONCE = 10
"""Revisions that are read at a time."""

From = Annotated[int | None, Query(ge=0, le=MAX_SEQ, description="Tell what follows this revision; else what is new")]
Timeout = Annotated[float, Query(ge=0, le=LONGEST_POLL, description="Seconds to wait for a change; of a long poll")]


@router.get(
    "/watch",
    response_model=None,
    responses={
        **problems(400, 410, 422, 503),
        200: {"model": AgentChanges, "content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
    },
)
async def watch_agents(
    services: Services,
    request: Request,
    agent_type: OfType = None,
    from_revision: From = None,
    timeout: Timeout = 25.0,  # noqa: ASYNC109 it is one of the answer, as the wire names it
) -> Response:
    """Return what has changed, as soon as something has; with `Accept: text/event-stream` go on telling it.

    410 when the revision is older than the log: list the agents, and watch from the revision of the list on.
    """
    client, as_stream = client_of(request), streamed(request)
    revision = last_seen(request) if as_stream else None
    if revision is None:
        revision = await newest(services.ports.key_values) if from_revision is None else from_revision
    watch = _Watch(services, agent_type, revision)
    if as_stream:
        services.watchers.check(client)
        stream = _stream(watch, await watch.next(0), min(LONGEST_STREAM, services.longest_wait))
        return event_stream(services.watchers, client, stream)
    with services.watchers.one(client):
        found = await watch.next(min(timeout, services.longest_wait), request.is_disconnected)
    return Response(encode(AgentChanges(changes=found, revision=watch.revision)), media_type="application/json")


class _Watch:
    """One who follows the registry: `revision` is the last that he has been told of."""

    def __init__(self, services: ApiServices, agent_type: AgentType | None, revision: int) -> None:
        self._services = services
        self._type = agent_type
        self.revision = revision

    async def next(
        self, seconds: float, gone: Callable[[], Awaitable[bool]] | None = None
    ) -> tuple[AgentChangeView, ...]:
        """Return the next changes, none after so many seconds or when the client is `gone`.

        Raises `Rejected`, status 410, when they are not kept any more.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            entries = await read_after(self._services.ports.key_values, self.revision, AT_ONCE)
            if entries is None:
                text = f"the changes behind revision {self.revision} are not kept any more; list the agents again"
                raise Rejected(text, code="revision_gone", status=410)
            found = [change for entry in entries for change in await self._told(entry)]
            if entries:
                self.revision = entries[-1].revision
            left = until - loop.time()
            if found or left <= 0 or (gone is not None and await gone()):
                return tuple(found)
            if not entries:
                await self._services.ended(REGISTRY, min(PAUSE, left))

    async def _told(self, entry: LogEntry) -> list[AgentChangeView]:
        agents = await asyncio.gather(*(self._agent(change.agent_id) for change in entry.changes))
        pairs = zip(entry.changes, agents, strict=True)
        told = (self._view(change, agent, entry.revision) for change, agent in pairs)
        return [view for view in told if view is not None]

    async def _agent(self, agent_id: str) -> Worker | None:
        try:
            return await self._services.ports.registry.worker(agent_id)
        except Unreadable:
            return None

    def _view(self, change: AgentChange, agent: Worker | None, revision: int) -> AgentChangeView | None:
        """Return a change with the agent as it is now: gone, if it has another type than is asked for."""
        if agent is not None and self._type in {None, agent.agent_type}:
            kind = ChangeKind.UPDATED if change.kind is ChangeKind.REMOVED else change.kind
            shown = agent_view(agent, None, self._services.ports.clock.now(), self._services.rules)
            return AgentChangeView(
                type=kind, agent_id=change.agent_id, agent_type=agent.agent_type, agent=shown, revision=revision
            )
        if self._type not in {None, change.agent_type}:
            return None
        return AgentChangeView(
            type=ChangeKind.REMOVED,
            agent_id=change.agent_id,
            agent_type=change.agent_type,
            agent=None,
            revision=revision,
        )


async def _stream(watch: _Watch, first: tuple[AgentChangeView, ...], seconds: float) -> AsyncIterator[bytes]:
    """Yield server-sent events; the last event of a revision has its number as id, so that none is cut in two."""
    loop = asyncio.get_running_loop()
    until, changes = loop.time() + seconds, first
    yield f"retry: 1000\nid: {watch.revision if not first else first[0].revision - 1}\n\n".encode()
    while True:
        for change, following in zip(changes, [*changes[1:], None], strict=False):
            last = following is None or following.revision != change.revision
            number = f"id: {change.revision}\n" if last else ""
            yield f"{number}event: {change.type}\ndata: ".encode() + encode(change) + b"\n\n"
        left = until - loop.time()
        if left <= 0:
            return
        try:
            changes = await watch.next(min(SIGN_OF_LIFE, left))
        except FlowcError:
            return  # the store or the platform is away, or the client was too slow: it comes again
        if not changes:
            yield f"id: {watch.revision}\n\n".encode()
