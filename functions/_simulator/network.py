"""The way between workers, people and the platform: messages go to whichever process is up, and may not arrive."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from functions._core.engine import ReportResult
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.placement.leasing import Leased, LeaseRequest
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.ports import Clock
from functions._core.records.worker import Answer, Worker
from functions._hosts.wiring_api import ApiServices, take_report
from functions._simulator.faults import Faults
from functions._simulator.invariants import nothing_is_sent_to_those_who_ask
from functions._simulator.ledger import Ledger
from functions._simulator.outputs import Outputs
from functions._simulator.process import tell_if_broken

if TYPE_CHECKING:
    from functions._simulator.host import SimulatedHost

T = TypeVar("T")
LATEST = 20.0
LATE = 5.0
NOT_REACHED = Answer(0, "no route", reached=False)
NO_ANSWER = Answer(0, "no answer")


class Subscriber:
    """A `Broker` that keeps what it gets by id; while `down` is set it takes nothing."""

    def __init__(self, faults: Faults) -> None:
        self.received: dict[str, CloudEvent] = {}
        self.down = False
        self._faults = faults

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Take the events; as every receiver, it may fail, and may take what it says it has not."""
        await asyncio.sleep(0)
        if self.down or self._faults.strikes("unavailable"):
            raise Unavailable("the subscriber is away")
        for event in events:
            self.received.setdefault(event.id, event)
        await asyncio.sleep(0)
        if self._faults.strikes("drop"):
            raise Unavailable("the subscriber's answer was lost")


class Receiver(Protocol):
    """A worker, as messages find it: `gone` for good, or not `reachable` for a while."""

    gone: bool

    @property
    def reachable(self) -> bool:
        """Whether it answers."""

    @property
    def owes(self) -> bool:
        """Whether it has still to report something."""

    def take(self, event: CloudEvent) -> Answer:
        """Take a message of the platform."""


class Outside:
    """Everything between the platform's processes and the rest of the world; implements `ports.WorkerGateway`."""

    def __init__(self, clock: Clock, faults: Faults, ledger: Ledger, chance: Random) -> None:
        self.now: Callable[[], datetime] = clock.now
        self.workers: dict[str, Receiver] = {}
        self.hosts: Sequence[SimulatedHost] = ()
        self.outputs = Outputs()
        self._faults = faults
        self._ledger = ledger
        self._chance = chance
        self._context: Context = copy_context()
        self._tasks: dict[asyncio.Task[None], None] = {}

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin `work` outside all processes, whoever asks for it."""
        task = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        self._tasks[task] = None
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        tell_if_broken(task)

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """Bring a message of the platform to a worker, and the answer back; its workers take no batches."""
        (event,) = events
        self._ledger.check((nothing_is_sent_to_those_who_ask,), worker)
        self._ledger.delivered(worker.worker_id, event)
        faults = self._faults
        if faults.strikes("drop"):
            return NOT_REACHED if faults.chance("drop").random() < 0.5 else await self._silence()
        if faults.strikes("delay"):
            await asyncio.sleep(faults.chance("delay").random() * LATEST)
        receiver = self.workers.get(worker.worker_id)
        if receiver is None or receiver.gone:
            return NOT_REACHED
        if not receiver.reachable:
            return await self._silence()
        await asyncio.sleep(self._chance.random() * 0.01)
        answer = receiver.take(event)
        if faults.strikes("duplicate"):
            receiver.take(event)
        if faults.strikes("drop"):
            return await self._silence()
        return answer

    def begun(self, worker_id: str, assignment: Mapping[str, Any]) -> None:
        """Note that a worker has begun an attempt."""
        self._ledger.begun(worker_id, assignment)

    async def report(self, event: CloudEvent, token: str) -> Mapping[str, Any]:
        """Bring a report to the api and return its answer."""

        async def once(services: ApiServices) -> Mapping[str, Any]:
            return await take_report(services, event, token, event.extensions["partitionkey"])

        return await self._there_and_back(once)

    async def register(self, registration: Registration) -> Worker:
        """Bring a registration to the platform."""
        return await self._there_and_back(lambda services: services.engine.register(registration))

    async def heartbeat(self, worker_id: str, heartbeat: Heartbeat) -> ReportResult:
        """Bring a heartbeat to the platform."""
        return await self._there_and_back(lambda services: services.engine.heartbeat(worker_id, heartbeat))

    async def lease(self, asked: LeaseRequest) -> Leased:
        """Bring the question of a worker for its tickets to the platform, and the answer back, which may be lost."""

        async def once(services: ApiServices) -> Leased:
            leased = await services.engine.lease(asked, _listens)
            for event in leased.assignments:
                self._ledger.delivered(asked.worker_id, event)
            return leased

        return await self._there_and_back(once)

    async def ask(self, question: Callable[[ApiServices], Awaitable[T]]) -> T:
        """Do something at the api of a process that is up, on a way without faults."""
        up = [host for host in self.hosts if host.services is not None]
        if not up:
            raise Unavailable("no process is up")
        return await self._chance.choice(up).call(question)

    async def _there_and_back(self, question: Callable[[ApiServices], Awaitable[T]]) -> T:
        faults = self._faults
        if faults.strikes("drop"):
            raise Unavailable("lost on its way")
        if faults.strikes("delay"):
            await asyncio.sleep(faults.chance("delay").random() * LATEST)
        if faults.strikes("duplicate"):
            self.spawn(self._again(question))
        answer = await self.ask(question)
        if faults.strikes("drop"):
            raise Unavailable("the answer was lost on its way")
        return answer

    async def _again(self, question: Callable[[ApiServices], Awaitable[T]]) -> None:
        await asyncio.sleep(self._faults.chance("duplicate").random() * LATE)
        try:
            await self.ask(question)
        except Exception:  # noqa: BLE001 nobody waits for this answer
            return

    async def _silence(self) -> Answer:
        await asyncio.sleep(self._chance.choice((1, 5, 10)))
        return NO_ANSWER


async def _listens() -> bool:
    """Whether a client is gone: the platform is never told."""
    return False
