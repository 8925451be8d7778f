"""Orders at moments that a running platform passes too fast to be met there."""

from datetime import datetime

from functions._core.events import commands
from functions._core.machine.advance import advance
from functions._core.machine.commands import Commanded
from functions._core.machine.context import Context
from functions._core.machine.flow import Generated
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Phase
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, seconds

GENERATING = make_flow(
    status=FlowStatus.GENERATING,
    sla_deadline=T0 + seconds(100),
    phases=(
        Phase(status=FlowStatus.VALIDATING, entered_at=T0),
        Phase(status=FlowStatus.GENERATING, entered_at=T0 + seconds(1)),
    ),
)


def context(flow: Flow, now: datetime) -> Context:
    """Return what is known of a flow when something happens."""
    return Context(flow=flow, tickets={}, now=now, rules=Rules(), function="monitor", cause="order")


def ordered(flow: Flow, now: datetime, order: commands.AnyCommand) -> ChangeSet:
    """Carry out an order, one at each moment."""
    return advance(context(flow, now), Commanded(order, f"order at {now}"))


def test_a_flow_paused_before_it_has_tickets_asks_for_them_again_when_it_is_resumed() -> None:
    pause, resume = (
        commands.PauseRequest(flow_id=GENERATING.flow_id),
        commands.ResumeRequest(flow_id=GENERATING.flow_id),
    )
    seen: list[str] = []
    flow = GENERATING
    for start in (2, 20):
        paused = ordered(flow, T0 + seconds(start), pause).flow
        assert paused is not None
        assert (paused.status, paused.back) == (FlowStatus.PAUSED, FlowStatus.GENERATING)
        late = Generated((make_ticket(flow),))
        assert not advance(context(paused, T0 + seconds(start + 1)), late).changes
        step = ordered(paused, T0 + seconds(start + 10), resume)
        assert step.flow is not None
        flow = step.flow
        assert (flow.status, flow.back) == (FlowStatus.GENERATING, None)
        seen += [event.id for event in step.events if event.event_type == "plan.validated"]
    assert len(seen) == len(set(seen)) == 2
    assert flow.sla_deadline == T0 + seconds(120)


def test_of_many_orders_the_last_ones_are_remembered() -> None:
    flow = GENERATING
    for number in range(30):
        kind = commands.ResumeRequest if number % 2 else commands.PauseRequest
        step = ordered(flow, T0 + seconds(2 + number), kind(flow_id=flow.flow_id))
        assert step.flow is not None
        flow = step.flow
    assert len(flow.orders) == 20
    again = Commanded(commands.PauseRequest(flow_id=flow.flow_id), f"order at {T0 + seconds(12)}")
    assert not advance(context(flow, T0 + seconds(60)), again).changes


def test_an_id_recognises_the_same_order_only_and_hides_no_other_one() -> None:
    pause, cancel = (
        commands.PauseRequest(flow_id=GENERATING.flow_id),
        commands.CancelRequest(flow_id=GENERATING.flow_id),
    )
    paused = advance(context(GENERATING, T0 + seconds(2)), Commanded(pause, "1")).flow
    assert paused is not None
    assert not advance(context(paused, T0 + seconds(3)), Commanded(pause, "1")).changes
    cancelled = advance(context(paused, T0 + seconds(3)), Commanded(cancel, "1"))
    assert cancelled.flow is not None
    assert cancelled.flow.outcome is Outcome.CANCELLED
    assert len({record.audit_id for record in cancelled.audit}) == 1
    assert len(set(cancelled.flow.orders)) == 2


def test_a_flow_approved_right_before_its_deadline_is_looked_at_then() -> None:
    limit = T0 + seconds(12)
    awaiting = GENERATING.but(
        status=FlowStatus.AWAITING_APPROVAL,
        sla_deadline=limit,
        sla_limit=limit,
        phases=(Phase(status=FlowStatus.AWAITING_APPROVAL, entered_at=T0),),
    )
    approved = ordered(awaiting, T0 + seconds(11), commands.ApprovalGrant(flow_id=awaiting.flow_id)).flow
    assert approved is not None
    assert (approved.status, approved.next_wakeup_at) == (FlowStatus.GENERATING, limit)


def test_a_ticket_that_waited_for_a_slot_when_a_person_stopped_its_flow_is_cancelled_and_has_not_failed() -> None:
    flow = GENERATING.but(status=FlowStatus.EXECUTING, tickets_generated=1)
    ticket = make_ticket(flow, waiting=Waiting.SLOT)
    outcome = Commanded(commands.CancelRequest(flow_id=flow.flow_id), "1", (ticket,), {TicketStatus.PENDING: 1})
    step = advance(context(flow, T0 + seconds(2)), outcome)
    [ended] = step.tickets
    assert ended.reason is not None
    assert (ended.status, ended.reason.code) == (TicketStatus.CANCELLED, "cancelled")
    assert step.flow is not None
    assert step.flow.tally == {TicketStatus.CANCELLED: 1}


def test_what_is_done_again_waits_in_a_new_turn() -> None:
    flow = GENERATING.but(status=FlowStatus.FAILED, outcome=Outcome.FAILED, tickets_generated=1)
    ticket = make_ticket(flow, status=TicketStatus.CANCELLED, turn=3)
    order = commands.RedriveRequest(flow_id=flow.flow_id)
    outcome = Commanded(order, "1", redriven=(ticket,), deadline=T0 + seconds(500))
    [again] = advance(context(flow, T0 + seconds(200)), outcome).tickets
    assert (again.status, again.turn) == (TicketStatus.PENDING, None)
