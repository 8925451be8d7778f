"""Gives workers that ask for their tickets what was assigned to them: `POST /api/v1/tasks/lease`.

What is given is acknowledged first, durably, as the 202 of a worker that is sent its tickets. So a ticket that another
worker gets was never given, or is lost by the rules that hold for both. One request of a worker waits at a time: the
newest, as a worker asks again only when it has given up the request before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

from functions._core.errors import FlowcError, Rejected, Unavailable, Undeliverable, Unreadable
from functions._core.events.assignment import BATCH_BYTES
from functions._core.events.envelope import CloudEvent
from functions._core.machine.assignment import awaits_acknowledgement
from functions._core.placement.leasing import HeldTickets, Leased, LeaseRequest, held_tickets
from functions._core.placement.workers import MAX_PULL_SLOTS, Heartbeat, Running
from functions._core.planning.tickets import check_hash
from functions._core.ports import Ports
from functions._core.records.attempts import of_attempt, other_of
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.json_text import json_size
from functions._core.records.models import Ticket
from functions._core.records.values import Health
from functions._core.records.worker import Answer, AssignmentMode, Worker
from functions._core.rules import Rules
from functions._engine.assignment_messages import AssignmentMessages
from functions._engine.dispatch import DispatchResult
from functions._engine.worker_tracker import WorkerTracker
from functions._observability.logs import ids_of_delivery, log
from functions._observability.metrics import Metrics

LOOK_AGAIN_SECONDS = 1.0
"""How long a request waits before it looks at the store: its ticket may be assigned by another process."""

MOST_WAITING = 1_000
"""Requests that wait at once, of all workers."""

HEARTBEATS = 3
"""A request is written down as a heartbeat so many times in the interval of heartbeats at most."""

ACCEPTED = Answer(202, "asked for it")

Gone = Callable[[], Awaitable[bool]]
"""Tells whether the client has left."""


class TaskLeases:
    """The requests of workers that ask for their tickets."""

    def __init__(  # noqa: PLR0913 what a delivery needs
        self,
        ports: Ports,
        rules: Rules,
        tracker: WorkerTracker,
        base_url: str,
        metrics: Metrics,
        *,
        acknowledge: Callable[[str, tuple[Delivery, Answer]], asyncio.Future[DispatchResult]],
        answered: Callable[[Delivery, Answer], None],
        unresolved: Callable[[Delivery, Undeliverable], None],
        stopping: Callable[[], bool],
    ) -> None:
        """`acknowledge` records the answers of one flow together; the others are those of `AssignmentSender`."""
        self._ports = ports
        self._rules = rules
        self._tracker = tracker
        self._messages = AssignmentMessages(ports, tracker, base_url, rules.references_bytes)
        self._metrics = metrics
        self._acknowledge = acknowledge
        self._answered = answered
        self._unresolved = unresolved
        self._stopping = stopping
        self._newest: dict[str, asyncio.Event] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def waiting(self) -> int:
        """How many workers ask now."""
        return len(self._newest)

    def observe(self, step: ChangeSet) -> None:
        """Wake the requests of workers that a committed step concerns."""
        if not self._newest:
            return
        told = [ticket.worker_id for ticket in step.tickets if awaits_acknowledgement(ticket)]
        told += [other.worker_id for ticket in step.tickets if (other := other_of(ticket)) is not None]
        told += [delivery.worker_id for delivery in step.deliveries if delivery.cancelled]
        for worker_id in told:
            if worker_id in self._newest:
                self._newest[worker_id].set()

    async def lease(self, asked: LeaseRequest, gone: Gone) -> Leased:
        """See `Engine.lease`."""
        mine, worker_id = asyncio.Event(), asked.worker_id
        if older := self._newest.get(worker_id):
            older.set()
        self._newest[worker_id] = mine
        try:
            leased = await self._leased(asked, mine, gone)
        finally:
            if self._newest.get(worker_id) is mine:
                del self._newest[worker_id]
        self._metrics.count("flowc_leases_total", "given" if leased.assignments else "empty")
        return leased

    async def _leased(self, asked: LeaseRequest, mine: asyncio.Event, gone: Gone) -> Leased:
        """Look at once, then whenever there may be something new, until there is or the wait is over."""
        clock = asyncio.get_running_loop().time
        until = clock() + min(asked.wait_seconds, self._rules.heartbeat.total_seconds())
        turn = self._turns.get(asked.worker_id)
        if turn is None:
            turn = self._turns[asked.worker_id] = asyncio.Lock()
        first = True
        while True:
            async with turn:
                if self._newest.get(asked.worker_id) is not mine:
                    return Leased()
                leased = await self._look(asked, first=first)
            if leased.assignments or leased.cancel or (left := until - clock()) <= 0:
                return leased
            if first and len(self._newest) > MOST_WAITING:
                raise Rejected("too many workers wait for tickets here; try again", code="overloaded", status=503)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_AGAIN_SECONDS)):
                    await mine.wait()
            mine.clear()
            if self._stopping():
                raise Unavailable("the platform is stopping; ask again when it is back")
            if await gone():  # what it was given now, nobody would do
                return Leased()
            first = False

    async def _look(self, asked: LeaseRequest, *, first: bool) -> Leased:
        """Return what there is for the worker.

        Only when it has just asked is its word on what it is `running` fresh; later it does not change what is given.
        """
        worker = await self._worker(asked.worker_id)
        held = await self._ports.ticket_counts.held_by(worker.worker_id, MAX_PULL_SLOTS)
        known = held_tickets(held, asked.running, worker, self._ports.clock.now(), self._rules)
        if first:
            await self._note_presence(worker, known)
        tickets = [*known.again, *known.first] if first else known.first
        cancel = await self._tracker.stale(known.gone) if known.gone else ()
        return Leased(await self._give(worker, tickets, asked.limit), cancel)

    async def _worker(self, worker_id: str) -> Worker:
        worker = None
        with suppress(Unreadable):  # it registers again then, which replaces its record
            worker = await self._ports.registry.worker(worker_id)
        if worker is None:
            raise Rejected(f"worker {worker_id} is not registered", code="unknown_worker", status=404)
        if worker.delivery is not AssignmentMode.PULL:
            text = f"worker {worker_id} is sent its tickets: it asks for them when it registers with delivery: pull"
            raise Rejected(text, code="not_pulling", status=409)
        return worker

    async def _note_presence(self, worker: Worker, known: HeldTickets) -> None:
        """Count the request as a heartbeat; a worker that asks for each short task is not written down each time."""
        silent = self._ports.clock.now() - worker.last_seen
        if known.lost or silent >= self._rules.heartbeat / HEARTBEATS or worker.announced is Health.UNHEALTHY:
            running: tuple[Running, ...] | None = tuple(known.kept) if known.lost else None
            await self._tracker.heartbeat(worker.worker_id, Heartbeat(status=worker.reported, running=running))

    async def _give(self, worker: Worker, tickets: Sequence[Ticket], limit: int) -> Sequence[CloudEvent]:
        """Return the assignments of tickets, each acknowledged: so many at most, and about as many bytes as a batch."""
        made: list[tuple[Delivery, CloudEvent]] = []
        size = 0
        for ticket in tickets:
            if len(made) == limit or size > BATCH_BYTES:
                break
            delivery = Delivery(ticket, worker.worker_id, ticket.attempt)
            event = await self._message(worker, delivery)
            if event is not None:
                made.append((delivery, event))
                size += json_size(event.data)
        holds = await self._acknowledged(worker, [delivery for delivery, _ in made])
        given = [event for delivery, event in made if delivery.ticket.ticket_id in holds]
        for delivery, _ in made:
            if delivery.ticket.ticket_id in holds:
                again = delivery.ticket.acknowledged_at is not None
                self._metrics.count("flowc_leased_tickets_total", "again" if again else "first")
        return given

    async def _message(self, worker: Worker, delivery: Delivery) -> CloudEvent | None:
        """Return the assignment; None, and word of it, where the worker is not to have the ticket."""
        try:
            check_hash(delivery.ticket)
            refusal = await self._messages.refusal(worker, delivery, delivery.ticket)
            made = refusal or await self._messages.assignment(delivery, delivery.ticket)
        except Undeliverable as why:
            self._unresolved(delivery, why)
        else:
            if not isinstance(made, Answer):
                return made
            self._answered(delivery, made)
        return None

    async def _acknowledged(self, worker: Worker, deliveries: Sequence[Delivery]) -> frozenset[str]:
        """Record that the worker has taken these tickets; return the ids of those that it holds.

        Raises what kept all of them from being recorded.
        """
        holds = {one.ticket.ticket_id for one in deliveries if one.ticket.acknowledged_at is not None}
        new = [one for one in deliveries if one.ticket.acknowledged_at is None]
        results = await asyncio.gather(*map(self._recorded, new), return_exceptions=True)
        failed: BaseException | None = None
        for delivery, result in zip(new, results, strict=True):
            if result is True:
                holds.add(delivery.ticket.ticket_id)
                await self._count(worker, delivery)
            elif isinstance(result, BaseException):
                failed = result
                log.warning("lease.not_recorded", **ids_of_delivery(delivery), error=repr(result))
        if failed is not None and not holds:
            raise failed
        return frozenset(holds)

    async def _recorded(self, delivery: Delivery) -> bool:
        """Tell whether the ticket is the worker's, acknowledged, once this is committed."""
        done = await asyncio.shield(self._acknowledge(delivery.ticket.flow_id, (delivery, ACCEPTED)))
        ticket_id = delivery.ticket.ticket_id
        changed = {ticket.ticket_id: ticket for ticket in done.step.tickets}
        found = changed.get(ticket_id) or done.context.tickets.get(ticket_id)
        ticket = found and of_attempt(found, delivery.attempt)
        same = ticket is not None and (ticket.attempt, ticket.worker_id) == (delivery.attempt, delivery.worker_id)
        return ticket is not None and same and ticket.acknowledged_at is not None and ticket.live

    async def _count(self, worker: Worker, delivery: Delivery) -> None:
        """Count the acknowledgement for a worker that is doubted."""
        if worker.failures:
            try:
                await self._tracker.answered(worker, delivery, ACCEPTED)
            except FlowcError as error:
                log.warning("delivery.not_counted", **ids_of_delivery(delivery), error=str(error))
