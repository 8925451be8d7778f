"""A flow's history, folded page by page and held against the records while the flow may go on."""

import asyncio
from collections.abc import Sequence

from functions._core.errors import Unavailable
from functions._core.machine.replay import Folded, StoredState, TicketState, differences, fold
from functions._core.records.record import Record
from functions._core.records.values import Outcome
from functions.api.questions import found
from functions.api.services import ApiServices

PAGE = 2000
TRIES = 10
PAUSE_SECONDS = 0.05


class ReplayView(Record):
    """What the history says of a flow and of its tickets that have moved, and where the records say otherwise."""

    flow_id: str
    lines: int
    status: str | None
    outcome: Outcome | None
    tickets: tuple[TicketState, ...]
    agrees: bool
    differences: tuple[str, ...]


async def replayed(services: ApiServices, flow_id: str) -> ReplayView:
    """Return the rebuilt state; raise `Unavailable` when the flow moves too fast to be compared.

    The records are read after the history. When no line has come meanwhile they must agree; a difference counts only
    when it is found twice, because a record may be visible a moment later than its line.
    """
    folded, last = Folded(), None
    for _ in range(TRIES):
        folded = await _folded(services, flow_id, folded)
        flow = await found("flow", flow_id, services.ports.store.flow)
        tickets = await _tickets(services, flow_id)
        if await services.ports.views.history(flow_id, folded.seq, 1):
            continue
        different = differences(folded, flow, tickets)
        if not different or different == last:
            return ReplayView(
                flow_id=flow_id,
                lines=folded.lines,
                status=folded.status,
                outcome=folded.outcome,
                tickets=tuple(folded.tickets.values()),
                agrees=not different,
                differences=different,
            )
        last = different
        await asyncio.sleep(PAUSE_SECONDS)
    raise Unavailable(f"flow {flow_id} moves too fast for its records to be compared with its history; try again")


async def _folded(services: ApiServices, flow_id: str, folded: Folded) -> Folded:
    while page := await services.ports.views.history(flow_id, folded.seq, PAGE):
        folded = fold(page, folded)
    return folded


async def _tickets(services: ApiServices, flow_id: str) -> Sequence[TicketState]:
    states: list[TicketState] = []
    cursor: str | None = None
    while True:
        page, cursor = await services.ports.views.find_tickets({"flow_id": flow_id}, cursor, PAGE)
        states += map(StoredState.of, page)
        if cursor is None:
            return states
