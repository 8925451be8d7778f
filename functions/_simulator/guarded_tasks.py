"""What guards look at in a simulated world, its policy server, and the invariants about them."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from functions._core.guards.gate import ALLOWED, GuardState, GuardVerdict, PolicyAway, Stage
from functions._core.guards.policy import PROVIDER, GuardAction
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._engine.guards import KNOWN, ServerGuards
from functions._simulator.ledger import CommittedChange, Ledger
from functions._simulator.plans import Scenario, all_tasks, plan_of

GUARD = "guard"
"""The fault with which there are guards."""

OTHERS = "known"
"""The provider that no policy forbids."""

UNKNOWN = "unknown"
"""A provider that no task names."""

PROVIDERS: Mapping[GuardAction, str] = {GuardAction.DENY: "forbidden", GuardAction.QUARANTINE: "doubtful"}
"""The providers that policies forbid, by what becomes of a task that names one."""

NAMING = 0.4
"""The share of the tasks that name such a provider, where there are guards."""

LEEWAY = timedelta(seconds=5)
"""Between the look at policies and the commit of a step: the store may be slow."""


@dataclass
class SimulatedPolicies:
    """A policy server that allows everything, and is `down` at times; implements `PolicyServer`."""

    down: bool = False

    async def decide(self, stage: Stage, asked: Sequence[Mapping[str, Any]]) -> Sequence[GuardVerdict]:  # noqa: ARG002
        """See `PolicyServer.decide`."""
        await asyncio.sleep(0.01)
        if self.down:
            raise PolicyAway("it is away")
        return [ALLOWED] * len(asked)

    def guards(self) -> ServerGuards:
        """Return the guards that ask it."""
        return ServerGuards(GuardState(server=self, stages=frozenset(Stage)))


def with_providers(scenario: Scenario, seed: int) -> Scenario:
    """Return a drawn scenario in which some tasks name a provider that policies may forbid."""
    draw = Random(f"{seed}/providers")
    decisions = deepcopy(list(scenario.decisions))
    for task in (task for one in decisions for task in all_tasks(plan_of(one))):
        if isinstance(task, dict) and draw.random() < NAMING:
            named = draw.choice([*PROVIDERS.values(), PROVIDERS[GuardAction.QUARANTINE]])
            task["parameters"] = {**task.get("parameters", {}), PROVIDER: named}
    return replace(scenario, decisions=decisions)


def nothing_guarded_starts(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """No ticket is assigned that a guard denies, or that is in quarantine, unless a person has released it."""
    for before, after in change.moves():
        given = after.status is TicketStatus.ASSIGNED and (before is None or before.status is TicketStatus.PENDING)
        if not given or after.assigned_at is None or after.compensates is not None:
            continue
        if before is not None and before.waiting is Waiting.QUARANTINE:
            yield f"ticket {after.task_id} was assigned while it was in quarantine"
        provider = after.parameters.get(PROVIDER)
        since = ledger.guarding.get(provider) if isinstance(provider, str) else None
        released = after.guard_release and provider == PROVIDERS[GuardAction.QUARANTINE]
        if since is not None and since < after.assigned_at - KNOWN - LEEWAY and not released:
            yield f"ticket {after.task_id} was assigned although a policy forbids its provider {provider} since {since}"


def in_quarantine_too_long(ticket: Ticket, flow: Flow | None, now: datetime) -> bool:
    """Whether a ticket is in quarantine past the deadline of its flow."""
    if ticket.waiting is not Waiting.QUARANTINE or flow is None or flow.status in ENDED_FLOWS:
        return False
    return not flow.sla_paused and now > flow.sla_deadline


def leaves_quarantine(ticket: Ticket, _ledger: Ledger) -> Iterator[str]:
    """Nothing is in quarantine past its deadline, but for a grace that faults can cost."""
    yield f"ticket {ticket.task_id} is in quarantine since {ticket.waiting_since:%H:%M:%S}, past its deadline"
