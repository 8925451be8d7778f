"""One simulated world: a store, one or two processes of the real platform over it, and all that is around them.

It lives until its flow has ended and everything has come to rest, or until a promise is broken.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

from functions._adapters.memory import MemorySink, MemoryStore
from functions._core.errors import Conflict, Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.ports import FlowStore
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, flow_id_of
from functions._core.rules import Rules
from functions._engine.clock import fresh_id
from functions._engine.settings import Settings
from functions._engine.sweep import LEASE
from functions._engine.tokens import JwtTokens
from functions._simulator.actions import approver, people
from functions._simulator.clock import START, SimulatedClock
from functions._simulator.environment import Subscriber, events_of
from functions._simulator.faults import Faults
from functions._simulator.host import LONGEST_DOWN, Host
from functions._simulator.invariants import AT_EACH_START, AT_EACH_STEP
from functions._simulator.ledger import Ledger
from functions._simulator.network import Outside
from functions._simulator.outputs import paths_by_ticket
from functions._simulator.plans import Scenario
from functions._simulator.ports import LATE, OldLists
from functions._simulator.quiescence import AT_THE_END
from functions._simulator.workers import SimulatedWorker

STORM = 30.0
"""Seconds after the deadline, or after the flow's end, for which faults go on."""

REST = 1800.0
"""Seconds after which everything must have come to rest once there are no faults any more."""


OPTIONS: Mapping[str, Any] = {
    "in_flight": 8,
    "deliveries": 32,
    "queue_memory": 100,
    "subscriber_url": "http://127.0.0.1:1",
}
BRISK: Mapping[str, Any] = {"approval_seconds": 180, "pause_seconds": 180, "compensation_seconds": 600}
"""What waits for people waits minutes, not a day, in a world that is drawn from a seed."""


class Observed:
    """A `FlowStore` that enters every step it has taken in the books."""

    def __init__(self, behind: FlowStore, ledger: Ledger) -> None:
        self._behind = behind
        self._ledger = ledger

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._behind, operation)

    async def commit(self, step: ChangeSet) -> None:
        """See `FlowStore.commit`."""
        await self._behind.commit(step)
        self._ledger.committed(step)


