"""Lets tickets go on that waited for the end of a freeze, as soon as a process knows of that end.

Where no process tells of it, or that process dies, the wake-up of each ticket does the same within a minute.
"""

from collections.abc import Awaitable, Callable, Sequence

from functions._core.errors import FlowcError
from functions._core.events.data import TicketsReady
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import data_of
from functions._core.ports import Ports
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._core.rules import TICKETS_PER_EVENT
from functions._core.slo.blocking import blocked
from functions._observability.logs import log

PAGE, PAGES = 200, 10
"""Pending tickets in a page, and pages that are looked at, the oldest first; the wake-ups find the others."""


class FreezeRelease:
    """What one process does when freezes have begun or ended; `send` queues events, `fresh_id` gives them ids."""

    def __init__(
        self,
        ports: Ports,
        send: Callable[[tuple[CloudEvent, ...]], Awaitable[None]],
        fresh_id: Callable[[], str],
    ) -> None:
        self._ports = ports
        self._send = send
        self._fresh_id = fresh_id

    async def freezes_changed(self, *, ended: bool = True) -> int:
        """Have C3 look, where one has ended, at the tickets that none holds back any more; return how many these are.

        An error of the store is left to the wake-ups.
        """
        self._ports.budget_gate.forget()
        try:
            return await self._release() if ended else 0
        except FlowcError as error:
            log.warning("freezes.not_released", error=str(error))
            return 0

    async def _release(self) -> int:
        filters = {"status": TicketStatus.PENDING.value}
        cursor, released = None, 0
        for _ in range(PAGES):
            tickets, cursor = await self._ports.views.find_tickets(filters, cursor, PAGE)
            waiting = [ticket for ticket in tickets if ticket.waiting is Waiting.FREEZE]
            held_back = await blocked(waiting, self._ports)
            free = [ticket for ticket in waiting if ticket.ticket_id not in held_back]
            await self._send(tuple(self._ready(some) for some in _by_flow(free)))
            released += len(free)
            if cursor is None:
                break
        return released

    def _ready(self, tickets: Sequence[Ticket]) -> CloudEvent:
        first = tickets[0]
        data = TicketsReady(flow_id=first.flow_id, ticket_ids=tuple(ticket.ticket_id for ticket in tickets))
        return CloudEvent(
            id=self._fresh_id(),
            source="/flowc/monitor",
            type=type_of("tickets.ready"),
            time=self._ports.clock.now(),
            subject=first.flow_id,
            data=data_of(data),
            extensions={
                "partitionkey": first.flow_id,
                "correlationid": first.correlation_id,
                "traceparent": f"00-{first.trace_id}-{first.span_id}-01",
            },
        )


def _by_flow(tickets: Sequence[Ticket]) -> Sequence[Sequence[Ticket]]:
    """Return tickets of the same flow together, as many as one event names."""
    flows: dict[str, list[Ticket]] = {}
    for ticket in tickets:
        flows.setdefault(ticket.flow_id, []).append(ticket)
    return [
        some[start : start + TICKETS_PER_EVENT]
        for some in flows.values()
        for start in range(0, len(some), TICKETS_PER_EVENT)
    ]
