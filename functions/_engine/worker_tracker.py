"""Keeps the registry of workers: applies what `track_workers` concludes, and sends what follows from it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter

from functions._adapters.http.addresses import Networks, checked_url
from functions._core.engine import ReportResult
from functions._core.errors import Conflict, Rejected, Unavailable, Unreadable
from functions._core.events.envelope import CloudEvent
from functions._core.placement.breaker import BreakerOrder, WorkerVerdict, admits, attempt_key, trial_of, verdict_of
from functions._core.placement.workers import (
    Deregistration,
    Drain,
    Heartbeat,
    Registration,
    Running,
    WorkerEvent,
    excused,
    own_worker,
    refuse_own,
)
from functions._core.ports import Ports
from functions._core.records.attempts import of_attempt
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.values import SecurityLevel
from functions._core.records.worker import OWN_WORKER, Answer, Worker
from functions._core.rules import Rules
from functions._engine.registry_log import RegistryLog
from functions._engine.wiring import Tracked, handed_on, release, track_workers
from functions._observability.instruments import Instruments
from functions._observability.logs import ids_of_ticket

TRIES = 8

PROBED, PROBES_AT_ONCE = 64, 16
"""Agents that one round probes at most, those first that were silent for longest, and how many at the same time."""

Probe = Callable[[Worker], Awaitable[bool]]
"""Asks an agent whether it is well; never raises."""

Send = Callable[[tuple[CloudEvent, ...]], Awaitable[None]]


class WorkerTracker:
    """The worker side of the platform."""

    def __init__(
        self,
        ports: Ports,
        rules: Rules,
        networks: Networks,
        instruments: Instruments,
        registry_log: RegistryLog | None = None,
        *,
        send: Send,
        stored: Callable[[Worker], None],
    ) -> None:
        """Let `send` queue events, and tell `stored` of every new row; changes of rows go to `registry_log`."""
        self._ports = ports
        self._rules = rules
        self._networks = networks
        self._instruments = instruments
        self._send = send
        self._stored = stored
        self._registry_log = registry_log
        self._doubted: set[str] = set()
        self.probe: Probe | None = None

    async def excuse(self) -> None:
        """Take no worker's silence amiss while there was no platform to speak to."""
        now = self._ports.clock.now()
        for worker in await self._ports.registry.workers():
            # One that moved meanwhile was heard by another process, and needs no excuse.
            with suppress(Conflict):
                await self._ports.registry.put(excused(worker, now, self._rules))

    async def register(self, registration: Registration) -> Worker:
        """See `Engine.register`."""
        refuse_own(registration.worker_id)
        try:
            if registration.endpoint:
                checked_url(registration.endpoint, self._networks)
        except Rejected as refusal:
            raise Rejected(f"endpoint: {refusal}", code=refusal.code, status=422) from refusal
        tracked = await self.track(registration)
        if tracked.worker is None:
            raise Unavailable("the worker was removed while it registered")
        return tracked.worker

    async def heartbeat(self, worker_id: str, heartbeat: Heartbeat) -> ReportResult:
        """See `Engine.heartbeat`."""
        refuse_own(worker_id)
        tracked = await self.track(heartbeat.but(worker_id=worker_id))
        if tracked.known is None:
            raise Rejected(f"worker {worker_id} is not registered", code="unknown_worker", status=404)
        return ReportResult("recorded", cancel=await self.stale(heartbeat.running or ()))

    async def stale(self, named: Sequence[Running]) -> tuple[str, ...]:
        """Return the ids of the tickets, of those that a worker names, whose attempts are over."""
        running = {entry.ticket_id: entry.attempt for entry in named}
        tickets = await self._ports.store.tickets(list(running)) if running else {}
        return tuple(i for i, t in tickets.items() if not t.live or of_attempt(t, running[i]).attempt != running[i])

    async def deregister(self, worker_id: str, reason: str) -> bool:
        """See `Engine.deregister`."""
        refuse_own(worker_id)
        return (await self.track(Deregistration(worker_id=worker_id, reason=reason))).known is not None

    async def drain(self, worker_id: str, *, draining: bool) -> Worker:
        """See `Engine.drain`."""
        tracked = await self.track(Drain(worker_id=worker_id, draining=draining))
        if tracked.worker is None:
            raise Rejected(f"worker {worker_id} is not registered", code="unknown_worker", status=404)
        return tracked.worker

    async def break_circuit(self, order: BreakerOrder) -> Worker | None:
        """Open or close the circuit breaker of a worker; return it, None for one that is not registered."""
        tracked = await self.track(order)
        (self._doubted.add if order.opened else self._doubted.discard)(order.worker_id)
        return tracked.worker

    async def own(self, capabilities: tuple[str, ...], slots: int, clearance: SecurityLevel) -> None:
        """Let the platform's own worker be as it is said to be; without capabilities there is none."""
        known = await self._ports.registry.worker(OWN_WORKER)
        if not capabilities:
            if known is not None:
                await self.track(Deregistration(worker_id=OWN_WORKER, reason="FLOWC_EXECUTORS names none"))
            return
        row = own_worker(known, capabilities, slots, clearance, self._ports.clock.now(), self._rules)
        if row is None:
            return
        with suppress(Conflict):  # another process has just done it
            await self._ports.registry.put(row)
            self._stored(row)
            await self._send(await release(row, self._ports))

    async def judge(self, verdict: WorkerVerdict) -> None:
        """Count what an attempt says of its worker."""
        tracked = await self.track(verdict)
        if tracked.worker is not None and tracked.worker.failures:
            self._doubted.add(verdict.worker_id)
        else:
            self._doubted.discard(verdict.worker_id)

    def counts(self, verdict: WorkerVerdict) -> bool:
        """Whether a verdict changes anything: only failure counts for a worker that is not doubted."""
        return verdict.succeeded is False or verdict.worker_id in self._doubted

    async def admits(self, worker: Worker, delivery: Delivery) -> bool:
        """See `assignment_sender.Breaker`: half-open, it lets one attempt through, of all processes together."""
        if worker.suspended_until is None:
            return True
        now, attempt = self._ports.clock.now(), attempt_key(delivery.ticket.ticket_id, delivery.attempt)
        if now < worker.suspended_until:
            return False
        if delivery.cancelled:
            return admits(worker, attempt, now)
        self._doubted.add(worker.worker_id)
        tracked = await self.track(trial_of(worker, attempt, delivery.ticket.timeout, now))
        return tracked.worker is not None and admits(tracked.worker, attempt, now)

    async def answered(self, worker: Worker, delivery: Delivery, answer: Answer) -> None:
        """See `assignment_sender.Breaker`."""
        verdict = verdict_of(answer, worker, attempt_key(delivery.ticket.ticket_id, delivery.attempt))
        if verdict is not None:
            await self.judge(verdict)

    async def look_around(self) -> None:
        """Take note of which workers are doubted: their failures may have been counted by another process."""
        self._doubted = {worker.worker_id for worker in await self._ports.registry.workers() if worker.failures}

    async def release_waiting(self) -> None:
        """Offer waiting tickets the slots that are free, in case the moment they became free was missed."""
        await self.look_around()
        workers = await self._ports.registry.workers()
        limits = self._rules.in_flight
        if limits is None or limits.tickets is None:  # else those that wait for a place, too, are offered by `InFlight`
            for worker in workers:
                await self._send(await release(worker, self._ports))
        await self._probe_silent(workers)
        if self._registry_log is not None:
            await self._registry_log.catch_up(workers)

    async def _probe_silent(self, workers: Sequence[Worker]) -> None:
        """Ask those that were silent for a heartbeat's time whether they are well; if so, that is a heartbeat."""
        if self.probe is None:
            return
        before, turns = self._ports.clock.now() - self._rules.heartbeat, asyncio.Semaphore(PROBES_AT_ONCE)
        silent = sorted((w for w in workers if w.endpoint and w.last_seen <= before), key=attrgetter("last_seen"))

        async def probed(worker: Worker, probe: Probe) -> None:
            async with turns:
                well = await probe(worker)
                self._instruments.metrics.count("health_checks_total", "well" if well else "silent")
                if well:
                    with suppress(Conflict, Unavailable):
                        await self.track(Heartbeat(worker_id=worker.worker_id))

        await asyncio.gather(*(probed(worker, self.probe) for worker in silent[:PROBED]))

    async def track(self, event: WorkerEvent) -> Tracked:
        """Apply what an event means for its worker; decided again when the worker's row moved in between."""
        for _ in range(TRIES):
            try:
                tracked = await track_workers(event, self._ports, self._rules)
            except Unreadable as unreadable:
                if await self._replaced(event, unreadable):
                    continue
                return Tracked(None, None)
            try:
                if not await self._store(tracked):
                    continue
            except Conflict:
                continue
            self._instruments.tracked(event, tracked.known, tracked.worker)
            if self._registry_log is not None and tracked.worker is not tracked.known:
                await self._registry_log.changed(tracked.known, tracked.worker)
            return tracked
        raise Conflict("the worker's row changes all the time")

    async def _replaced(self, event: object, unreadable: Unreadable) -> bool:
        """Make way for a worker that says again who it is, or leaves; whatever else concerns it finds no worker.

        A heartbeat that finds none is answered so that the worker registers again.
        """
        if not isinstance(event, Registration | Deregistration):
            return False
        version = unreadable.version or 0
        if isinstance(event, Deregistration):  # one that registers says itself what it is working on
            await self._send(await handed_on(event, version, self._ports))
        return await self._ports.registry.remove(event.worker_id, version)

    async def _store(self, tracked: Tracked) -> bool:
        if tracked.worker is tracked.known:
            return True
        if tracked.worker is not None:
            await self._ports.registry.put(tracked.worker)
            self._stored(tracked.worker)
            await self._send(tracked.events)
        elif tracked.known is not None:
            # The events first: forgotten before, a crash in between would leave the tickets to time out.
            await self._send(tracked.events)
            return await self._ports.registry.remove(tracked.known.worker_id, tracked.known.version)
        return True


def ids_of_verdict(verdict: WorkerVerdict, step: ChangeSet) -> Mapping[str, object]:
    """Return the fields of a line about what an attempt said of its worker."""
    ticket_id = verdict.attempt.rpartition("/")[0]
    ticket = next((ticket for ticket in step.tickets if ticket.ticket_id == ticket_id), None)
    return {**(ids_of_ticket(ticket) if ticket else {"flow_id": step.flow_id}), "worker_id": verdict.worker_id}
