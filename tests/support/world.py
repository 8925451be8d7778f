"""A whole platform over the memory adapters, with workers that live in the same process.

`running_world` starts a real `Platform`: the real functions, state machine, queue and clock. Only the wire to the
workers is short: `LocalWorkers` implements the gateway port and reports straight to the engine.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from functions._adapters.memory.sink import MemorySink
from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import Stores
from functions._core.engine import ReportResult
from functions._core.events.commands import CancelRequest
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.placement.workers import Registration
from functions._core.ports import Answer, Ports, WorkerGateway
from functions._core.records.change_set import Delivery
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, flow_id_of
from functions._core.records.worker import Worker
from functions._core.rules import Rules
from functions._engine.clock import SystemClock
from functions._engine.platform import Platform
from functions._engine.settings import Settings
from functions._engine.tokens import JwtTokens

PATIENCE_S = 180.0
"""Seconds after which a test gives up waiting: nothing takes this long on the busiest machine, only a hang does."""

ACCEPTED = Answer(202)
T = TypeVar("T")
Task = Mapping[str, Any]


def task(task_id: str, *after: str, **more: Any) -> dict[str, Any]:
    """Return a task of a plan that depends on `after`."""
    return {
        "task_id": task_id,
        "task_type": "EXECUTE",
        "description": f"do {task_id}",
        "dependencies": list(after),
        "estimated_duration_ms": 1000,
        "required_capabilities": ["python"],
        **more,
    }


def decision(*tasks: Task, decision_id: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an approved decision with a plan of `tasks`."""
    decision_id = decision_id or f"d-{uuid4()}"
    plan_id = f"plan-of-{decision_id}"[:255]
    return {
        "decision_id": decision_id,
        "plan_id": plan_id,
        "intent_id": "intent-1",
        "final_decision": "approve",
        "cognitive_plan": {"plan_id": plan_id, "tasks": list(tasks)},
        **more,
    }


def decision_event(data: Any, **extensions: str) -> CloudEvent:
    """Return the CloudEvent that carries a decision."""
    return CloudEvent(
        id=str(uuid4()),
        source="/tests",
        type=type_of("decision.consolidated"),
        time=datetime.now(UTC),
        data=data,
        extensions=extensions,
    )


@dataclass
class LocalWorkers:
    """Workers without a network: `behave` says what becomes of an assignment, None being no report at all."""

    behave: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda _assignment: {"status": "COMPLETED"}
    answer: Callable[[Worker, CloudEvent], Answer] = lambda _worker, _event: ACCEPTED
    assignments: list[Mapping[str, Any]] = field(default_factory=list)
    cancellations: list[Mapping[str, Any]] = field(default_factory=list)
    answers: list[ReportResult] = field(default_factory=list)
    report: Callable[[CloudEvent], Awaitable[ReportResult]] | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def deliver(self, worker: Worker, event: CloudEvent) -> Answer:
        """Take an assignment or a cancellation; implements `WorkerGateway`."""
        if event.event_type == "ticket.cancelled":
            self.cancellations.append(event.data)
            return ACCEPTED
        answer = self.answer(worker, event)
        if answer.accepted:
            self.assignments.append({**event.data, "worker_id": worker.worker_id})
            done = asyncio.create_task(self._work(event.data))
            self.tasks.add(done)
            done.add_done_callback(self.tasks.discard)
        return answer

    async def _work(self, assignment: Mapping[str, Any]) -> None:
        said = self.behave(assignment)
        if said is not None and self.report is not None:
            self.answers.append(await self.report(report_event(assignment, **said)))


def report_event(assignment: Mapping[str, Any], **said: Any) -> CloudEvent:
    """Return `ticket.reported` for an assignment."""
    return CloudEvent(
        id=str(uuid4()),
        source="/workers/local",
        type=type_of("ticket.reported"),
        time=datetime.now(UTC),
        subject=assignment["ticket_id"],
        data={"ticket_id": assignment["ticket_id"], "attempt": assignment["attempt"], **said},
        extensions={"partitionkey": assignment["flow_id"]},
    )


