"""One simulated world: a store, one or two processes of the real platform over it, and all that is around them.

It lives until its flow has ended and everything has come to rest, or until an invariant is violated.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any

from functions._adapters.memory import MemorySink, MemoryStore
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.guards.gate import NoGuards
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.ports import FlowStore
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow
from functions._core.records.values import flow_id_of
from functions._core.rules import Rules
from functions._engine.clock import fresh_id
from functions._engine.settings import Settings
from functions._engine.tokens import JwtTokens
from functions._simulator.clock import START, SimulatedClock
from functions._simulator.deployments import FREEZE, nothing_frozen_starts, with_deployments
from functions._simulator.faults import Faults
from functions._simulator.guarded_tasks import GUARD, SimulatedPolicies, nothing_guarded_starts, with_providers
from functions._simulator.healing import HEALING, healing_does_not_loop, healing_keeps_its_limits, with_failures
from functions._simulator.host import SimulatedHost
from functions._simulator.invariants import AT_EACH_START, AT_EACH_STEP
from functions._simulator.ledger import Ledger
from functions._simulator.lying import predictions_end_nothing, predictions_of
from functions._simulator.network import Outside, Subscriber
from functions._simulator.outputs import Outputs, SimulatedSecrets
from functions._simulator.plans import Scenario
from functions._simulator.ports import OldLists
from functions._simulator.rivals import PAUSE_SECONDS, POLICY, with_rivals

OF_POLICIES = (
    nothing_frozen_starts,
    nothing_guarded_starts,
    healing_keeps_its_limits,
    healing_does_not_loop,
    predictions_end_nothing,
)
"""Invariants of what policies and models do, beside those that hold at each step of any world."""

OPTIONS: Mapping[str, Any] = {
    "in_flight": 8,
    "deliveries": 32,
    "queue_memory": 100,
    "subscriber_url": "http://127.0.0.1:1",
}
BRISK: Mapping[str, Any] = {"approval_seconds": 180, "pause_seconds": 180, "compensation_seconds": 600}
"""What waits for people waits minutes, not a day, in a world that is drawn from a seed."""


class Observed:
    """A `FlowStore` that enters every step it has taken in the ledger, and tells it to those who are waited for."""

    def __init__(self, behind: FlowStore, ledger: Ledger, observers: Sequence[Callable[[ChangeSet], None]]) -> None:
        self._behind = behind
        self._ledger = ledger
        self._observers = observers

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._behind, operation)

    async def commit(self, step: ChangeSet) -> None:
        """See `FlowStore.commit`."""
        await self._behind.commit(step)
        self._ledger.committed(step)
        for observe in self._observers:
            observe(step)


class World:
    """Everything there is in one run; make it within the loop that it is to live in."""

    def __init__(
        self, scenario: Scenario, seed: int, faults: Faults, start: datetime = START, *, joins: bool = False
    ) -> None:
        loop = asyncio.get_running_loop()
        self.seconds = loop.time
        self.faults = faults
        if FREEZE in faults.active and scenario.drawn:
            scenario = with_deployments(scenario, seed)
        if HEALING in faults.active and scenario.drawn:
            scenario = with_failures(scenario, seed)
        if GUARD in faults.active and scenario.drawn:
            scenario = with_providers(scenario, seed)
        if POLICY in faults.active and scenario.drawn:
            scenario = with_rivals(scenario, seed)
        self.policies = SimulatedPolicies()
        self.broken: list[str] = []
        self.clock = SimulatedClock(loop.time, start)
        self.store = MemoryStore()
        self.sink = MemorySink()
        self.subscriber = Subscriber(faults)
        self.entries = self.store.stores.key_values(self.clock)
        at_each_step = (*AT_EACH_STEP, *OF_POLICIES)
        self.ledger = Ledger(self.store.state, self.clock.now, at_each_step, AT_EACH_START)
        self.chance = Random(f"{seed}/world")
        self.outside = Outside(self.clock, faults, self.ledger, Random(f"{seed}/outside"))
        self.decision = scenario.decisions[0]
        self.flow_id = flow_id_of(str(self.decision.get("decision_id")))
        self.scenario = scenario
        self.seed = seed
        self.joins = joins
        self.outputs = self.outside.outputs = Outputs.of_decisions(scenario.decisions, scenario.outputs)
        self.observers: list[Callable[[ChangeSet], None]] = []
        self.hosts = [self._host(name) for name in ("a", "b") if name == "a" or "second-process" in faults.active]
        self.faults.struck["second-process"] += len(self.hosts) - 1
        self.outside.hosts = self.hosts

    def settings(self, **more: Any) -> Settings:
        """Return the platform's settings in this world."""
        brisk = {**BRISK, **({"pause_seconds": PAUSE_SECONDS} if POLICY in self.faults.active else {})}
        return Settings.from_mapping({}, **OPTIONS, **(brisk if self.scenario.drawn else {}), **more)

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

    @property
    def rules(self) -> Rules:
        """The time limits in force."""
        return self.hosts[0].settings.rules

    def _host(self, name: str) -> SimulatedHost:
        stores = self.store.stores
        outside = stores.ports(
            store=Observed(stores.store, self.ledger, self.observers),
            registry=OldLists(stores.registry, self.faults, self.seconds, self.ledger),
            telemetry_sink=self.sink,
            gateway=self.outside,
            clock=self.clock,
            tokens=JwtTokens(b"simulated" * 4, self.clock),
        )
        guards = self.policies.guards() if GUARD in self.faults.active else NoGuards()
        ports = replace(
            outside, task_secrets=SimulatedSecrets(), guards=guards, predictions=predictions_of(self.faults)
        )
        return SimulatedHost(
            name,
            self.seed,
            ports=ports,
            queue=stores.queue,
            settings=self.settings(),
            faults=self.faults,
            subscriber=self.subscriber,
            joins=self.joins,
            heals=HEALING in self.faults.active,
        )
