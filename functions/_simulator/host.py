"""Where the platform runs in a simulated world: started, killed, and started again over the same store."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import TypeVar

from functions._adapters.http.cloudevents import read_events
from functions._core.errors import Conflict, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import ROUTES
from functions._core.ports import Broker, EventQueue, Ports
from functions._core.records.change_set import ChangeSet
from functions._engine.keyed_executor import unwatched
from functions._engine.platform import Platform
from functions._engine.settings import Settings
from functions._hosts.wiring_api import ApiServices
from functions._observability.logs import ids_of
from functions._simulator.faults import Faults
from functions._simulator.ports import Trouble, disturbed
from functions._simulator.process import Process
from functions._simulator.rivals import POLICY

T = TypeVar("T")
URL = "http://127.0.0.1:1"
LONGEST_DOWN = 30.0
LATEST = 20.0


class Shaky(Platform):
    """The platform, with a shaky hand between a commit and what follows from it."""

    faults: Faults

    def _committed(self, step: ChangeSet) -> None:
        events = [event for event in step.events if event.event_type not in ROUTES or not self._lost(event)]
        deliveries = [delivery for delivery in step.deliveries if not self.faults.strikes("drop")]
        if self.faults.strikes("reorder"):
            self.faults.chance("reorder").shuffle(events)
            self.faults.chance("reorder").shuffle(deliveries)
        super()._committed(replace(step, events=tuple(events), deliveries=tuple(deliveries)))

    def _lost(self, event: CloudEvent) -> bool:
        """Whether an event does not go on at once: it is lost, or late, or one that comes twice comes first."""
        faults = self.faults
        if faults.strikes("duplicate"):
            key, again = event.extensions["partitionkey"], partial(self.dispatcher.handle, event)
            unwatched(ids_of(event), self._executor.submit, key, again)
        if faults.strikes("drop"):
            return True
        if faults.strikes("delay"):
            late = faults.chance("delay").random() * LATEST
            asyncio.get_running_loop().call_later(late, self.outbox.take, [event])
            return True
        return False


class SimulatedHost:
    """One place where the platform runs; `services` is what its api serves with, None while it is down."""

    def __init__(  # noqa: PLR0913 the parts of a world
        self,
        name: str,
        seed: int,
        *,
        ports: Ports,
        queue: EventQueue,
        settings: Settings,
        faults: Faults,
        subscriber: Broker,
        joins: bool,
        heals: bool,
    ) -> None:
        self.services: ApiServices | None = None
        self.settings = settings
        self.starts = 0
        self._name = name
        self._seed = seed
        self._ports = ports
        self._queue = queue
        self._faults = faults
        self._subscriber = subscriber
        self._joins, self._heals = joins, heals
        self._process: Process | None = None

    async def run(self) -> None:
        """Keep the platform up: whenever it dies, start it again."""
        draw = self._faults.chance("crash")
        while True:
            self.starts += 1
            process = self._process = Process(f"{self._name}.{self.starts}")
            process.spawn(self._serve(process))
            await process.died.wait()
            self.services = None
            await asyncio.sleep(0 if self._faults.calm else draw.choice((0.0, 0.1, 1.0, LONGEST_DOWN * draw.random())))

    def crash(self) -> None:
        """Kill what runs here."""
        if self._process is not None:
            self._process.kill()

    async def call(self, question: Callable[[ApiServices], Awaitable[T]]) -> T:
        """Ask the api that runs here; raise `Unavailable` when none does, or it dies before it answers."""
        services, process = self.services, self._process
        if services is None or process is None:
            raise Unavailable("the platform is down")
        return await process.call(lambda: question(services))

    async def take(self, event: CloudEvent) -> None:
        """Bring an event as a broker would: durable first, then handed on."""
        services = self.services
        if services is not None:
            await self._queue.enqueue([event])
            services.engine.outbox.take([event])  # type: ignore[attr-defined]

    async def _serve(self, process: Process) -> None:
        chance = Random(f"{self._seed}/{process.name}")
        ports, queue = disturbed(self._ports, self._queue, Trouble(process, self._faults, chance))
        platform = Shaky(
            self.settings,
            ports,
            queue,
            URL,
            chance=chance,
            joins=self._joins,
            tells_registry=False,
            acts_on_sla=POLICY in self._faults.active,
            heals=self._heals,
        )
        platform.faults = self._faults
        # The world itself spends budgets: none is calculated here, and no document is looked at.
        platform.budgets.alone = platform.companions.slo_documents.alone = False
        platform.companions.jobs.alone = False
        platform.outbox.subscriber = self._subscriber
        try:
            await platform.start()
        except Unavailable:
            process.kill()
            return
        except Conflict as error:
            raise RuntimeError("the platform cannot start") from error
        self.services = ApiServices(
            ports=platform.ports,
            engine=platform,
            rules=platform.rules,
            read_events=read_events,
            metrics=_no_metrics,
            ready=_ready,
            version="simulated",
        )
        await platform.sweeper.run()


async def _no_metrics() -> bytes:
    return b""


async def _ready() -> Mapping[str, object]:
    return {}
