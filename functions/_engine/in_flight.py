"""Gives the places of what has ended to what waits for one; see `_core.placement.limits`. Only where there are limits.

Each commit says what has ended, and what waits now: either of them leads to a look at places and waiting together, so
no place stays free while something waits. A process that dies in between leaves that to the next round of another one,
which also takes back places whose holders have ended, or never began.

A flow with a concurrency key is looked after whatever the limits are; a platform without any of them does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import Protocol

from functions._core.errors import FlowcError, Rejected, Unreadable
from functions._core.events.commands import CancelRequest
from functions._core.events.data import PlanValidated, TicketsReady
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import data_of
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.placement import limits as held_places
from functions._core.placement.limits import (
    BEHIND,
    FLOWS,
    OF_KEY,
    STALE,
    TICKETS,
    WAITING,
    WAITING_OF_KEY,
    FlowLine,
    Places,
    flow_of,
    give_back,
    limit_in,
    line_of_key,
    lines_of,
    over_limit,
    place_of,
    places,
    stale_flows,
    waiting_flow,
)
from functions._core.placement.ranking import free_slots
from functions._core.ports import Entry, Ports
from functions._core.records.attempts import runs
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import HELD_TICKETS, Flow, Ticket
from functions._core.records.policies import Beyond
from functions._core.records.values import Waiting
from functions._core.records.worker import Worker
from functions._core.rules import TICKETS_PER_EVENT, InFlightLimits
from functions._observability.logs import log

PAGE, PAGES = 100, 40
"""Flows in a page of those that wait, and pages that are looked at: those of a tenant at its limit are passed over.

A round looks at as many concurrency keys as pages, and the next one goes on behind them.