@dataclass
class World:
    """A running platform and what surrounds it."""

    platform: Platform
    workers: LocalWorkers
    sink: MemorySink
    ports: Ports

    async def register(self, worker_id: str = "w1", *capabilities: str, slots: int = 10) -> Worker:
        """Register a worker; without capabilities it offers `python`."""
        return await self.platform.register(
            Registration(
                worker_id=worker_id,
                endpoint=f"http://127.0.0.1:1/{worker_id}",
                capabilities=capabilities or ("python",),
                slots=slots,
            )
        )

    async def submit(self, data: Mapping[str, Any]) -> str:
        """Send a decision and return its flow id."""
        return await self.platform.admit(decision_event(data))

    async def cancel(self, flow_id: str, requested_by: str = "ada", reason: str = "enough") -> Flow:
        """Stop a flow."""
        order = CancelRequest(flow_id=flow_id, requested_by=requested_by, reason=reason)
        return (await self.platform.order(order)).flow

    async def ended(self, flow_id: str, seconds: float = PATIENCE_S) -> Flow:
        """Wait for the end of a flow."""
        return await until(lambda: self._end_of(flow_id), f"the end of flow {flow_id}", seconds)

    async def at(self, flow_id: str, status: FlowStatus) -> Flow | None:
        """Return the flow if it is in a status."""
        flow = await self.ports.store.flow(flow_id)
        return flow if flow is not None and flow.status is status else None

    async def run(self, *tasks: Task, **more: Any) -> Flow:
        """Send a plan of `tasks` and wait for the end of its flow."""
        data = decision(*tasks, **more)
        await self.submit(data)
        return await self.ended(flow_id_of(data["decision_id"]))

    async def tickets(self, flow_id: str) -> dict[str, Ticket]:
        """Return the tickets of a flow by task id."""
        return {ticket.task_id: ticket for ticket in await self.ports.store.tickets_of(flow_id)}

    async def history(self, flow_id: str) -> Sequence[tuple[str, str | None]]:
        """Return type and task of every transition."""
        return [(entry.type, entry.task_id) for entry in await self.ports.views.history(flow_id, 0, 500)]

    async def _end_of(self, flow_id: str) -> Flow | None:
        flow = await self.ports.store.flow(flow_id)
        return flow if flow is not None and flow.ended_at is not None else None


class Impatient(Settings):
    """Settings with limits that users cannot set."""

    limits: Mapping[str, Any] = {}

    @property
    def rules(self) -> Rules:
        """The time limits."""
        return replace(super().rules, **self.limits)


@asynccontextmanager
async def running_world(
    tmp_path: Path, stores: Stores | None = None, gateway: WorkerGateway | None = None, **settings: Any
) -> AsyncIterator[World]:
    """Run a platform, over the memory adapters if no others are given; `limits` changes `Rules`.

    Workers are local ones, unless `gateway` is the way to others.

    One worker, `w1`, is not registered yet.
    """
    stores = stores or MemoryStore().stores
    sink, workers, clock = MemorySink(), LocalWorkers(), SystemClock()
    ports = stores.ports(
        telemetry_sink=sink,
        gateway=gateway or workers,
        clock=clock,
        tokens=JwtTokens(b"k" * 32, clock),
    )
    platform = Platform(
        Impatient.from_mapping({}, data=tmp_path, **settings), ports, stores.queue, "http://127.0.0.1:1"
    )
    workers.report = platform.report
    await platform.start()
    clock_task = asyncio.create_task(platform.sweeper.run())
    try:
        yield World(platform, workers, sink, ports)
    finally:
        clock_task.cancel()
        with suppress(asyncio.CancelledError):
            await clock_task
        await platform.close()


class ClosedBreaker:
    """Circuit breakers that let everything through; `Breaker` of the courier."""

    async def admits(self, _worker: Worker, _delivery: Delivery) -> bool:
        return True

    async def answered(self, _worker: Worker, _delivery: Delivery, _answer: Answer) -> None:
        return


async def until(probe: Callable[[], Awaitable[T | None]], what: str, seconds: float = PATIENCE_S) -> T:
    """Wait for something that happens by itself; polling is all that an outside observer can do.

    A pause is a tenth of the time that was waited already: a long wait leaves the processor to what it waits for.
    """
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        async with asyncio.timeout(seconds):
            while (found := await probe()) is None:
                await asyncio.sleep(min(max(0.005, (clock() - begun) / 10), 0.1))
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s without success for {what}") from None
    return found
