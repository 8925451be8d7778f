"""Steps that follow each other in one process: each is its function's own, and all of them are one commit.

An event of the chain that a step leads to is handled at once, on the records as that step leaves them. An event that
cannot be handled so goes to the queue: too much is to be done, a ticket has to wait for a worker, or its function
fails. So a flow's history never depends on which of its steps were joined.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, cast

from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import ROUTES, TRANSITIONS
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Assigned, Discovered
from functions._core.machine.context import Context
from functions._core.machine.flow import Validated
from functions._core.machine.outcomes import AnyOutcome, concluded
from functions._core.placement.pheromones import Pheromones, Trails, added
from functions._core.placement.signals import Signal, signals_of
from functions._core.ports import FlowStore, Ports, TicketCounts
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import HELD_TICKETS, Flow, Ticket
from functions._core.rules import LARGE_DECISION
from functions._engine.remembered import KnownRecords
from functions._engine.wiring import FUNCTIONS
from functions._observability.logs import ids_of, log

JOINED = frozenset({"decision.consolidated", "plan.validated", "tickets.ready", "workers.discovered"})
"""The events that are handled in the commit of the step that they come from; their functions call nobody."""

MOST_STEPS = 16
"""Steps in one commit."""

MOST_TICKETS = 64
"""Tickets that a joined step changes: a commit stays short, and the event loop free for others."""

Told = Callable[[ChangeSet, Flow], ChangeSet]
"""Adds to a step the events for subscribers."""


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One step: its function, the events behind it, the records as loaded, the conclusion, and the changes."""

    function: str
    causes: Sequence[CloudEvent]
    context: Context
    outcome: AnyOutcome | None
    step: ChangeSet
    begun: float
    """The reading of `perf_counter` when it was taken up."""


class Ahead:
    """The records of one flow as steps that are not committed yet leave them."""

    def __init__(self, ports: Ports, records: KnownRecords) -> None:
        """Begin with `records`."""
        self._ports = ports
        self._records = records
        self._tickets: dict[str, Ticket] = {}
        self._held: Counter[str] = Counter()
        self._signals: list[Signal] = []
        self._decision: bytes | None = None
        self.flow: Flow | None = None

    def add(self, taken: StepTaken) -> None:
        """Take note of a step."""
        self._decision = taken.step.decision or self._decision
        self.flow = taken.step.flow or self.flow or taken.context.flow
        self._signals += signals_of(taken.step)
        for ticket in taken.step.tickets:
            before = self._tickets.get(ticket.ticket_id) or taken.context.tickets.get(ticket.ticket_id)
            if (
                ticket.status in HELD_TICKETS
                and ticket.worker_id
                and (before is None or before.status not in HELD_TICKETS)
            ):
                # Slots that become free are not counted: tickets of other flows may wait for them.
                self._held[ticket.worker_id] += 1
            self._tickets[ticket.ticket_id] = ticket

    async def tickets(self, ticket_ids: Collection[str], flow_id: str) -> Mapping[str, Ticket]:
        """See `FlowStore.tickets`."""
        unknown = [one for one in ticket_ids if one not in self._tickets]
        stored = await self._records.tickets(unknown, flow_id) if unknown else {}
        found = {one: self._tickets.get(one) or stored.get(one) for one in ticket_ids}
        return {one: ticket for one, ticket in found.items() if ticket is not None}

    def ports(self) -> Ports:
        """Return the ports of a function whose step is joined: it reads the records as the steps before leave them."""
        ports = self._ports
        if self._held:
            ports = replace(ports, ticket_counts=cast("TicketCounts", _CountsAhead(ports.ticket_counts, self._held)))
        if self._signals:
            ports = replace(ports, pheromones=_PheromonesAhead(ports.pheromones, self._signals))
        if self._decision is not None or self._tickets:
            ports = replace(ports, store=cast("FlowStore", _StoreAhead(ports.store, self._decision, self._tickets)))
        return ports


class _StoreAhead:
    """A `FlowStore` with a decision and tickets that are not stored yet."""

    def __init__(self, behind: FlowStore, decision: bytes | None, tickets: Mapping[str, Ticket]) -> None:
        self._behind = behind
        self._decision = decision
        self._tickets = tickets

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 all else is as stored
        return getattr(self._behind, name)

    async def decision(self, flow_id: str) -> bytes:
        """See `FlowStore.decision`."""
        return await self._behind.decision(flow_id) if self._decision is None else self._decision

    async def tickets(self, ticket_ids: Collection[str], flow_id: str) -> Mapping[str, Ticket]:
        """See `FlowStore.tickets`."""
        ahead = {one: self._tickets[one] for one in ticket_ids if one in self._tickets}
        rest = [one for one in ticket_ids if one not in ahead]
        return {**(await self._behind.tickets(rest, flow_id) if rest else {}), **ahead}


