"""One interface to a platform under test, wherever it runs: `World`. The host behind it is a subclass.

`LocalWorld` is a platform over the memory adapters in this process. `HttpWorld` (`http_world.py`) is any platform that
has an api: the app without a network, `flowc up`, the processes of a cluster, the functions in an emulated AWS.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

from functions._adapters.http.client import HttpClient
from functions._adapters.memory.sink import MemorySink
from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import Stores
from functions._core.engine import ReportResult
from functions._core.events.commands import CancelRequest
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.learning.predictions import Predictions
from functions._core.placement.workers import Registration
from functions._core.ports import Ports, WorkerGateway
from functions._core.records.change_set import Delivery
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import as_json
from functions._core.records.worker import Answer, Worker
from functions._core.rules import Rules
from functions._engine.clock import SystemClock
from functions._engine.guards import guards_by_server
from functions._engine.platform import Platform
from functions._engine.settings import Settings
from functions._engine.task_secrets import task_secrets_of
from functions._engine.tokens import JwtTokens

PATIENCE_S = 180.0
"""Seconds after which a test gives up waiting: nothing takes this long on the busiest machine, only a hang does."""

ACCEPTED = Answer(202)
T = TypeVar("T")
FlowT = TypeVar("FlowT")
TicketT = TypeVar("TicketT")
Task = Mapping[str, Any]
Document = dict[str, Any]
"""What the api shows of a record."""


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

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """Take an assignment or a cancellation; implements `WorkerGateway`."""
        (event,) = events
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


def said(record: object, name: str) -> Any:
    """Return a field of a record, or of the document that the api shows of it."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name)


class World(ABC, Generic[FlowT, TicketT]):
    """A platform that runs somewhere; a host reads and writes, all waiting is here.

    Flows and tickets are records where the host shares the process with the test, else documents of the api. History
    and dead letters are documents everywhere.
    """

    @abstractmethod
    async def register(
        self, worker_id: str = "w1", *capabilities: str, slots: int = 10, endpoint: str | None = None
    ) -> object:
        """Register a worker; without capabilities it offers `python`."""

    @abstractmethod
    async def submit(self, data: Mapping[str, Any]) -> str:
        """Send a decision and return its flow id."""

    @abstractmethod
    async def flow(self, flow_id: str) -> FlowT | None:
        """Return a flow, None if it is not there or nobody answers."""

    @abstractmethod
    async def tickets(self, flow_id: str) -> dict[str, TicketT]:
        """Return all tickets of a flow by task id."""

    @abstractmethod
    async def history(self, flow_id: str) -> list[Document]:
        """Return the whole history of a flow."""

    @abstractmethod
    async def letters(self) -> list[Document]:
        """Return the dead letters."""

    @property
    def where(self) -> str:
        """Where to look when a wait was without success."""
        return "this process"

    async def ended(self, flow_id: str, seconds: float = PATIENCE_S) -> FlowT:
        """Wait for the end of a flow."""
        return await self._flow_when(lambda flow: said(flow, "ended_at") is not None, flow_id, "end", seconds)

    async def reached(self, flow_id: str, *statuses: str, seconds: float = PATIENCE_S) -> FlowT:
        """Wait until a flow has one of these statuses."""
        what = f"become {' or '.join(statuses)}"
        return await self._flow_when(lambda flow: said(flow, "status") in statuses, flow_id, what, seconds)

    async def ticket(self, flow_id: str, wanted: Callable[[TicketT], bool], what: str) -> TicketT:
        """Wait for a ticket of a flow that is as `wanted`."""

        async def probe() -> TicketT | None:
            return next(filter(wanted, (await self.tickets(flow_id)).values()), None)

        return await until(probe, f"a ticket of {flow_id} that {what} (see {self.where})")

    async def run(self, *tasks: Task, **more: Any) -> FlowT:
        """Send a plan of `tasks` and wait for the end of its flow."""
        return await self.ended(await self.submit(decision(*tasks, **more)))

    async def transitions(self, flow_id: str) -> list[tuple[str, str | None]]:
        """Return type and task of every transition."""
        return [(entry["type"], entry.get("task_id")) for entry in await self.history(flow_id)]

    async def _flow_when(
        self, wanted: Callable[[FlowT], bool], flow_id: str, what: str, seconds: float = PATIENCE_S
    ) -> FlowT:
        async def probe() -> FlowT | None:
            flow = await self.flow(flow_id)
            return flow if flow is not None and wanted(flow) else None

        return await until(probe, f"flow {flow_id} to {what} (see {self.where})", seconds)


