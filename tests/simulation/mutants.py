"""Deliberate bugs, each a classic of engines like this one: the simulator has to find every one of them.

As a program, `python -m tests.simulation.mutants NAME ARGUMENT…` is `flowc ARGUMENT…` with that bug in it.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from functions._adapters.memory import flows as memory_flows
from functions._adapters.memory.flows import MemoryFlows
from functions._adapters.memory.state import State
from functions._adapters.memory.wakeups import MemoryWakeups
from functions._core.errors import Conflict, IllegalTransition
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import Report
from functions._core.events.routes import ROUTES
from functions._core.healing.healing import Healing
from functions._core.machine import (
    assignment,
    beginning,
    closing,
    ending,
    overdue,
    releasing,
    steering,
    step_builder,
)
from functions._core.machine.flow import Refused
from functions._core.machine.tables import TICKET_TRANSITIONS, TicketTrigger, next_ticket
from functions._core.placement import ranking
from functions._core.placement.event_waits import ARRIVALS, Arrival, WaitingTicket
from functions._core.placement.pheromones import Trail
from functions._core.planning import compensation, graph, slack
from functions._core.planning.graph import schedule
from functions._core.planning.prospects import SLA_UNLIKELY
from functions._core.ports import Due, Entry
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.control import Children, Control
from functions._core.records.models import Ticket
from functions._core.records.prediction import Prediction
from functions._core.records.record import decode
from functions._core.records.values import TicketStatus, Waiting, flow_id_of
from functions._engine import assignment_messages, assignment_sender, pheromones, task_leases
from functions._engine.event_claims import EventClaims, Fate
from functions._engine.local_broker import LocalBroker
from functions._engine.platform import Platform
from functions._engine.policy_actions import PolicyActions
from functions._engine.task_leases import TaskLeases
from functions.assign import function as assign_function
from functions.discover import function as discover_function
from functions.validate import function as validate_function

Patch = pytest.MonkeyPatch


def commit_without_outbox(patch: Patch) -> None:
    """The state is committed, the events that follow from it are only in memory."""
    commit = MemoryFlows.commit

    async def forgetful(self: MemoryFlows, step: ChangeSet) -> None:
        await commit(self, replace(step, events=()))

    patch.setattr(MemoryFlows, "commit", forgetful)


def claim_before_delete(patch: Patch) -> None:
    """An event leaves the queue when it is taken up, before anything has come of it."""

    async def hasty(self: Any, event: CloudEvent) -> None:
        await self._remove(event)
        if event.event_type in ROUTES:
            await self._dispatcher.handle(event)
        elif self.subscriber is not None:
            await self.subscriber.publish([event])

    patch.setattr(LocalBroker, "_handle", hasty)


def stale_read_decides(patch: Patch) -> None:
    """What was decided on an old version of a record is committed over the newer one."""
    patch.setattr(memory_flows, "expect", lambda _stored, _record: None)


def terminal_overwritten(patch: Patch) -> None:
    """A late report changes a ticket that has ended."""

    def lenient(status: TicketStatus, trigger: TicketTrigger) -> TicketStatus:
        try:
            return next_ticket(status, trigger)
        except IllegalTransition:
            return next(edges[trigger] for edges in TICKET_TRANSITIONS.values() if trigger in edges)

    patch.setattr(step_builder, "next_ticket", lenient)
    patch.setattr(Report, "counts_for", lambda self, ticket: self.attempt == ticket.attempt)


def attempt_not_checked(patch: Patch) -> None:
    """A report counts whatever attempt it is of."""
    held = {TicketStatus.ASSIGNED, TicketStatus.RUNNING}
    patch.setattr(Report, "counts_for", lambda _self, ticket: ticket.status in held)


def second_attempt_not_fenced(patch: Patch) -> None:
    """A report counts for an attempt that is over, as long as the ticket has not ended."""

    def lenient(self: Report, ticket: Ticket) -> bool:
        known = {ticket.attempt, ticket.hedge.attempt if ticket.hedge is not None else ticket.attempt}
        return self.attempt in known and ticket.status in {TicketStatus.ASSIGNED, TicketStatus.RUNNING}

    patch.setattr(Report, "counts_for", lenient)


def wakeup_not_set_again(patch: Patch) -> None:
    """A wake-up is gone once it was claimed: whoever claims it and dies leaves the record asleep."""
    claim = MemoryWakeups.claim_due

    async def forgetful(self: Any, now: datetime, limit: int, lease: timedelta) -> Sequence[Due]:
        claimed = await claim(self, now, limit, lease)
        state: State = self._state
        for due in claimed:
            state.wake(due.kind, due.record_id, due.flow_id, None)
        return claimed

    patch.setattr(MemoryWakeups, "claim_due", forgetful)


def dependant_released_early(patch: Patch) -> None:
    """The end of one dependency releases a ticket that has others."""
    real: Callable[[Any, Ticket], Ticket] = releasing._without_dependency  # noqa: SLF001
    early = lambda step, dependant: real(step, dependant.but(open_dependencies=1))  # noqa: E731
    patch.setattr(releasing, "_without_dependency", early)


def compensation_in_plan_order(patch: Patch) -> None:
    """Work is undone in the order in which it was done."""

    def forward(tickets: Collection[Ticket], ids: Mapping[str, str]) -> Mapping[str, dict[str, None]]:
        return {
            ids[ticket.ticket_id]: {ids[before]: None for before in ticket.dependencies if before in ids}
            for ticket in tickets
            if ticket.ticket_id in ids
        }

    def in_order(tasks: Sequence[Any], *rest: Any) -> Any:
        return schedule(tuple(reversed(tasks)), *rest)

    patch.setattr(compensation, "_order", forward)
    patch.setattr(compensation, "schedule", in_order)


def hash_not_compared(patch: Patch) -> None:
    """A ticket is given away as it is stored, whoever wrote it."""
    for module in (assignment_sender, task_leases):
        patch.setattr(module, "check_hash", lambda _ticket: None)


def clearance_not_looked_at(patch: Patch) -> None:
    """Any worker with the capabilities gets a ticket, whatever it may see."""
    patch.setattr(ranking, "not_cleared", lambda _worker, _level: None)
    patch.setattr(assignment_messages, "not_cleared", lambda _worker, _level: None)


def decision_lost_at_a_conflict(patch: Patch) -> None:
    """A decision whose commit met a conflict is taken for one that another process has admitted."""
    real = Platform._admit  # noqa: SLF001 the part that is broken

    async def trusting(self: Platform, event: CloudEvent) -> str:
        try:
            return await real(self, event)
        except Conflict:
            return flow_id_of(str(event.data["decision_id"]))

    patch.setattr(Platform, "_admit", trusting)


def lease_answered_before_its_commit(patch: Patch) -> None:
    """A worker that asks is given a ticket before that is committed."""

    async def at_once(_leases: TaskLeases, _delivery: Delivery) -> bool:
        return True

    patch.setattr(TaskLeases, "_recorded", at_once)


def pulled_ticket_is_posted(patch: Patch) -> None:
    """A ticket is sent to its worker, which would ask for it."""
    patch.setattr(assignment, "pulls", lambda _ticket: False)
    patch.setattr(assignment_sender, "AssignmentMode", Mock(PULL=None))


def trail_counted_twice(patch: Patch) -> None:
    """A put of a trail whose answer was lost is made again, without a look at what became of it."""
    real = pheromones._read  # noqa: SLF001 the part that is broken

    def forgetful(entry: Entry) -> tuple[Trail | None, tuple[str, ...]]:
        return real(entry)[0], ()

    patch.setattr(pheromones, "_read", forgetful)


def drained_worker_gets_tickets(patch: Patch) -> None:
    """A worker that drains is ranked like every other one."""
    real: Callable[..., str | None] = ranking._refusal  # noqa: SLF001 likewise
    patch.setattr(ranking, "_refusal", lambda *about: real(*about[:2], about[2].but(draining=False), *about[3:]))


def needed_edge_is_redundant(patch: Patch) -> None:
    """Nothing waits by an edge below another one of its task, whether that one implies it or not."""

    def all_below(tasks: Iterable[graph.Plannable], levels: Mapping[str, int]) -> dict[str, frozenset[str]]:
        highest = {task.task_id: max((levels[one] for one in task.dependencies), default=0) for task in tasks}
        below = {t.task_id: [one for one in t.dependencies if levels[one] < highest[t.task_id]] for t in tasks}
        return {task_id: frozenset(ids) for task_id, ids in below.items() if ids}

    patch.setattr(graph, "redundant_edges", all_below)


def skip_stays_alone(patch: Patch) -> None:
    """What depends on a ticket that was skipped begins as if that were done."""
    patch.setattr(ending, "skipped_with", lambda _ticket: False)


def child_counted_twice(patch: Patch) -> None:
    """The end of a child counts twice on its parent."""
    real = releasing._counted  # noqa: SLF001 the part that is broken
    patch.setattr(releasing, "_counted", lambda counts, child: real(real(counts, child), child))


def list_limit_ignored(patch: Patch) -> None:
    """All items of a list begin at once, whatever its limit is."""
    real = beginning._begin_next  # noqa: SLF001 likewise

    def at_once(builder: Any, parent: Ticket, counts: Children, known: Any) -> Children:
        control = parent.control or Control()
        wide = control.foreach.but(limit=1_000) if control.foreach else None
        return real(builder, parent.but(control=control.but(foreach=wide)), counts, known)

    patch.setattr(beginning, "_begin_next", at_once)


def approval_never_lapses(patch: Patch) -> None:
    """A ticket that nobody decides about waits on after its time."""

    def patient(builder: Any, ticket: Ticket, around: Any) -> None:
        if ticket.waiting is Waiting.APPROVAL:
            builder.change_ticket(ticket, until=builder.now + timedelta(minutes=1))
        else:
            real(builder, ticket, around)

    real = overdue._waited  # noqa: SLF001 likewise
    patch.setattr(overdue, "_waited", patient)


def event_ends_two_waits(patch: Patch) -> None:
    """An event that has ended one wait is there for the next one."""
    settle = EventClaims.settle

    async def generous(self: EventClaims, entry: Entry) -> Fate:
        await settle(self, entry)
        return Fate.FREE

    async def given(self: EventClaims, key: str, by: WaitingTicket) -> Entry | None:
        entry = await self._entries.get(ARRIVALS, key)
        if entry is None:
            return None
        arrival = decode(Arrival, entry.value).but(taken_by=by, settled=False)
        return await self._write(entry, arrival)

    patch.setattr(EventClaims, "settle", generous)
    patch.setattr(EventClaims, "give", given)


def clock_not_given_back(patch: Patch) -> None:
    """The time of a wait that stops the clock is kept, also where the wait was shorter."""

    def keep(builder: Any, ticket: Ticket, _live: Any) -> None:
        waits = {one: until for one, until in builder.flow.clock_waits.items() if one != ticket.ticket_id}
        builder.change_flow(clock_waits=waits)

    patch.setattr(ending, "start_clock", keep)


def joined_before_the_last_child(patch: Patch) -> None:
    """A ticket with children is done when one of them is still at work."""

    def hasty(parent: Ticket, counts: Children) -> bool:
        return real(parent, counts.but(completed=counts.completed + 1))

    real = releasing.decided
    for module in (releasing, beginning, steering):
        patch.setattr(module, "decided", hasty)


def condition_not_looked_at(patch: Patch) -> None:
    """A ticket begins whatever its condition says."""

    async def wanted(_look: Any) -> None:
        return None

    patch.setattr(steering._Look, "_not_wanted", wanted)  # noqa: SLF001 likewise


def freeze_not_looked_at_by_c4(patch: Patch) -> None:
    """A ticket that was ranked before a freeze began is assigned under it."""

    async def open_to_all(_tickets: Any, _gate: Any) -> Mapping[str, Any]:
        return {}

    patch.setattr(assign_function, "blocked", open_to_all)


def frozen_ticket_is_forgotten(patch: Patch) -> None:
    """Nobody looks again at a ticket that a freeze holds back."""

    def forgetful(builder: Any, ticket: Ticket) -> None:
        builder.change_ticket(ticket, until=builder.flow.sla_deadline)

    patch.setattr(overdue, "look_at_freeze", forgetful)


def guard_gates_nobody(patch: Patch) -> None:
    """A verdict is reached beside the workers, and holds nothing back."""

    async def nothing_found(*_about: Any) -> Mapping[str, Any]:
        return {}

    async def nothing_stopped(*_about: Any) -> frozenset[str]:
        return frozenset()

    patch.setattr(discover_function, "of_tickets", nothing_found)
    patch.setattr(assign_function, "denied_since", nothing_stopped)


def paused_flows_are_forgotten(patch: Patch) -> None:
    """A flow that a policy has paused in favour of another one stays paused when that has ended."""

    async def forgetful(_actions: PolicyActions, _application: Any) -> None:
        return

    patch.setattr(PolicyActions, "resume", forgetful)


def failed_items_decide(patch: Patch) -> None:
    """The ends of children that came to nothing count for the outcome of the flow."""
    for module in (releasing, ending, closing, beginning):
        patch.setattr(module, "tolerate", lambda *_about: None)


def healing_heals_its_own(patch: Patch) -> None:
    """What an action of healing has caused is an incident like any other one, with actions of its own."""

    async def nobody(_healing: Healing, _due: Any) -> tuple[None, int]:
        return None, 0

    patch.setattr(Healing, "_cause", nobody)


def prediction_gives_work_up(patch: Patch) -> None:
    """Whether work still fits is asked of the model alone, which may predict too much."""

    def predicted(estimate_ms: int, prediction: Prediction | None) -> int:
        return prediction.p90_ms if prediction is not None and prediction.acts else estimate_ms

    patch.setattr(slack, "hopeful_ms", predicted)


def unlikely_flow_is_refused(patch: Patch) -> None:
    """C1 refuses a flow to which a model gives little chance."""
    real = validate_function._checked  # noqa: SLF001

    def strict(text: bytes, context: Any, asked: Any) -> Any:
        found = real(text, context, asked)
        unlikely = tuple(one for one in found.warnings if one.code == SLA_UNLIKELY)
        return Refused(reasons=unlikely, plan_id=found.plan_id, intent_id=found.intent_id) if unlikely else found

    patch.setattr(validate_function, "_checked", strict)


MUTANTS: Mapping[str, Callable[[Patch], None]] = {
    mutant.__name__: mutant
    for mutant in (
        commit_without_outbox,
        claim_before_delete,
        stale_read_decides,
        terminal_overwritten,
        attempt_not_checked,
        second_attempt_not_fenced,
        wakeup_not_set_again,
        dependant_released_early,
        compensation_in_plan_order,
        hash_not_compared,
        clearance_not_looked_at,
        decision_lost_at_a_conflict,
        lease_answered_before_its_commit,
        pulled_ticket_is_posted,
        trail_counted_twice,
        drained_worker_gets_tickets,
        needed_edge_is_redundant,
        skip_stays_alone,
        child_counted_twice,
        list_limit_ignored,
        approval_never_lapses,
        event_ends_two_waits,
        clock_not_given_back,
        joined_before_the_last_child,
        condition_not_looked_at,
        failed_items_decide,
        freeze_not_looked_at_by_c4,
        frozen_ticket_is_forgotten,
        healing_heals_its_own,
        guard_gates_nobody,
        prediction_gives_work_up,
        unlikely_flow_is_refused,
        paused_flows_are_forgotten,
    )
}

if __name__ == "__main__":
    from functions._cli import main

    name = sys.argv.pop(1)
    with pytest.MonkeyPatch.context() as applied:
        MUTANTS[name](applied)
        main()
