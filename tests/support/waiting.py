"""Tickets that wait for events, and a machine that ends each by one event: the small records are in any store."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from functions._adapters.memory.sink import MemorySink
from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import Stores
from functions._core.engine import EventTaken
from functions._core.errors import Conflict
from functions._core.events.envelope import CloudEvent
from functions._core.machine.context import Context
from functions._core.placement.event_waits import ARRIVALS, ARRIVED, PLACES, WAIT_KEYS, WAITS
from functions._core.ports import Clock, Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.control import Control, Correlation, EventFilter, Wait
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TaskType, TicketStatus, Waiting
from functions._engine.dispatch import DispatchResult
from functions._engine.events_in import EventsIn
from functions._engine.tokens import JwtTokens
from functions._observability.metrics import Metrics
from tests.support.builders import later, make_flow, make_step, make_ticket
from tests.support.world import LocalWorkers

SPACES = (WAITS, WAIT_KEYS, ARRIVALS, ARRIVED, PLACES)
TYPE = "com.example.order.paid"
HOUR = timedelta(hours=1)


def users_event(number: int | str = 1, event_type: str = TYPE, **more: Any) -> CloudEvent:
    """Return event `<number>` of a user."""
    values: dict[str, Any] = {
        "id": f"e-{number}",
        "source": "/shop",
        "type": event_type,
        "time": make_flow().received_at,
        "data": {"order": number},
    }
    return CloudEvent(**(values | more))


def simple_condition(text: str, variables: Mapping[str, Any]) -> bool:
    """Stand for CEL: `event.data.<name> == <number>`."""
    left, _, right = text.partition(" == ")
    data = variables["event"]["data"]
    return isinstance(data, dict) and str(data.get(left.removeprefix("event.data."))) == right


class Waiters:
    """Tickets that wait, in memory, and the records of their waits and of the events that came, in a store."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        sink, tokens = MemorySink(), JwtTokens(b"k" * 32, clock)
        flows = MemoryStore().stores.ports(telemetry_sink=sink, gateway=LocalWorkers(), clock=clock, tokens=tokens)
        self.ports = replace(flows, key_values=stores.key_values(clock))
        self.clock = clock
        self.ended: dict[str, list[str]] = {}
        """The events that have ended tickets, by ticket id."""
        self.paused = False
        self.events_in = self.process()
        self._flows = 0

    def process(self, ports: Ports | None = None) -> EventsIn:
        """Return one more process over the store."""
        return EventsIn(ports or self.ports, HOUR, self.tell, Metrics(), simple_condition)

    async def wait(self, wanted: EventFilter | None = None, *, registered: bool = True, **more: Any) -> Ticket:
        """Return a ticket of a new flow that begins to wait now."""
        self._flows += 1
        flow = make_flow(self._flows, status="EXECUTING", version=1)
        ticket = make_ticket(
            flow,
            task_type=TaskType.WAIT,
            status=TicketStatus.WAITING,
            waiting=Waiting.EVENT,
            waiting_since=self.clock.now(),
            until=self.clock.now() + timedelta(days=2),
            control=Control(wait=Wait(event=wanted or EventFilter(type=TYPE))),
            **more,
        )
        await self.ports.store.commit(make_step(flow, ticket, decision=b"{}"))
        if registered:
            await self.events_in.begun(ticket)
        return ticket

    async def tell(self, event: CloudEvent) -> DispatchResult:
        """Let the flow handle `ticket.event_arrived` as C5 does."""
        flow_id, ticket_id = event.data["flow_id"], event.data["ticket_id"]
        while True:
            flow = await self.ports.store.flow(flow_id)
            ticket = (await self.ports.store.tickets([ticket_id], flow_id))[ticket_id]
            assert flow is not None
            step = ChangeSet(flow_id=flow_id)
            if ticket.status is TicketStatus.WAITING and not self.paused:
                step = self.moved(ticket, TicketStatus.COMPLETED, event.id, output=event.data["event"])
                try:
                    await self.ports.store.commit(step)
                except Conflict:
                    continue
                self.events_in.observe(step)
                self.ended.setdefault(ticket_id, []).append(event.data["event"]["id"])
            context = Context(flow=flow, now=self.clock.now(), function="monitor", cause=event.id)
            return DispatchResult(context, step)

    def moved(self, ticket: Ticket, status: TicketStatus, event_id: str = "clock", **more: Any) -> ChangeSet:
        """Return the step by which a ticket ends."""
        ended = later(ticket, status=status, waiting=None, waiting_since=None, next_wakeup_at=None, **more)
        told = HistoryEntry(
            flow_id=ticket.flow_id,
            at=self.clock.now(),
            type=f"ticket.{status.lower()}",
            cause="test",
            ticket_id=ticket.ticket_id,
            from_status=ticket.status,
            to_status=status,
            event_id=event_id,
        )
        return ChangeSet(flow_id=ticket.flow_id, tickets=(ended,), history=(told,))

    async def times_out(self, ticket: Ticket) -> ChangeSet:
        """Let the wait of a ticket end without an event."""
        step = self.moved(ticket, TicketStatus.FAILED)
        await self.ports.store.commit(step)
        return step

    async def took(self, event: CloudEvent, process: EventsIn | None = None) -> EventTaken:
        """Take an event."""
        return await (process or self.events_in).take(event)

    async def left(self, *spaces: str) -> list[str]:
        """Return the keys that are in some of the spaces."""
        return [entry.key for space in spaces for entry in await self.ports.key_values.page(space, None, 10_000)]


async def settled(events_in: EventsIn) -> None:
    """Wait until a process has registered and forgotten all waits."""
    while events_in.busy:
        await asyncio.sleep(0)


def about(order: object, at: str = "/order", **more: Any) -> EventFilter:
    """Return the wait for the event of one order."""
    return EventFilter(type=TYPE, correlation=Correlation(at=at, equals=order), **more)


def flow_of(ticket: Ticket) -> Flow:
    """Return the flow of a ticket as it began."""
    return make_flow(int(ticket.decision_id.removeprefix("decision-")))
