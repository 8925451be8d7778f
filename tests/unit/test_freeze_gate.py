"""Which tickets a freeze holds back, how they wait, and how they go on."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from functions._adapters.memory.store import MemoryStore
from functions._core.errors import Rejected
from functions._core.events import commands
from functions._core.explain.freezes import about_freezes, told_of_freezes
from functions._core.explain.ticket import explain_ticket, ticket_waits_for
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Assigned, Discovered, waits_for_worker
from functions._core.machine.claim import claimable
from functions._core.machine.commands import Commanded
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.overdue import TicketOverdue
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.values import FlowStatus, SlackState, TaskType, TicketStatus, Waiting
from functions._core.records.worker import Candidate
from functions._core.rules import Rules
from functions._core.slo.blocking import blocked
from functions._core.slo.freezing import FreezeAction, FreezeEvent, FreezePolicy, FreezeScope
from functions._core.slo.gate import BudgetGate, OpenGate, freeze_of, reason_of
from functions._core.slo.stored import put_freeze, put_new
from functions._engine.budget_gate import RememberedGate
from tests.support.builders import T0, make_flow, make_step, make_ticket, seconds
from tests.support.clocks import HandClock
from tests.support.freezes import an_slo
from tests.support.slo_history import ports_of

FLOW = make_flow(status=FlowStatus.EXECUTING, tickets_generated=1)
CANDIDATE = Candidate(
    worker_id="w", score=1, health_score=1, pheromone_score=0.5, telemetry_score=0.5, active=0, slots=4
)


def freeze(scope: FreezeScope = FreezeScope.SERVICE, target: str = "checkout", **changes: Any) -> FreezeEvent:
    """Return a freeze that blocks deployments."""
    found = FreezeEvent(
        event_id="freeze-1",
        policy_id="policy-1",
        policy_name="spent budgets",
        scope=scope,
        target=target,
        actions=(FreezeAction.BLOCK_DEPLOY,),
        slo_id="slo-1",
        service_name="checkout",
        trigger_reason="3 % of the error budget of checkout is left",
        budget_remaining=3,
        triggered_at=T0,
    )
    return found.but(**changes)


def deployment(**changes: Any) -> Ticket:
    """Return a ticket that deploys the checkout service."""
    return make_ticket(FLOW, **{"task_type": TaskType.DEPLOY, "parameters": {"service": "checkout"}, **changes})


def after(ticket: Ticket, outcome: AnyOutcome, at: float = 0, flow: Flow = FLOW) -> ChangeSet:
    """Return the step of an outcome about one ticket."""
    tickets = {ticket.ticket_id: ticket}
    context = Context(flow=flow, tickets=tickets, now=T0 + seconds(at), rules=Rules(), function="discover", cause="c")
    return advance(context, outcome)


def looked(ticket: Ticket, at: float = 0, *freezes: FreezeEvent) -> Ticket:
    """Return a ticket after C3 has looked at it: a worker is there, and freezes may be."""
    found = freeze_of(ticket, freezes, {})
    if found is not None:
        outcome = Discovered({}, {}, {}, frozen={ticket.ticket_id: reason_of(found)})
    else:
        outcome = Discovered({ticket.ticket_id: (CANDIDATE,)}, {}, {})
    step = after(ticket, outcome, at)
    return step.tickets[0] if step.tickets else ticket


def gated(gate: BudgetGate, store: MemoryStore | None = None) -> Ports:
    """Return ports with a gate."""
    ports, _ = ports_of((store or MemoryStore()).stores)
    return replace(ports, budget_gate=gate)


@pytest.mark.parametrize(
    ("named", "of", "held"),
    [
        ({"parameters": {"service": "checkout"}}, freeze(), True),
        ({"parameters": {"service": "other"}}, freeze(), False),
        ({"parameters": {}, "metadata": {"service": "checkout"}}, freeze(), True),
        ({"parameters": {}, "labels": {"service": "checkout"}}, freeze(), True),
        ({"parameters": {"service": "other"}, "labels": {"service": "checkout"}}, freeze(), False),
        ({"parameters": {"service": {"$output": "build"}}, "labels": {"service": "checkout"}}, freeze(), True),
        ({"parameters": {"service": {"$secret": "where"}}}, freeze(), True),
        ({"parameters": {"service": {"$secret": "where"}}}, freeze(resolved_at=T0), False),
        ({"parameters": {"service": {"$secret": "where"}}}, freeze(FreezeScope.NAMESPACE, "shop"), True),
        ({"parameters": {"service": {"$secret": "s"}, "namespace": "x"}}, freeze(FreezeScope.NAMESPACE, "shop"), False),
        ({"parameters": {"service": "other", "namespace": {"$secret": "where"}}}, freeze(), False),
        ({"parameters": {"namespace": {"$secret": "where"}}}, freeze(FreezeScope.NAMESPACE, "shop"), True),
        ({"parameters": {}}, freeze(), False),
        ({"parameters": {}}, freeze(FreezeScope.GLOBAL, "*"), True),
        ({"parameters": {}}, freeze(FreezeScope.NAMESPACE, "shop"), False),
        ({"parameters": {"service": "checkout"}}, freeze(FreezeScope.NAMESPACE, "shop"), True),
        ({"parameters": {"service": "checkout", "namespace": "other"}}, freeze(FreezeScope.NAMESPACE, "shop"), False),
        ({"parameters": {"service": "other"}}, freeze(FreezeScope.NAMESPACE, "shop"), False),
        ({"parameters": {"namespace": "shop"}}, freeze(FreezeScope.NAMESPACE, "shop"), True),
        ({"labels": {"namespace": "shop"}}, freeze(FreezeScope.NAMESPACE, "shop"), True),
        ({}, freeze(actions=(FreezeAction.ALERT_ONLY, FreezeAction.BLOCK_SCALE)), False),
        ({}, freeze(resolved_at=T0), False),
        ({"freeze_exception": True}, freeze(FreezeScope.GLOBAL, "*"), False),
        ({"task_type": TaskType.COMPENSATE}, freeze(FreezeScope.GLOBAL, "*"), False),
        ({"task_type": TaskType.EXECUTE}, freeze(FreezeScope.GLOBAL, "*"), False),
    ],
)
def test_a_freeze_holds_back_what_deploys_to_its_target(named: dict[str, Any], of: FreezeEvent, *, held: bool) -> None:
    assert (freeze_of(deployment(**named), [of], {"checkout": frozenset({"shop"})}) is not None) is held


def test_a_ticket_whose_flow_was_paused_under_a_freeze_says_no_more_that_one_holds_it_back() -> None:
    held = looked(deployment(), 0, freeze())
    assert held.reason is not None
    resumed = held.but(waiting=Waiting.DISCOVERY)
    assert looked(resumed, 10).reason is None
    other = Reason(code="reassigned", message="taken from worker w")
    assert looked(deployment(reason=other), 10).reason == other


async def test_a_service_is_in_the_namespaces_of_its_slos_for_tickets_as_for_pipelines() -> None:
    clock = HandClock()
    clock.time = T0
    entries = MemoryStore().stores.key_values(clock)
    gate, frozen = RememberedGate(entries, clock), freeze(FreezeScope.NAMESPACE, "shop")
    await put_new(entries, an_slo(T0, labels={"namespace": "shop"}))
    await put_freeze(entries, frozen, 0)
    ticket, other = deployment(parameters={"service": "checkout"}), deployment(parameters={"service": "x"})
    ports = gated(gate)
    assert await blocked([ticket], ports) == {ticket.ticket_id: reason_of(frozen)}
    assert await blocked([other], ports) == {}


@pytest.mark.parametrize(
    ("parameters", "output", "held"),
    [
        ({"service": {"$output": "task-1", "path": "/name"}}, {"name": "checkout"}, True),
        ({"service": {"$output": "task-1", "path": "/name"}}, {"name": "other"}, False),
        ({"service": {"$output": "task-1"}}, "checkout", True),
        ({"$output": "task-1", "path": "/all"}, {"all": {"service": "checkout"}}, True),
        ({"$output": "task-1"}, {"service": "other"}, False),
        ({"service": {"$output": "task-1", "path": "/name"}}, {"name": ["checkout"]}, False),
        ({"service": {"$output": "task-1", "path": "/missing"}}, {}, False),  # its assignment fails
        ({"$output": "task-1", "path": "/missing"}, {}, False),
        ({"$output": "task-1"}, "checkout", False),
        ({"$secret": "all"}, {}, True),
    ],
)
async def test_a_service_may_be_named_by_another_task(parameters: Any, output: Any, *, held: bool) -> None:
    class Gate(OpenGate):
        async def freezes(self) -> Sequence[FreezeEvent]:
            return [freeze()]

    store = MemoryStore()
    before = make_ticket(FLOW, 1, status=TicketStatus.COMPLETED, output=output)
    await store.stores.store.commit(make_step(FLOW, before))
    parameters = json.loads(json.dumps(parameters).replace("task-1", before.task_id))
    ticket = make_ticket(FLOW, 2, task_type=TaskType.DEPLOY, parameters=parameters)
    assert (ticket.ticket_id in await blocked([ticket], gated(Gate(), store))) is held


async def test_freezes_are_asked_for_only_where_a_ticket_could_be_held_back() -> None:
    class Gate(OpenGate):
        asked = 0

        async def freezes(self) -> Sequence[FreezeEvent]:
            self.asked += 1
            return [freeze()]

    gate = Gate()
    ports = gated(gate)
    assert await blocked([make_ticket(FLOW), deployment(freeze_exception=True)], ports) == {}
    assert gate.asked == 0
    ticket = deployment()
    [reason] = (await blocked([make_ticket(FLOW, 2), ticket], ports)).values()
    assert reason.code == "blocked_by_freeze"
    assert "service checkout is frozen since 2025-03-01T12:00:00.000Z by policy spent budgets (freeze freeze-1)" in (
        reason.message
    )
    assert gate.asked == 1


def test_a_ticket_is_held_back_once_and_looked_at_each_minute() -> None:
    ticket = deployment(waiting=Waiting.DISCOVERY)
    step = after(ticket, Discovered({}, {}, {}, frozen={ticket.ticket_id: reason_of(freeze())}), 5)
    [held] = step.tickets
    assert (held.status, held.waiting, held.waiting_since) == (TicketStatus.PENDING, Waiting.FREEZE, T0 + seconds(5))
    assert held.next_wakeup_at == T0 + seconds(65)
    assert [(entry.type, entry.cause) for entry in step.history] == [("ticket.held_back", "blocked_by_freeze")]
    assert not waits_for_worker(held)
    again = after(held, Discovered({}, {}, {}, frozen={ticket.ticket_id: reason_of(freeze())}), 6)
    assert not again.changes
    woken = after(held, TicketOverdue(held.ticket_id), 65)
    assert [event.event_type for event in woken.events] == ["tickets.ready"]
    [due] = woken.tickets
    assert (due.waiting, due.waiting_since, due.next_wakeup_at) == (
        Waiting.FREEZE,
        T0 + seconds(5),
        T0 + seconds(125),
    )
    other = freeze(event_id="freeze-2", policy_name="another one")
    [renamed] = after(due, Discovered({}, {}, {}, frozen={due.ticket_id: reason_of(other)}), 66).tickets
    assert renamed.reason is not None
    assert "another one" in renamed.reason.message
    assert renamed.waiting_since == held.waiting_since


def test_a_ticket_goes_on_when_no_freeze_holds_it_back_any_more() -> None:
    held = looked(deployment(schedule_to_start_ms=10_000), 0, freeze())
    woken = after(held, TicketOverdue(held.ticket_id), 60)
    assert woken.tickets[0].status is TicketStatus.PENDING, "a freeze is no lack of workers"
    free = looked(woken.tickets[0], 61)
    assert (free.waiting, free.reason, free.ready_at) == (Waiting.DISCOVERY, None, T0 + seconds(61))
    step = after(woken.tickets[0], Discovered({held.ticket_id: (CANDIDATE,)}, {}, {}), 61)
    assert [event.event_type for event in step.events] == ["workers.discovered"]
    [assigned] = after(free, Assigned({free.ticket_id: "w"}, {free.ticket_id: (CANDIDATE,)}, {}), 62).tickets
    assert (assigned.status, assigned.attempt) == (TicketStatus.ASSIGNED, 1)
    waits = after(woken.tickets[0], Discovered({}, {held.ticket_id: Waiting.WORKER}, {}), 61).tickets[0]
    assert (waits.waiting, waits.reason, waits.waiting_since) == (Waiting.WORKER, None, T0 + seconds(61))


def test_c4_does_not_assign_what_was_ranked_before_the_freeze_began() -> None:
    ticket = deployment(waiting=Waiting.DISCOVERY)
    frozen = {ticket.ticket_id: reason_of(freeze())}
    step = after(ticket, Assigned({}, {}, {}, frozen))
    assert step.tickets[0].waiting is Waiting.FREEZE
    held = step.tickets[0]
    assert not after(held, Assigned({held.ticket_id: "w"}, {held.ticket_id: (CANDIDATE,)}, {})).changes
    claim = commands.ClaimRequest(flow_id=FLOW.flow_id, ticket_id=held.ticket_id, worker_id="w9")
    with pytest.raises(Rejected, match="waits for the end of a freeze"):
        claimable(FLOW, held, claim, None)


def test_the_rules_of_its_sla_apply_to_a_ticket_that_is_held_back() -> None:
    held = looked(deployment(latest_start=T0 + seconds(30)), 0, freeze())
    assert held.next_wakeup_at == T0 + seconds(30)
    step = after(held, TicketOverdue(held.ticket_id), 30)
    assert [entry.type for entry in step.history] == ["sla.at_risk"]
    assert step.tickets[0].announced is SlackState.AT_RISK
    assert step.tickets[0].waiting is Waiting.FREEZE
    late = FLOW.but(sla_deadline=T0 + seconds(20))
    ticket = deployment()
    [held] = after(ticket, Discovered({}, {}, {}, frozen={ticket.ticket_id: reason_of(freeze())}), 0, late).tickets
    assert held.until == T0 + seconds(20)


def granted(ticket: Ticket, flow: Flow = FLOW) -> ChangeSet:
    """Let a person have a ticket pass the freezes."""
    order = commands.FreezeException(
        flow_id=flow.flow_id, ticket_id=ticket.ticket_id, requested_by="ada", reason="it repairs what spent the budget"
    )
    return after(ticket, Commanded(order, "1"), 5, flow)


def test_a_person_lets_a_ticket_pass_every_freeze_and_that_is_audited() -> None:
    held = looked(deployment(), 0, freeze())
    step = granted(held)
    [excepted] = step.tickets
    assert (excepted.freeze_exception, excepted.waiting, excepted.reason) == (True, Waiting.DISCOVERY, None)
    assert [event.event_type for event in step.events] == ["tickets.ready"]
    [line], [audit] = step.history, step.audit
    assert (line.type, line.detail["requested_by"]) == ("ticket.freeze_excepted", "ada")
    assert getattr(audit, "why", "") == "it repairs what spent the budget"
    assert freeze_of(excepted, [freeze(FreezeScope.GLOBAL, "*")], {}) is None
    assert granted(excepted).tickets == ()
    early = granted(deployment(open_dependencies=1, waiting=Waiting.DEPENDENCIES))
    assert (early.tickets[0].freeze_exception, early.tickets[0].waiting, early.events) == (
        True,
        Waiting.DEPENDENCIES,
        (),
    )


def test_an_exception_for_what_no_freeze_holds_back_is_refused() -> None:
    with pytest.raises(Rejected, match="is of type BUILD"):
        granted(make_ticket(FLOW))
    with pytest.raises(Rejected, match="is COMPLETED"):
        granted(deployment(status=TicketStatus.COMPLETED))


def test_a_ticket_that_is_held_back_says_what_for_and_what_ends_it() -> None:
    held, now = looked(deployment(), 0, freeze()), T0 + seconds(10)
    assert ticket_waits_for(held).startswith("the end of a freeze: service checkout is frozen since")
    explained = explain_ticket(held, FLOW, now, Rules())
    assert "by policy spent budgets (freeze freeze-1)" in explained.headline
    assert f"flowc freeze-exception {held.ticket_id}" in " ".join(explained.details)
    assert "The last attempt" not in " ".join(explained.details)
    assert explained.then == (
        "At 12:01:00 UTC (in 50 s) it is looked at again; it goes on when no freeze holds it back any more."
    )
    policy = FreezePolicy(
        policy_id="policy-1",
        name="spent budgets",
        scope=FreezeScope.SERVICE,
        target="checkout",
        min_duration_seconds=60,
        created_at=T0,
        updated_at=T0,
    )
    told = " ".join(told_of_freezes([freeze(), freeze(event_id="freeze-2")], policy, now))
    assert "Service checkout is frozen since 12:00:00 UTC (10 s) by policy spent budgets." in told
    assert "at least 50 % of each error budget is left, not before 12:01:00 UTC (in 50 s)" in told
    assert "1 more freeze would hold it back" in told
    by_hand = " ".join(told_of_freezes([freeze()], policy.but(auto_unfreeze=False), now))
    assert "it does not end by itself" in by_hand
    assert told_of_freezes([], policy, now) == ["That freeze has ended; the ticket goes on when it is looked at."]
    assert about_freezes(held.but(freeze_exception=True)) == ["A person lets it pass every freeze."]


def test_a_ticket_without_a_reason_still_says_what_it_waits_for() -> None:
    assert ticket_waits_for(deployment(waiting=Waiting.FREEZE)) == "the end of a freeze"
    flow = FLOW.but(status=FlowStatus.PAUSED)
    assert granted(deployment(waiting=Waiting.RESUME), flow).events == ()
