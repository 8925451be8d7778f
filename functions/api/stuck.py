"""What is stuck: everything that waits, across all flows, the worst slack first, and the same waits put together."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from fastapi.responses import Response

from functions._core.errors import Unreadable
from functions._core.explain.stuck import BY_THEMSELVES, OpenWait, StuckGroup, StuckItem, groups_of, item_of, waits_of
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record, encode
from functions._core.records.values import TicketStatus, Timestamp
from functions._core.records.worker import Worker
from functions._core.rules import Rules
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, Limit
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/stuck", tags=["why"])

LOOKED_AT = 2_000
"""Open tickets that are looked at, the oldest of each status; a quarter of them for each status at least."""

FLOWS = 200
"""Flows that are looked at of each status in which they wait by themselves."""

PAGE = 200
"""Tickets that are read at a time: what else the process does goes on in between."""


class StuckView(Record):
    """What waits at `checked_at`, the worst slack first, and the groups of all that wait for the same.

    `tickets` and `flows` are how many were looked at; `complete` says whether those are all that are open. `waiting` is
    how many of them wait for something else than other tickets of their flow: the groups count these, `items` are the
    first of them.
    """

    items: tuple[StuckItem, ...]
    groups: tuple[StuckGroup, ...]
    waiting: int
    tickets: int
    flows: int
    complete: bool
    checked_at: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """The records that were looked at, and all that is known around them."""

    flows: Sequence[Flow]
    tickets: Sequence[Ticket]
    complete: bool
    workers: Sequence[Worker]
    now: datetime
    rules: Rules
    up_since: datetime | None

    def waits(self) -> list[OpenWait]:
        return waits_of(self.flows, self.tickets, self.now)

    def told(self, waits: Sequence[OpenWait], limit: int, around: Mapping[str, Flow]) -> bytes:
        """Return the view as JSON; `around` are the flows of those that are listed."""
        items = (
            item_of(wait, around[wait.record.flow_id], self.now, self.rules, self.workers, self.up_since)
            for wait in waits[:limit]
            if wait.record.flow_id in around
        )
        view = StuckView(
            items=tuple(items),
            groups=groups_of(waits, self.workers),
            waiting=len(waits),
            tickets=len(self.tickets),
            flows=len(self.flows),
            complete=self.complete,
            checked_at=self.now,
        )
        return encode(view)


@router.get("", response_model=None, responses={**problems(422, 503), 200: {"model": StuckView}})
async def list_stuck(services: Services, limit: Limit = DEFAULT_LIMIT) -> Response:
    """Return what waits across all flows: for what, since when, what happens next, the worst slack first.

    It looks at 2,000 open tickets and at 200 flows of each status at most, and says whether those are all.
    """
    ports = services.ports
    flows, all_flows = await _flows(services)
    tickets, all_tickets = await open_tickets(services)
    look = _Look(
        flows=flows,
        tickets=tickets,
        complete=all_flows and all_tickets,
        workers=await ports.registry.workers(),
        now=ports.clock.now(),
        rules=services.rules,
        up_since=services.up_since(),
    )
    waits = await ports.beside(look.waits)
    around = await _flows_around(services, waits[:limit])
    return Response(await ports.beside(partial(look.told, waits, limit, around)), media_type="application/json")


async def _flows(services: ApiServices) -> tuple[list[Flow], bool]:
    """Return flows that wait for something else than their tickets, the newest first, and whether those are all."""
    found: list[Flow] = []
    complete = True
    for status in sorted(BY_THEMSELVES):
        some, following = await services.ports.views.flows(status=status, cursor=None, limit=FLOWS)
        found += some
        complete = complete and following is None
    return found, complete


async def open_tickets(services: ApiServices) -> tuple[list[Ticket], bool]:
    """Return open tickets, and whether those are all. What the rarer statuses leave is for the pending ones."""
    found: list[Ticket] = []
    complete = True
    for status in (TicketStatus.WAITING, TicketStatus.ASSIGNED, TicketStatus.RUNNING, TicketStatus.PENDING):
        most = LOOKED_AT if status is TicketStatus.PENDING else len(found) + LOOKED_AT // 4
        cursor: str | None = None
        while len(found) < most:
            number = min(PAGE, most - len(found))
            some, cursor = await services.ports.views.find_tickets({"status": status.value}, cursor, number)
            found += some
            if cursor is None:
                break
        complete = complete and cursor is None
    return found, complete


async def _flows_around(services: ApiServices, waits: Sequence[OpenWait]) -> Mapping[str, Flow]:
    """Return the flows of those that wait, by id, without those that cannot be read or are gone."""
    known = {wait.record.flow_id: wait.record for wait in waits if isinstance(wait.record, Flow)}
    missing = list(dict.fromkeys(wait.record.flow_id for wait in waits if wait.record.flow_id not in known))

    async def one(flow_id: str) -> Flow | None:
        try:
            return await services.ports.store.flow(flow_id)
        except Unreadable:
            return None

    read = await asyncio.gather(*map(one, missing))
    return known | {flow.flow_id: flow for flow in read if flow is not None}