@dataclass
class LocalWorld(World[Flow, Ticket]):
    """A real `Platform` in this process: the real functions, state machine, queue and clock.

    Only the wire to the workers is short: `LocalWorkers` implements the gateway port and reports to the engine.
    """

    platform: Platform
    workers: LocalWorkers
    sink: MemorySink
    ports: Ports

    async def register(
        self, worker_id: str = "w1", *capabilities: str, slots: int = 10, endpoint: str | None = None
    ) -> Worker:
        """See `World.register`."""
        return await self.platform.register(
            Registration(
                worker_id=worker_id,
                endpoint=endpoint or f"http://127.0.0.1:1/{worker_id}",
                capabilities=capabilities or ("python",),
                slots=slots,
            )
        )

    async def submit(self, data: Mapping[str, Any]) -> str:
        """See `World.submit`."""
        return await self.platform.admit(decision_event(data))

    async def flow(self, flow_id: str) -> Flow | None:
        """See `World.flow`."""
        return await self.ports.store.flow(flow_id)

    async def tickets(self, flow_id: str) -> dict[str, Ticket]:
        """See `World.tickets`."""
        return {ticket.task_id: ticket for ticket in await self.ports.store.tickets_of(flow_id)}

    async def history(self, flow_id: str) -> list[Document]:
        """See `World.history`."""
        entries: list[Document] = []
        while page := await self.ports.views.history(flow_id, entries[-1]["seq"] if entries else 0, 500):
            entries += [as_json(entry) for entry in page]
        return entries

    async def letters(self) -> list[Document]:
        """See `World.letters`."""
        found, _ = await self.ports.dead_letters.letters(None, 500)
        return [as_json(letter) for letter in found]

    async def cancel(self, flow_id: str, requested_by: str = "ada", reason: str = "enough") -> Flow:
        """Stop a flow."""
        order = CancelRequest(flow_id=flow_id, requested_by=requested_by, reason=reason)
        return (await self.platform.order(order)).flow


class Impatient(Settings):
    """Settings with limits that users cannot set."""

    limits: Mapping[str, Any] = {}

    @property
    def rules(self) -> Rules:
        """The time limits."""
        return replace(super().rules, **self.limits)


@asynccontextmanager
async def running_world(
    tmp_path: Path,
    stores: Stores | None = None,
    gateway: WorkerGateway | None = None,
    *,
    joins: bool = True,
    threads: bool = False,
    environment: Mapping[str, str] | None = None,
    predictions: Predictions | None = None,
    **settings: Any,
) -> AsyncIterator[LocalWorld]:
    """Run a platform, over the memory adapters if no others are given; `limits` changes `Rules`.

    Workers are local ones, unless `gateway` is the way to others. Unless it `joins` steps, each is a commit of its own.

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
    chosen = Impatient.from_mapping(environment or {}, data=tmp_path, **settings)
    to_servers = HttpClient()
    ports = replace(ports, task_secrets=task_secrets_of(chosen, clock), guards=guards_by_server(chosen, to_servers))
    ports = replace(ports, predictions=predictions or ports.predictions)
    platform = Platform(chosen, ports, stores.queue, "http://127.0.0.1:1", joins=joins, threads=threads)
    workers.report = platform.report
    await platform.start()
    clock_task = asyncio.create_task(platform.sweeper.run())
    try:
        yield LocalWorld(platform, workers, sink, ports)
    finally:
        clock_task.cancel()
        with suppress(asyncio.CancelledError):
            await clock_task
        await platform.close()
        await to_servers.aclose()


class ClosedBreaker:
    """Circuit breakers that let everything through; `Breaker` of the assignment sender."""

    async def admits(self, _worker: Worker, _delivery: Delivery) -> bool:
        return True

    async def answered(self, _worker: Worker, _delivery: Delivery, _answer: Answer) -> None:
        return