Of tickets, which are claimed to be offered, a page has `TICKETS_PER_EVENT` at most.
"""

OFFER_LEASE = timedelta(milliseconds=200)
"""A waiting ticket that was offered, or passed over for its tenant, is not offered again for this long."""

Send = Callable[[tuple[CloudEvent, ...]], Awaitable[None]]


class Order(Protocol):
    """See `Engine.order`."""

    def __call__(self, order: CancelRequest, *, order_id: str) -> Awaitable[object]:
        """Carry a command out; raise `Rejected` when it cannot be."""


class InFlight:
    """The places of one process; `send` queues events, `fresh_id` gives them ids, `order` gives commands."""

    def __init__(
        self, limits: InFlightLimits | None, ports: Ports, send: Send, fresh_id: Callable[[], str], order: Order
    ) -> None:
        self._unlimited = limits is None
        self._limits = limits or InFlightLimits()
        self._all = FlowLine(FLOWS, self._limits)
        self._order = order
        self._ports = ports
        self._send = send
        self._fresh_id = fresh_id
        self._ended: dict[str, set[str]] = {FLOWS: set(), TICKETS: set()}
        self._lines: dict[str, FlowLine] = {}
        """The lines of concurrency keys that have to be looked at."""
        self._behind: str | None = None
        """Where the next round goes on with the keys that flows wait for."""
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
        of_key = step.flow.concurrency if step.flow is not None else None
        if self._unlimited and of_key is None:
            return
        self._note_ends(step)
        tickets = step.tickets if self._limits.tickets is not None else ()
        waits = any(t.waiting is Waiting.SLOT and t.ticket_id not in self._offered for t in tickets)
        held_back = step.flow is not None and over_limit(step.flow)
        if of_key is not None and (held_back or any(self._ended.values())):
            line = line_of_key(of_key.key, of_key.limit)
            self._lines[line.kind] = line
        if waits or held_back or any(self._ended.values()):
            self._look = True
            if not self.busy:
                self._task = asyncio.create_task(self._run())

    def _note_ends(self, step: ChangeSet) -> None:
        tickets = self._limits.tickets is not None
        for entry in step.history:
            if entry.ticket_id is None:
                if entry.to_status in ENDED_FLOWS and step.flow is not None:
                    for line in lines_of(step.flow, self._limits):
                        self._ended.setdefault(line.kind, set()).add(place_of(step.flow))
            elif tickets and (entry.type == "ticket.hedge_ended" or _left_its_worker(entry)):
                self._ended[TICKETS].add(f"{entry.ticket_id}/{entry.attempt}")
        if self._ended[TICKETS]:
            self._offered.clear()

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
        # A round may do the same at the same time: what it has done is not there any more.
        for kind, ended in [*self._ended.items()]:
            if given := {*ended}:
                await give_back(kind, given, self._ports.key_values)
                ended.difference_update(given)
            if kind.startswith(OF_KEY) and not self._ended.get(kind, {kind}):
                del self._ended[kind]
        for kind, line in [*self._lines.items()]:
            await self._begin_flows(line)
            await self._cancel_older(line)
            if self._lines.get(kind) is line:
                del self._lines[kind]
        if self._limits.flows is not None:
            await self._begin_flows(self._all)
        await self._begin_tickets(ended=some_ended)

    async def round(self) -> None:
        """Look again, in case the moment was missed; take stale places back where something waits for them."""
        if self._limits.flows is not None and await self._ports.key_values.page(WAITING, None, 1):
            await self._take_back(self._all.kind)
        await self._waiting_keys()
        if self._limits.tickets is not None:
            held, _ = await places(TICKETS, self._ports.key_values)
            if held_places.full(held, self._limits.of(TICKETS)):
                await self._take_back_tickets()
        await self._again()

    async def _waiting_keys(self) -> None:
        """Have the concurrency keys looked at that flows wait for, and take stale places of them back."""
        for _ in range(PAGES):
            first = await self._ports.key_values.page(WAITING_OF_KEY, self._behind, 1)
            if not first:
                self._behind = None
                break
            key = first[0].key.rpartition(BEHIND)[0]
            line = line_of_key(key, limit_in(waiting_flow(first[0])[1]))
            await self._take_back(line.kind)
            self._lines[line.kind] = line
            self._behind = key + chr(ord(BEHIND) + 1)

    async def _begin_flows(self, line: FlowLine) -> None:
        """Give free places to the flows that have waited longest, and let them begin."""
        entries, after, passed_over = self._ports.key_values, None, set[str]()
        for _ in range(PAGES):
            page = await line.waiting(entries, after, PAGE)
            if not page:
                return
            by_holder = {waiting_flow(entry)[0]: entry for entry in page}
            waiting = {one: mark for one, mark in map(waiting_flow, page) if one not in passed_over}
            held, version = await places(line.kind, entries)
            now = self._ports.clock.now()
            again = {one: at for one, at in held.items() if one in waiting and held_places.since(at, now) >= STALE / 3}
            new = line.room_for({one: mark for one, mark in waiting.items() if one not in held}, held)
            flows = await self._still_waiting(line, [by_holder[one] for one in (*new, *again)], passed_over)
            granted = {one: mark for one, mark in new.items() if one in flows}
            renewed = {**granted, **{one: held[one][1] for one in again if one in flows}}
            if renewed and not await held_places.put(
                line.kind, {**held, **held_places.stamped(renewed, now)}, version, entries
            ):
                continue
            await self._send(tuple(self._begins(flows[one]) for one in renewed))
            if len(flows) == len(new) + len(again):
                after = page[-1].key
            if len(held) + len(granted) >= (line.limits.flows or 0):
                return

    async def _still_waiting(
        self, line: FlowLine, entries: Iterable[Entry], passed_over: set[str]
    ) -> Mapping[str, Flow]:
        """Return those flows that can begin; add those that may later, and unreadable ones, to `passed_over`.

        The others wait no longer.
        """
        found: dict[str, Flow] = {}
        for entry in entries:
            holder, _ = waiting_flow(entry)
            try:
                flow = await self._ports.store.flow(flow_of(holder))
            except Unreadable:
                passed_over.add(holder)
                continue
            if flow is not None and held_places.begins(flow):
                found[holder] = flow
            elif held_places.begins_later(entry, flow, self._ports.clock.now()):
                passed_over.add(holder)
            else:
                await self._ports.key_values.remove(line.space, entry.key, entry.version)
        return found

    async def _cancel_older(self, line: FlowLine) -> None:
        """Cancel the oldest flows of a key for the newest one that asks for it, as many as are beyond its limit."""
        entries = self._ports.key_values
        marks = dict(map(waiting_flow, await line.waiting(entries, None, PAGE)))
        if not any(mark.endswith(Beyond.CANCEL_OLDEST) for mark in marks.values()):
            return
        held, _ = await places(line.kind, entries)
        waiting = [one for one in marks if one not in held]
        newest = next((one for one in reversed(waiting) if marks[one].endswith(Beyond.CANCEL_OLDEST)), None)
        if newest is None:
            return
        older = [*sorted(held, key=lambda one: held[one]), *waiting[: waiting.index(newest)]]
        for holder in older[: max(0, len(older) + 1 - limit_in(marks[newest]))]:
            flow_id, by = flow_of(holder), flow_of(newest)
            with suppress(Rejected, Unreadable):  # it has ended, or nobody can tell
                flow = await self._ports.store.flow(flow_id)
                if flow is not None and flow.outcome is None and flow_id != by:
                    why = f"flow {by} of the same concurrency key takes its place"
                    cancel = CancelRequest(flow_id=flow_id, requested_by="flowc", reason=why)
                    await self._order(cancel, order_id=f"concurrency/{by}")

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
            free = free_slots(worker, active.get(worker.worker_id, 0), now)
            held |= await self._offer(worker, free, held) if free else {}
        if self._passed_over and ended:
            self._passed_over = False
            await asyncio.sleep(OFFER_LEASE.total_seconds())  # until those can be offered again that were passed over
            self._look = True

    async def _offer(self, worker: Worker, free: int, held: Places) -> Places:
        """Offer up to `free` waiting tickets to discovery; return the places that they will take."""
        taken: Places = {}
        most = 0
        for _ in range(PAGES):
            now, room = self._ports.clock.now(), (self._limits.tickets or 0) - len(held) - len(taken)
            usable = min(free - len(taken), room, TICKETS_PER_EVENT)
            if usable <= 0:
                break
            most = max(most, usable)
            claimed = await self._ports.wakeups.claim_waiting(worker.offers, now, most, OFFER_LEASE)
            tenants = await self._tenants({ticket.flow_id for ticket in claimed})
            wanted = {ticket.ticket_id: tenants[ticket.flow_id] for ticket in claimed}
            room_now = held_places.room_for(wanted, {**held, **taken}, self._limits.of(TICKETS))
            fitting = dict(islice(room_now.items(), usable))
            self._passed_over |= len(fitting) < len(claimed)
            self._offered |= fitting.keys()
            await self._send(tuple(self._ready(t) for t in claimed if t.ticket_id in fitting))
            taken |= held_places.stamped(fitting, now)
            if len(claimed) < most:
                break
            most = 0 if fitting else min(2 * most, TICKETS_PER_EVENT)  # a tenant at its limit is first: look further
        return taken

    async def _tenants(self, flow_ids: Collection[str]) -> Mapping[str, str]:
        """Return the tenants of flows, where a limit of one tenant asks for them."""
        found = dict.fromkeys(flow_ids, "")
        for flow_id in flow_ids if self._limits.tenant_tickets is not None else ():
            with suppress(Unreadable):
                flow = await self._ports.store.flow(flow_id)
                found[flow_id] = held_places.tenant_of(flow) if flow is not None else ""
        return found

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

    async def _take_back(self, kind: str) -> None:
        if stale := await stale_flows(kind, self._ports, self._ports.clock.now()):
            await give_back(kind, stale, self._ports.key_values)

    async def _take_back_tickets(self) -> None:
        now = self._ports.clock.now()
        held, _ = await places(TICKETS, self._ports.key_values)
        old = [one for one, place in held.items() if held_places.since(place, now) >= STALE]
        if stale := {one for one in old if not await self._ticket_is_on(one)}:
            await give_back(TICKETS, stale, self._ports.key_values)

    async def _ticket_is_on(self, holder: str) -> bool:
        ticket_id, _, attempt = holder.rpartition("/")
        try:
            ticket = (await self._ports.store.tickets([ticket_id])).get(ticket_id)
        except Unreadable:
            return True
        return ticket is not None and attempt.isdigit() and runs(ticket, int(attempt))


def _left_its_worker(entry: HistoryEntry) -> bool:
    return entry.from_status in HELD_TICKETS and entry.to_status not in HELD_TICKETS