class _PheromonesAhead:
    """`Pheromones` with the signals of steps that are not committed yet."""

    def __init__(self, behind: Pheromones, signals: Sequence[Signal]) -> None:
        self._behind = behind
        self._signals = signals

    async def trails(self, domain: str) -> Trails:
        """See `Pheromones.trails`."""
        trails = dict(await self._behind.trails(domain))
        for signal in self._signals:
            if signal.domain == domain:
                trails[signal.worker_id] = added(trails.get(signal.worker_id), signal.trail)
        return trails


class _CountsAhead:
    """`TicketCounts` with the tickets that workers will hold."""

    def __init__(self, behind: TicketCounts, held: Counter[str]) -> None:
        self._behind = behind
        self._held = held

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 all else is as stored
        return getattr(self._behind, name)

    async def active(self) -> Mapping[str, int]:
        """See `TicketCounts.active`."""
        active = Counter(await self._behind.active())
        active.update(self._held)
        return active


class StepJoiner:
    """Takes the steps that follow from one, as far as they can be joined to it."""

    def __init__(self, ports: Ports, records: KnownRecords, told: Told) -> None:
        """Let `told` add to each step the events for subscribers."""
        self._ports = ports
        self._records = records
        self._told = told

    async def follow(self, first: Sequence[StepTaken]) -> Sequence[StepTaken]:
        """Return steps of one flow, and those that follow from them; an event that is handled leaves its step."""
        ahead, taken = Ahead(self._ports, self._records), list(first)
        for one in first:
            ahead.add(one)
        for place, one in enumerate(taken):  # it grows meanwhile
            kept: list[CloudEvent] = []
            for event in one.step.events:
                after = await self._after(one, event, ahead) if len(taken) < MOST_STEPS else None
                if after is None:
                    kept.append(event)
                else:
                    ahead.add(after)
                    taken.append(after)
            if len(kept) < len(one.step.events):
                taken[place] = replace(one, step=replace(one.step, events=tuple(kept)))
        if len(taken) > len(first):
            await asyncio.sleep(0)  # a store in memory never waits: a large flow would keep all others from their turn
        return taken

    async def _after(self, before: StepTaken, event: CloudEvent, ahead: Ahead) -> StepTaken | None:
        """Return the step that an event leads to, or None when it is for the queue."""
        flow = ahead.flow
        if flow is None or not _may_join(before, event, flow):
            return None
        begun, route = perf_counter(), ROUTES[event.event_type]
        try:
            data = route.model.model_validate(event.data)
            context = replace(
                before.context,
                flow=flow,
                tickets=await ahead.tickets(route.tickets(data), flow.flow_id),
                now=self._ports.clock.now(),
                function=route.function,
                cause=event.id,
            )
            if any(ticket.control is not None for ticket in context.tickets.values()):
                return None  # what steers a ticket is decided on what is stored
            outcome = concluded(await FUNCTIONS[route.function](data, context, ahead.ports()))
            step = self._told(advance(context, outcome), flow)
        except Exception as error:  # noqa: BLE001 the queue tries again, and gives up what cannot be done
            log.debug("step.not_joined", **ids_of(event), error=repr(error))
            return None
        if _somebody_waits(outcome) or len(step.tickets) > MOST_TICKETS:
            return None
        return StepTaken(route.function, (event,), context, outcome, step, begun)


def _may_join(before: StepTaken, event: CloudEvent, flow: Flow) -> bool:
    """Whether an event that a step leads to may be handled in its commit."""
    if (
        event.event_type not in JOINED
        or event.source == TRANSITIONS
        or event.extensions["partitionkey"] != flow.flow_id
    ):
        return False
    step, outcome = before.step, before.outcome
    large = step.decision is not None and len(step.decision) > LARGE_DECISION
    many = outcome.tasks if isinstance(outcome, Validated) else len(step.tickets)
    return not large and many <= MOST_TICKETS


def _somebody_waits(outcome: AnyOutcome) -> bool:
    """Whether a ticket has to wait for a worker: its place in the line follows from the stored tickets alone."""
    return bool(
        (isinstance(outcome, Discovered) and outcome.waiting) or (isinstance(outcome, Assigned) and outcome.crowded)
    )
