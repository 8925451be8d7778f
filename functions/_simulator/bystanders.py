"""People and systems that tickets wait for: they approve, deny, send events; in time, at the last moment, or never."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.commands import TicketApproval, TicketDenial
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._engine.clock import fresh_id
from functions._hosts.wiring_api import ApiServices
from functions._simulator.plans import plan_of, tasks_in

if TYPE_CHECKING:
    from functions._simulator.world import World

SOURCE = "/simulated/shop"
SOON = 5.0
"""Seconds within which people and events come when nothing is to go wrong."""

EARLY = 20.0
"""Seconds from the beginning within which events come before anybody waits for them."""

TRIES = 60
WAITED_FOR = frozenset({Waiting.APPROVAL, Waiting.EVENT})


class Bystanders:
    """Everybody that tickets of one world wait for; they learn from commits that they are waited for."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"{world.seed}/bystanders")
        self._known: set[tuple[str, datetime | None]] = set()

    def observe(self, step: ChangeSet) -> None:
        """Attend to the tickets that begin to wait by a step."""
        for ticket in step.tickets:
            waits = ticket.status is TicketStatus.WAITING and ticket.waiting in WAITED_FOR
            if waits and (ticket.ticket_id, ticket.waiting_since) not in self._known:
                self._known.add((ticket.ticket_id, ticket.waiting_since))
                attend = self._decide if ticket.waiting is Waiting.APPROVAL else self._send
                self._world.outside.spawn(attend(ticket))

    async def come_early(self) -> None:
        """Send some of the events that the plans wait for before they do so."""
        for task in (task for one in self._world.scenario.decisions for task in _waits_in(tasks_in(plan_of(one)))):
            if self._draw.random() < 0.25:
                await asyncio.sleep(self._draw.random() * EARLY)
                await self._take(self._event(task["wait"]["event"]))

    async def _decide(self, ticket: Ticket) -> None:
        draw, left = self._draw, self._left(ticket)
        data = self._world.outputs.of(ticket.flow_id, ticket.task_id, {}) or None
        about: dict[str, Any] = {
            "flow_id": ticket.flow_id,
            "ticket_id": ticket.ticket_id,
            "requested_by": "somebody",
            "data": data,
        }
        if not self._world.scenario.drawn:
            await asyncio.sleep(draw.random() * SOON)
            await self._order(TicketApproval(**about))
            return
        if draw.random() < 0.25:
            return  # nobody ever decides
        await asyncio.sleep(draw.choice((draw.random() * SOON, draw.random() * left, left, left + draw.random())))
        for _ in range(draw.choice((1, 1, 2))):
            await self._order(draw.choice((TicketApproval, TicketApproval, TicketDenial))(**about))

    async def _order(self, order: TicketApproval | TicketDenial) -> None:
        await self._insist(partial(_give, order, fresh_id(self._draw)))

    async def _send(self, ticket: Ticket) -> None:
        draw, left = self._draw, self._left(ticket)
        wanted = ticket.control.wait.event if ticket.control and ticket.control.wait else None
        if wanted is None:
            return
        told: dict[str, Any] = {
            "type": wanted.type,
            "source": wanted.source,
            "subject": wanted.subject,
            "task_id": ticket.task_id,
        }
        if wanted.correlation is not None:
            equals = wanted.correlation.equals
            told["correlation"] = {
                "at": wanted.correlation.at,
                "equals": "simulated" if isinstance(equals, Mapping) else equals,
            }
        if not self._world.scenario.drawn:
            await asyncio.sleep(draw.random() * SOON)
            await self._take(self._event(told, ticket))
            return
        if draw.random() < 0.2:
            return  # it never comes
        await asyncio.sleep(
            draw.choice((draw.random() * SOON, draw.random() * left, left, left + draw.random() * SOON))
        )
        event = self._event(told, ticket)
        if draw.random() < 0.15:
            await draw.choice(self._world.hosts).take(self._arrived(ticket, event))
            return
        for _ in range(draw.choice((1, 1, 1, 2))):
            await self._take(event)
        if draw.random() < 0.2:
            await self._take(self._event(told, ticket))

    def _left(self, ticket: Ticket) -> float:
        """Return the seconds until a wait ends."""
        until = ticket.until or self._world.clock.now()
        return max(0.0, (until - self._world.clock.now()) / timedelta(seconds=1))

    def _event(self, wanted: Mapping[str, Any], ticket: Ticket | None = None) -> CloudEvent:
        """Return an event that fits a wait, but perhaps not its condition."""
        data: Any = {"amount": self._draw.choice((5, 5, 5, 0))}
        if ticket is not None:
            made = self._world.outputs.of(ticket.flow_id, ticket.task_id, {})
            data |= made.get("data", {}) if isinstance(made, Mapping) else {}
        more: dict[str, str] = {}
        correlation = wanted.get("correlation")
        if correlation is not None and correlation["at"].startswith("/"):
            place = data
            *way, last = correlation["at"].split("/")[1:]
            for token in way:
                place = place.setdefault(token, {})
            place[last] = correlation["equals"]
        elif correlation is not None:
            more[correlation["at"]] = str(correlation["equals"])
        subject = more.pop("subject", None) or wanted.get("subject")
        return CloudEvent(
            id=fresh_id(self._draw),
            source=wanted.get("source") or more.pop("source", SOURCE),
            type=wanted["type"],
            time=self._world.clock.now(),
            subject=subject,
            data=data,
            extensions=more,
        )

    def _arrived(self, ticket: Ticket, event: CloudEvent) -> CloudEvent:
        """Return what tells the flow of an event, past the door for events."""
        told = {"id": event.id, "source": event.source, "type": event.type, "specversion": "1.0", "data": event.data}
        return CloudEvent(
            id=fresh_id(self._draw),
            source="/simulator",
            type=type_of("ticket.event_arrived"),
            time=self._world.clock.now(),
            subject=ticket.flow_id,
            data={"flow_id": ticket.flow_id, "ticket_id": ticket.ticket_id, "event": told},
            extensions={"partitionkey": ticket.flow_id},
        )

    async def _take(self, event: CloudEvent) -> None:
        await self._insist(lambda services: services.engine.take_event(event))

    async def _insist(self, question: Callable[[ApiServices], Awaitable[object]]) -> None:
        """Ask until there is an answer."""
        for _ in range(TRIES):
            try:
                await self._world.outside.ask(question)
            except Rejected:
                return
            except (Unavailable, Conflict):
                await asyncio.sleep(1)
            else:
                return


async def _give(order: TicketApproval | TicketDenial, order_id: str, services: ApiServices) -> object:
    return await services.engine.order(order, order_id=order_id)


def _waits_in(tasks: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the tasks that wait for an event, also those of sub-flows."""
    for task in tasks:
        wait = task.get("wait")
        if isinstance(wait, Mapping) and "event" in wait:
            yield task
        yield from _waits_in(tasks_in(task.get("plan")))
