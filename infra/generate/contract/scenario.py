"""One course of a flow, played with the real functions, state machine and memory store on a clock set by hand.

Everything that is sent is written down in order. The ports that reach outside, workers and telemetry sink, take
what they get; what they would say is said by whoever plays the course.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from functions._adapters.memory.sink import MemorySink
from functions._adapters.memory.store import MemoryStore
from functions._core.decision.admission import admit
from functions._core.decision.resolving import resolve
from functions._core.events.assignment import assignment_event, cancellation_event
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.routes import ROUTES
from functions._core.events.subscribers import signal_events, subscriber_events
from functions._core.guards.gate import NoGuards
from functions._core.placement.breaker import admits, attempt_key, trial_of, verdict_of, verdicts_of
from functions._core.placement.workers import Deregistration, Drain, Heartbeat, Registration, WorkerEvent
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.models import Ticket
from functions._core.records.values import format_time, ticket_id_of
from functions._core.records.worker import Answer, Worker
from functions._core.rules import Rules
from functions._core.webhooks.owners import owners_of, ready_events
from functions._engine.budget_gate import RememberedGate
from functions._engine.dispatch import Dispatcher, DispatchResult
from functions._engine.guards import RememberedGuards
from functions._engine.tokens import KEY_BYTES, JwtTokens
from functions._engine.wiring import track_workers
from infra.generate.contract.folder import pretty

PLATFORM = "https://flowc.example.com"
TOKEN = "token-of-this-attempt"  # noqa: S105 a token is a secret; this one only shows its place
MOMENT = timedelta(milliseconds=4)
"""How long a function takes here."""


WORDS_OF_WORKERS: Mapping[str, Callable[[Any], Registration | Heartbeat | Deregistration]] = {
    "worker.registered": Registration.model_validate,
    "worker.heartbeat": Heartbeat.model_validate,
    "worker.deregistered": Deregistration.model_validate,
}


class Accepting:
    """A gateway to workers that accept whatever they get."""

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """Take any events."""
        return Answer(202, f"{worker.worker_id} has {', '.join(event.id for event in events)}")


class Scenario:
    """A platform at one moment, and everything that has been sent so far."""

    def __init__(self, start: datetime, rules: Rules | None = None) -> None:
        """Begin at `start` with nobody there; `answer` is what workers say to an assignment."""
        stores = MemoryStore().stores
        self.time = start
        self.sent: list[CloudEvent] = []
        self.flow_id = ""
        self.answer = Answer(202)
        self._chain: deque[CloudEvent] = deque()
        self._sink = MemorySink()
        self.rules = rules or Rules()
        self.ports = stores.ports(
            telemetry_sink=self._sink,
            gateway=Accepting(),
            clock=self,
            tokens=JwtTokens(bytes(KEY_BYTES), self),
        )
        self.ports = replace(
            self.ports,
            budget_gate=RememberedGate(self.ports.key_values, self),
            guards=RememberedGuards(self.ports.key_values, self, NoGuards()),
        )
        self._dispatcher = Dispatcher(
            self.ports, self.rules, committed=lambda _step: None, observed=lambda _handling: None
        )

    def now(self) -> datetime:
        """Return the time of this course; implements `ports.Clock`."""
        return self.time

    async def submit(self, event: CloudEvent) -> None:
        """Receive a decision; its first event waits."""
        self.sent.append(event)
        _, step = admit(event, pretty(event.data).encode(), self.time, self.rules)
        self.flow_id = step.flow_id
        await self.ports.store.commit(step)
        self._queue(step.events)

    async def run(self) -> None:
        """Handle what waits until nothing does."""
        while self._chain:
            await self.handle(self._chain.popleft())

    def lose(self) -> None:
        """Lose every event that waits."""
        self._chain.clear()

    async def handle(self, event: CloudEvent) -> None:
        """Let its function handle an event about the flow."""
        await self._settle(self._dispatcher.handle(event))

    def say(
        self,
        event_type: str,
        source: str,
        subject: str | None,
        data: Mapping[str, Any],
        **more: str,
    ) -> CloudEvent:
        """Send an event from outside, or from the clock, and return it."""
        event = CloudEvent(
            id=f"{subject or source}/{event_type}/{format_time(self.time)}",
            source=source,
            type=type_of(event_type),
            time=self.time,
            subject=subject,
            data=dict(data),
            extensions=more,
        )
        self.sent.append(event)
        return event

    async def worker_says(self, event_type: str, worker_id: str, **data: Any) -> None:  # noqa: ANN401 fields of any type
        """Let a worker register, show that it is alive, or leave."""
        event = self.say(event_type, f"/workers/{worker_id}", worker_id, {"worker_id": worker_id, **data})
        read = WORDS_OF_WORKERS[event_type](event.data)
        await self._track(read)
        await self.run()

    async def drained(self, worker_id: str) -> None:
        """Let a person see to it that a worker gets no new tickets."""
        await self._track(Drain(worker_id=worker_id, draining=True))

    async def report(self, task_id: str, status: str, **data: Any) -> None:  # noqa: ANN401 fields of any type
        """Let the worker that holds a task's ticket report."""
        ticket = await self.ticket(task_id)
        event = CloudEvent(
            id=f"{ticket.ticket_id}/{ticket.attempt}/{status}",
            source=f"/workers/{ticket.worker_id}",
            type=type_of("ticket.reported"),
            time=self.time,
            subject=ticket.ticket_id,
            data={"ticket_id": ticket.ticket_id, "attempt": ticket.attempt, "status": status, **data},
            extensions={
                "partitionkey": ticket.flow_id,
                "correlationid": ticket.correlation_id,
                "causationid": next(e.id for e in reversed(self.sent) if _assigns(e, ticket)),
                "traceparent": f"00-{ticket.trace_id}-{ticket.span_id}-01",
            },
        )
        self.sent.append(event)
        await self.handle(event)
        await self.run()

    async def order(self, event_type: str, who: str, why: str, task_id: str = "", **data: Any) -> None:  # noqa: ANN401 fields
        """Let a person give an order about the flow, or about the ticket of a task."""
        about = {"ticket_id": ticket_id_of(self.flow_id, task_id)} if task_id else {}
        data = {"flow_id": self.flow_id, **about, "requested_by": who, "reason": why, **data}
        subject = about.get("ticket_id", self.flow_id)
        await self.handle(self.say(event_type, "/operators", subject, data, partitionkey=self.flow_id))
        await self.run()

    async def wait(self, seconds: float) -> None:
        """Let time pass and everything that is due happen."""
        self.time += timedelta(seconds=seconds)
        self.say("clock.ticked", "/schedule", None, {})
        for due in await self.ports.wakeups.claim_due(self.time, 100, timedelta(minutes=1)):
            if due.flow_id is None:
                await self._track(due)
            else:
                await self._settle(self._dispatcher.due(due))
        await self.run()

    async def later(self, seconds: float) -> None:
        """Let time pass in which nothing is due, and the workers show that they are alive."""
        self.time += timedelta(seconds=seconds)
        for worker in await self.ports.registry.workers():
            await self.worker_says("worker.heartbeat", worker.worker_id)

    async def ticket(self, task_id: str) -> Ticket:
        """Return the ticket of a task, or the last one that undoes it: `compensate:<task>`."""
        tickets = await self.ports.store.tickets_of(self.flow_id)
        return next(ticket for ticket in reversed(tickets) if ticket.task_id == task_id)

    async def _settle(self, handling: Awaitable[DispatchResult | None]) -> None:
        """Let the dispatcher handle something, and send what was committed."""
        self.time += MOMENT
        known = len(self._sink.events)
        handled = await handling
        if handled is None or not handled.step.changes:
            return
        step = handled.step
        self.sent.extend(self._sink.events[known:])
        flow = step.flow or handled.context.flow
        self.sent.extend(subscriber_events(step, flow))
        self.sent.extend(signal_events(step, flow))
        self.sent.extend(map(_to_owner, ready_events(step, flow, owners_of(step.tickets))))
        self._queue(step.events)
        await self._judge(step)
        await self._deliver(step.deliveries)

    def _queue(self, events: Collection[CloudEvent]) -> None:
        self.sent.extend(events)
        self._chain.extend(event for event in events if event.event_type in ROUTES)

    async def _judge(self, step: ChangeSet) -> None:
        """Count what the attempts that ended say of their workers."""
        for verdict in verdicts_of(step):
            await self._track(verdict)

    async def _track(self, event: WorkerEvent) -> None:
        """Keep what an event means for its worker, and send what follows from it."""
        tracked = await track_workers(event, self.ports, self.rules)
        if tracked.worker is None and tracked.known is not None:
            await self.ports.registry.remove(tracked.known.worker_id, tracked.known.version)
        elif tracked.worker is not None and tracked.worker is not tracked.known:
            await self.ports.registry.put(tracked.worker)
        self._queue(tracked.events)

    async def _deliver(self, deliveries: Collection[Delivery]) -> None:
        """Bring messages to their workers."""
        for delivery in deliveries:
            ticket, attempt = delivery.ticket, delivery.attempt
            if delivery.cancelled:
                self.sent.append(cancellation_event(ticket, attempt, self.time))
                continue
            answers = {ticket.ticket_id: (attempt, await self._answer(delivery))}
            await self._settle(self._dispatcher.delivered(ticket.flow_id, answers))

    async def _answer(self, delivery: Delivery) -> Answer:
        """Send an assignment if the circuit breaker lets it through, and return what the worker says."""
        ticket, key = delivery.ticket, attempt_key(delivery.ticket.ticket_id, delivery.attempt)
        worker = await self.ports.registry.worker(delivery.worker_id)
        if worker is not None and worker.suspended_until is not None:
            await self._track(trial_of(worker, key, ticket.timeout, self.time))
            worker = await self.ports.registry.worker(delivery.worker_id)
        if worker is None or not admits(worker, key, self.time):
            return Answer(0, "its circuit breaker lets nothing through", reached=False, suspended=True)
        outputs = {t.task_id: t.output for t in await self.ports.store.tickets_of(ticket.flow_id)}
        url = f"{PLATFORM}/api/v1/flows/{ticket.flow_id}/reports"
        parameters = resolve(ticket.parameters, outputs)
        self.sent.append(assignment_event(ticket, delivery.attempt, parameters, url, TOKEN, self.time))
        if (verdict := verdict_of(self.answer, worker, key)) is not None:
            await self._track(verdict)
        return self.answer


def _to_owner(event: CloudEvent) -> CloudEvent:
    """Return `ticket.ready` as its owner is sent it."""
    callback = {"status_url": f"{PLATFORM}/api/v1/tickets/{event.subject}/status", "token": TOKEN}
    return replace(event, data={**event.data, "callback": callback})


def _assigns(event: CloudEvent, ticket: Ticket) -> bool:
    return event.event_type == "ticket.assigned" and event.subject == ticket.ticket_id