class World:
    """Everything there is in one run; make it within the loop that it is to live in."""

    def __init__(self, scenario: Scenario, seed: int, faults: Faults, start: datetime = START) -> None:
        loop = asyncio.get_running_loop()
        self.seconds = loop.time
        self.faults = faults
        self.broken: list[str] = []
        self.clock = SimulatedClock(loop.time, start)
        self.store = MemoryStore()
        self.sink = MemorySink()
        self.subscriber = Subscriber(faults)
        self.ledger = Ledger(self.store.state, self.clock.now, AT_EACH_STEP, AT_EACH_START)
        self.chance = Random(f"{seed}/world")
        self.outside = Outside(self.clock, faults, self.ledger, Random(f"{seed}/outside"))
        self.decision = scenario.decisions[0]
        self.flow_id = flow_id_of(str(self.decision.get("decision_id")))
        self._scenario = scenario
        self._seed = seed
        self.hosts = [self._host(name) for name in ("a", "b") if name == "a" or "second-process" in faults.active]
        self.faults.struck["second-process"] += len(self.hosts) - 1
        self.outside.hosts = self.hosts
        self.outside.paths = paths_by_ticket(scenario.decisions)

    def settings(self, **more: Any) -> Settings:
        """Return the platform's settings in this world."""
        return Settings.from_mapping({}, **OPTIONS, **(BRISK if self._scenario.drawn else {}), **more)

    @property
    def flow(self) -> Flow | None:
        """The flow as it stands, None before it is admitted."""
        return self.store.state.flows.get(self.flow_id)

    @property
    def under_way(self) -> Sequence[Flow]:
        """The flows that have not ended."""
        return [flow for flow in self.store.state.flows if flow.status not in ENDED_FLOWS]

    def decision_event(self, decision: Mapping[str, Any] | None = None, **more: Any) -> CloudEvent:
        """Return an event that brings the decision, or another one."""
        return CloudEvent(
            id=fresh_id(self.chance),
            source="/simulator",
            type=type_of("decision.consolidated"),
            time=self.clock.now(),
            data={**(decision or self.decision), **more},
        )

    async def live(self) -> None:
        """Let everything happen; the books say afterwards what was broken."""
        for host in self.hosts:
            self.outside.spawn(host.run())
        for registration in self._scenario.fleet:
            worker = SimulatedWorker(
                registration,
                self.outside,
                self.faults,
                Random(f"{self._seed}/{registration.worker_id}"),
                self.hosts[0].settings.heartbeat_seconds,
            )
            self.outside.workers[worker.worker_id] = worker
            self.outside.spawn(worker.live())
        for name, begin in events_of(self).items():
            if name in self.faults.active:
                self.outside.spawn(begin())
        for decision in self._scenario.decisions:
            await self._admit(decision)
        if self._scenario.drawn:
            await people(self, Random(f"{self._seed}/people"))
        else:
            self.outside.spawn(approver(self))
        while await self._ends_in_time():
            if await self._comes_to_rest():
                self.ledger.check(AT_THE_END, self)
                return

    async def _admit(self, decision: Mapping[str, Any]) -> None:
        while True:
            try:
                await self.outside.ask(lambda services: services.engine.admit(self.decision_event(decision)))
            except (Unavailable, Conflict):
                await asyncio.sleep(0.5)
            else:
                return

    @property
    def grace(self) -> float:
        """Seconds after the limit of its status within which a flow must have gone on, in the worst case.

        Faults go on for a while; then a late schedule, leases of processes that died and a start after a crash may
        add up.
        """
        return STORM + LATE + 2 * LEASE.total_seconds() + LONGEST_DOWN + 10

    @property
    def rules(self) -> Rules:
        """The time limits in force."""
        return self.hosts[0].settings.rules

    async def _ends_in_time(self) -> bool:
        """Wait for the end of all flows; tell whether no promise was broken."""
        past: Counter[str] = Counter()
        while not self.ledger.violations:
            if not self.under_way:
                return True
            self.ledger.check((wakeups_are_set,), self)
            for flow in self.under_way:
                late = self.clock.now() >= limit_of(flow, self.rules)
                past[flow.flow_id] = past[flow.flow_id] + 1 if late else 0
                self.faults.calm = self.faults.calm or past[flow.flow_id] > STORM
                if past[flow.flow_id] > self.grace:
                    self.ledger.check((goes_on_in_time,), (self, flow))
            await asyncio.sleep(1)
        return False

    async def _comes_to_rest(self) -> bool:
        """Let late messages arrive, start the platform once more, and wait until nothing is left to do.

        Tell whether that is so; somebody may have driven a flow once more.
        """
        await asyncio.sleep(STORM)
        self.faults.calm = True
        for host in self.hosts:
            host.crash()
        for _ in range(int(REST / 5)):
            await asyncio.sleep(5)
            if self.ledger.violations or self.under_way:
                return False
            owing = any(worker.owes for worker in self.outside.workers.values())
            if not owing and not len(self.store.state.queue):
                break
        return True

    def _host(self, name: str) -> Host:
        stores = self.store.stores
        ports = stores.ports(
            store=Observed(stores.store, self.ledger),
            registry=OldLists(stores.registry, self.faults, self.seconds),
            telemetry_sink=self.sink,
            gateway=self.outside,
            clock=self.clock,
            tokens=JwtTokens(b"simulated" * 4, self.clock),
        )
        return Host(
            name,
            self._seed,
            ports=ports,
            queue=stores.queue,
            settings=self.settings(),
            faults=self.faults,
            subscriber=self.subscriber,
        )


def wakeups_are_set(world: World, _ledger: Ledger) -> Iterator[str]:
    """No live record is without a wake-up."""
    state = world.store.state
    for ticket in state.live_tickets():
        if ("ticket", ticket.ticket_id) not in state.wakeups:
            yield f"ticket {ticket.task_id} is {ticket.status} and nothing will wake it"
    for flow in state.flows:
        if flow.status not in ENDED_FLOWS and ("flow", flow.flow_id) not in state.wakeups:
            yield f"the flow is {flow.status} and nothing will wake it"


def goes_on_in_time(late: tuple[World, Flow], _ledger: Ledger) -> Iterator[str]:
    """A flow ends by its deadline and stays nowhere longer than it may, but for a grace that faults can cost."""
    world, flow = late
    yield f"the flow is {flow.status} {world.grace:.0f} s after {limit_of(flow, world.rules):%H:%M:%S}"


def limit_of(flow: Flow, rules: Rules) -> datetime:
    """Return when the flow has to be out of its present status."""
    waits = {
        FlowStatus.AWAITING_APPROVAL: rules.approval,
        FlowStatus.PAUSED: rules.pause,
        FlowStatus.COMPENSATING: rules.compensation,
        FlowStatus.PUBLISHING: rules.sink,
    }
    wait = waits.get(flow.status)
    return flow.sla_deadline if wait is None else flow.phase.entered_at + wait
