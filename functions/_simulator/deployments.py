"""What deploys in a simulated world with freezes, and the invariants about it."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from functions._core.machine.flow import held_until
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TaskType, TicketStatus
from functions._core.slo.freezing import FreezeEvent, FreezeScope
from functions._simulator.ledger import CommittedChange, Ledger
from functions._simulator.plans import Scenario, all_tasks, plan_of

FREEZE = "freeze"
"""The fault with which there are freezes."""

SERVICES = ("checkout", "search")
DEPLOYING = 0.5
"""The share of the plain tasks that deploy, where there are freezes."""

PLAIN = frozenset({"QUERY", "BUILD", "TEST", "EXECUTE", "TRANSFORM"})

KNOWN_WITHIN = timedelta(seconds=1)
"""A list of freezes may be so old."""


def with_deployments(scenario: Scenario, seed: int) -> Scenario:
    """Return a drawn scenario in which some tasks deploy a service."""
    draw = Random(f"{seed}/deployments")
    decisions = deepcopy(list(scenario.decisions))
    for task in (task for one in decisions for task in all_tasks(plan_of(one))):
        if task.get("task_type") in PLAIN and isinstance(task, dict) and draw.random() < DEPLOYING:
            task["task_type"] = TaskType.DEPLOY.value
            task["parameters"] = {**task.get("parameters", {}), "service": draw.choice(SERVICES)}
    return replace(scenario, decisions=decisions)


def nothing_frozen_starts(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """No ticket begins to deploy to a service that is frozen, unless a person lets it pass."""
    for before, after in change.moves():
        given = after.status is TicketStatus.ASSIGNED and (before is None or before.status is TicketStatus.PENDING)
        if given and after.assigned_at is not None:
            for freeze in _freezing(after, ledger, after.assigned_at - KNOWN_WITHIN):
                yield f"ticket {after.task_id} was assigned while {freeze.target} was frozen by {freeze.policy_name}"


def held_back(ticket: Ticket, ledger: Ledger, now: datetime) -> bool:
    """Whether a freeze that lasts holds a ticket back."""
    return bool(_freezing(ticket, ledger, now))


def held_too_long(flow: Flow, now: datetime) -> bool:
    """Whether a spent budget holds a flow longer than its policy says."""
    until = held_until(flow)
    return until is not None and now > until


def is_held_no_longer(flow: Flow, _ledger: Ledger) -> Iterator[str]:
    """A flow is held by a spent budget no longer than its policy says, but for a grace that faults can cost."""
    until = held_until(flow)
    yield f"flow {flow.flow_id} is held, although it should be until {until:%H:%M:%S} at most"


def waits_for_nothing(ticket: Ticket, _ledger: Ledger) -> Iterator[str]:
    """A ticket waits no longer for a freeze that has ended, but for a grace that faults can cost."""
    yield f"ticket {ticket.task_id} waits since {ticket.waiting_since:%H:%M:%S} for a freeze that ended long ago"


def _freezing(ticket: Ticket, ledger: Ledger, by: datetime) -> Sequence[FreezeEvent]:
    """Return the freezes that hold a ticket back and began before `by`."""
    if ticket.task_type is not TaskType.DEPLOY or ticket.freeze_exception:
        return ()
    service = ticket.parameters.get("service")
    return [
        freeze
        for freeze, since in ledger.frozen.values()
        if since < by and (freeze.scope is FreezeScope.GLOBAL or freeze.target == service)
    ]
