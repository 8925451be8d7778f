"""Gives the places of what has ended to what waits for one; see `_core.placement.limits`. Only where there are limits.

Each commit says what has ended, and what waits now: either of them leads to a look at places and waiting together, so
no place stays free while something waits. A process that dies in between leaves that to the next round of another one,
which also takes back places whose holders have ended, or never began.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from functions._adapters.worker_claims import HELD
from functions._core.errors import FlowcError, Unreadable
from functions._core.events.data import PlanValidated, TicketsReady
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import data_of
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.placement import limits as held_places
from functions._core.placement.limits import FLOWS, OVER_LIMIT, STALE, TICKETS, WAITING, Places, give_back, places
from functions._core.placement.ranking import half_open, nothing_until
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import Health, Waiting
from functions._core.records.worker import Worker
from functions._core.rules import TICKETS_PER_EVENT, InFlightLimits, Rules
from functions._observability.logs import log

PAGE, PAGES = 100, 10
"""Flows that are looked at for one that may begin: those of a tenant at its limit are passed over."""

OFFER_LEASE = timedelta(seconds=1)
"""A waiting ticket that was offered, or passed over for its tenant, is not offered again for this long."""

Send = Callable[[tuple[CloudEvent, ...]], Awaitable[None]]


def in_flight(rules: Rules, ports: Ports, send: Send, fresh_id: Callable[[], str]) -> "tuple[InFlight, ...]":
    """Return what keeps the limits of a process; nothing where there are none."""
    return () if rules.in_flight is None else (InFlight(rules.in_flight, ports, send, fresh_id),)


class InFlight:
    """The places of one process; `send` queues events, `fresh_id` gives them ids."""

    def __init__(self, limits: InFlightLimits, ports: Ports, send: Send, fresh_id: Callable[[], str]) -> None:
        self._limits = limits
        self._ports = ports
        self._send = send
        self._fresh_id = fresh_id
        self._ended: dict[str, set[str]] = {FLOWS: set(), TICKETS: set()}
        self._look = False
        self._passed_over = False
        self._offered: set[str] = set()
        """Tickets that were offered since the last one ended: they wait for something else than a place."""
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a look at the places is under way."""
        return self._task is not None and not self._task.done()

    def observe(self, step: ChangeSet) -> None:
        """Take note of a commit: which places are free by it, and whether something waits by it."""
        for entry in step.history:
            if entry.ticket_id is None:
                if entry.to_status in ENDED_FLOWS:
                    self._ended[FLOWS].add(entry.flow_id)
            elif entry.from_status in HELD and entry.to_status not in HELD:
                self._ended[TICKETS].add(f"{entry.ticket_id}/{entry.attempt}")
        if self._ended[TICKETS]:
            self._offered.clear()
        waits = any(t.waiting is Waiting.SLOT and t.ticket_id not in self._offered for t in step.tickets)
        held_back = step.flow is not None and any(reason.code == OVER_LIMIT for reason in step.flow.reasons)
        if waits or held_back or any(self._ended.values()):
            self._look = True
            if not self.busy:
                self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; the next round of any process goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._look:
            self._look = False
            try:
                await self._again()
            except FlowcError as error:
                log.warning("in_flight.failed", error=str(error))  # the next round tries again

    async def _again(self) -> None:
        some_ended = bool(self._ended[TICKETS])
        for kind in self._ended:
            if given := {*self._ended[kind]}:
                await give_back(kind, given, self._ports.key_values)
                self._ended[kind] -= given
        await self._begin_flows()
        await self._begin_tickets(ended=some_ended)

    async def round(self) -> None:
        """Look again, in case the moment was missed; take stale places back where something waits for them."""
        if self._limits.flows is not None and await self._ports.key_values.page(WAITING, None, 1):
            await self._take_back(FLOWS, self._flow_is_on)
        if self._limits.tickets is not None and not await self._room(TICKETS):
            await self._take_back(TICKETS, self._ticket_is_on)
        await self._again()

    async def _room(self, kind: str) -> int:
        held, _ = await places(kind, self._ports.key_values)
        return (self._limits.of(kind)[0] or 0) - len(held)

    async def _begin_flows(self) -> None:
        """Give free places to the flows that have waited longest, and let them begin."""
        if self._limits.flows is None:
            return
        entries, after = self._ports.key_values, None
        for _ in range(PAGES):
            page = await entries.page(WAITING, after, PAGE)
            if not page:
                return
            waiting = dict(map(held_places.waiting_flow, page))
            held, version = await places(FLOWS, entries)
            now = self._ports.clock.now()
            again = {one: at for one, at in held.items() if one in waiting and held_places.since(at, now) >= STALE / 3}
            new = held_places.room_for(
                {i: t for i, t in waiting.items() if i not in held}, held, self._limits.of(FLOWS)
            )
            flows = await self._still_waiting([*new, *again])
            granted = {one: tenant for one, tenant in new.items() if one in flows}
            renewed = {**granted, **{one: waiting[one] for one in again if one in flows}}
            if renewed and not await held_places.put(
                FLOWS, {**held, **held_places.stamped(renewed, now)}, version, entries
            ):
                continue
            await self._send(tuple(self._begins(flows[one]) for one in renewed))
            if len(flows) == len(new) + len(again):
                after = page[-1].key
            if len(held) + len(granted) >= self._limits.flows:
                return

    async def _still_waiting(self, flow_ids: list[str]) -> Mapping[str, Flow]:
        """Return those flows that can begin; the others wait no longer."""
        found: dict[str, Flow] = {}
        for flow_id in flow_ids:
            try:
                flow = await self._ports.store.flow(flow_id)
            except Unreadable:
                continue
            if flow is not None and held_places.begins(flow):
                found[flow_id] = flow
            elif flow is not None:
                await held_places.stop_waiting(flow, self._ports.key_values)
        return found

    def _begins(self, flow: Flow) -> CloudEvent:
        data = PlanValidated(flow_id=flow.flow_id, decision_id=flow.decision_id, plan_id=flow.plan_id or "")
        return self._event("plan.validated", data, flow.flow_id, flow.correlation_id, flow.traceparent)

    async def _begin_tickets(self, *, ended: bool) -> None:
        """Offer waiting tickets the slots that are free, as many as there are places."""
        if self._limits.tickets is None:
            return
        held, _ = await places(TICKETS, self._ports.key_values)
        active, now = await self._ports.ticket_counts.active(), self._ports.clock.now()
        for worker in await self._ports.registry.workers():
            free = worker.slots - active.get(worker.worker_id, 0)
            if worker.announced is Health.UNHEALTHY or nothing_until(worker, now) is not None:
                continue
            held |= await self._offer(worker, 1 if half_open(worker, now) and free > 0 else free, held)
        if self._passed_over and ended:
            self._passed_over = False
            await asyncio.sleep(OFFER_LEASE.total_seconds())  # until those can be offered again that were passed over
            self._look = True

    async def _offer(self, worker: Worker, free: int, held: Places) -> Places:
        """Offer up to `free` waiting tickets to discovery; return the places that they will take."""
        taken: Places = {}
        for _ in range(PAGES):
            now, room = self._ports.clock.now(), (self._limits.tickets or 0) - len(held) - len(taken)
            most = min(free - len(taken), room, TICKETS_PER_EVENT)
            if most <= 0:
                break
            claimed = await self._ports.wakeups.claim_waiting(worker.offers, now, most, OFFER_LEASE)
            tenants = {ticket.ticket_id: await self._tenant(ticket) for ticket in claimed}
            fitting = held_places.room_for(tenants, {**held, **taken}, self._limits.of(TICKETS))
            self._passed_over |= len(fitting) < len(claimed)
            self._offered |= fitting.keys()
            await self._send(tuple(self._ready(t) for t in claimed if t.ticket_id in fitting))
            taken |= held_places.stamped(fitting, now)
            if len(claimed) < most:
                break
        return taken

    async def _tenant(self, ticket: Ticket) -> str:
        """Return the tenant of a ticket, where a limit of one tenant asks for it."""
        if self._limits.tenant_tickets is None:
            return ""
        with suppress(Unreadable):
            flow = await self._ports.store.flow(ticket.flow_id)
            return held_places.tenant_of(flow) if flow is not None else ""
        return ""

    def _ready(self, ticket: Ticket) -> CloudEvent:
        data = TicketsReady(flow_id=ticket.flow_id, ticket_ids=(ticket.ticket_id,))
        traceparent = f"00-{ticket.trace_id}-{ticket.span_id}-01"
        return self._event("tickets.ready", data, ticket.flow_id, ticket.correlation_id, traceparent)

    def _event(
        self, event_type: str, data: PlanValidated | TicketsReady, flow_id: str, correlation_id: str, traceparent: str
    ) -> CloudEvent:
        return CloudEvent(
            id=self._fresh_id(),
            source="/flowc/monitor",
            type=type_of(event_type),
            time=self._ports.clock.now(),
            subject=flow_id,
            data=data_of(data),
            extensions={"partitionkey": flow_id, "correlationid": correlation_id, "traceparent": traceparent},
        )

    async def _take_back(self, kind: str, is_on: Callable[[str], Awaitable[bool]]) -> None:
        now = self._ports.clock.now()
        held, _ = await places(kind, self._ports.key_values)
        old = [one for one, place in held.items() if held_places.since(place, now) >= STALE]
        stale = {one for one in old if not await is_on(one)}
        if stale:
            await give_back(kind, stale, self._ports.key_values)

    async def _flow_is_on(self, flow_id: str) -> bool:
        try:
            flow = await self._ports.store.flow(flow_id)
        except Unreadable:
            return True
        return flow is not None and flow.status not in ENDED_FLOWS

    async def _ticket_is_on(self, holder: str) -> bool:
        ticket_id, _, attempt = holder.rpartition("/")
        try:
            ticket = (await self._ports.store.tickets([ticket_id])).get(ticket_id)
        except Unreadable:
            return True
        return ticket is not None and ticket.status in HELD and str(ticket.attempt) == attempt
