"""Steps of tickets that something steers, at moments that a running platform passes too fast to be met there."""

from collections.abc import Mapping

from functions._core.machine.advance import advance
from functions._core.machine.beginning import Begun, Finding, Hopeless, Listed
from functions._core.machine.context import Context
from functions._core.machine.ending import cancel
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.redrive import to_redo
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.step_builder import StepBuilder
from functions._core.records.change_set import ChangeSet
from functions._core.records.control import Approval, Children, Control, Foreach, OnSkipped
from functions._core.records.models import Flow, Phase, Reason, Ticket
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting
from functions._core.rules import Rules
from tests.support.builders import T0, later, make_flow, make_ticket, seconds

FLOW = make_flow(
    status=FlowStatus.EXECUTING,
    sla_deadline=T0 + seconds(10_000),
    tickets_generated=3,
    phases=(Phase(status=FlowStatus.EXECUTING, entered_at=T0),),
)
FOREACH = Control(foreach=Foreach(items=[1]))
WHY = Reason(code="broken", message="no")


def context(*tickets: Ticket, flow: Flow = FLOW, at: float = 1) -> Context:
    """Return what is known of a flow when something happens to its tickets."""
    by_id = {ticket.ticket_id: ticket for ticket in tickets}
    return Context(flow=flow, tickets=by_id, now=T0 + seconds(at), rules=Rules(), function="discover", cause="e")


def changed(step: ChangeSet, ticket: Ticket) -> Ticket:
    """Return a ticket as a step leaves it."""
    return next(one for one in step.tickets if one.ticket_id == ticket.ticket_id)


def test_every_word_that_a_ticket_with_children_is_ready_has_an_id_of_its_own() -> None:
    parent = make_ticket(FLOW, control=FOREACH, waiting=Waiting.DISCOVERY, until=T0 + seconds(30))
    lost = advance(context(parent, at=31), TicketOverdue(parent.ticket_id))
    pending = changed(lost, parent)
    found: Mapping[str, Finding] = {parent.ticket_id: Listed(300, 0, list(range(200)), {}, ())}
    begun = advance(context(pending, at=32), Begun(found))
    said = [event for step in (lost, begun) for event in step.events if parent.ticket_id in event.data["ticket_ids"]]
    assert len({event.id for event in said}) == len(said) == 2


def test_the_last_of_several_ends_settles_the_flow_also_where_it_came_with_an_end_before() -> None:
    parent = make_ticket(FLOW, 1, status=TicketStatus.WAITING, waiting=Waiting.CHILDREN, control=FOREACH)
    child = make_ticket(FLOW, 2, parent=parent.ticket_id, index=0, control=FOREACH)
    ends: Mapping[str, Finding] = {parent.ticket_id: Hopeless(WHY), child.ticket_id: Hopeless(WHY)}
    around = RelatedTickets(
        live=(child,), parents={parent.ticket_id: parent}, tally={TicketStatus.WAITING: 1, TicketStatus.PENDING: 1}
    )
    step = advance(context(parent, child), Begun(ends, around))
    assert step.flow is not None
    assert step.flow.outcome is Outcome.FAILED


def test_a_wait_that_is_cancelled_gives_its_time_back() -> None:
    asks = Control(approval=Approval(stops_clock=True))
    flow = later(FLOW, clock_waits={}, sla_deadline=T0 + seconds(20_000))
    parent = make_ticket(flow, 1, status=TicketStatus.WAITING, waiting=Waiting.CHILDREN, control=FOREACH)
    wait = make_ticket(
        flow,
        2,
        parent=parent.ticket_id,
        status=TicketStatus.WAITING,
        waiting=Waiting.APPROVAL,
        control=asks,
        until=T0 + seconds(10_001),
    )
    other = make_ticket(flow, 3)
    flow = later(flow, clock_waits={wait.ticket_id: T0 + seconds(10_001)})
    builder = StepBuilder(context(parent, wait, other, flow=flow, at=1))
    around = RelatedTickets(live=(wait,), parents={parent.ticket_id: parent}, clock=(parent, wait, other))
    cancel(builder, parent, WHY, around)
    assert builder.flow.clock_waits == {}
    assert builder.flow.sla_deadline == T0 + seconds(10_000)
    assert builder.latest(other).sla.deadline == other.sla.deadline - seconds(10_000)


def test_a_redrive_wants_a_skipped_task_only_where_nothing_else_skips_it() -> None:
    skipped, ended = TicketStatus.SKIPPED, TicketStatus.FAILED
    bad, no = make_ticket(FLOW, 1, status=ended), make_ticket(FLOW, 2, status=skipped)
    both = (bad.ticket_id, no.ticket_id)
    strict = make_ticket(FLOW, 3, status=skipped, dependencies=both)
    after = make_ticket(FLOW, 4, status=skipped, dependencies=(strict.ticket_id,))
    either = make_ticket(FLOW, 5, status=skipped, dependencies=both, control=Control(on_skipped=OnSkipped.ANY))
    behind = make_ticket(FLOW, 6, status=skipped, dependencies=(either.ticket_id,))
    again = to_redo((bad, no, strict, after, either, behind), T0, T0 + seconds(100))
    assert [one.task_id for one in again] == ["task-1", "task-5", "task-6"]


def test_an_item_that_is_done_already_lets_the_ticket_with_the_list_look_for_the_next_one() -> None:
    counts = Children(total=4, made=4, begun=2)
    listed = Control(foreach=Foreach(items=[], limit=2, max_failures=3))
    parent = make_ticket(
        FLOW, 1, status=TicketStatus.WAITING, waiting=Waiting.CHILDREN, control=listed, children=counts
    )
    child = make_ticket(FLOW, 2, parent=parent.ticket_id, index=0)
    done = make_ticket(FLOW, 3, parent=parent.ticket_id, index=2, status=TicketStatus.COMPLETED)
    builder = StepBuilder(context(parent, child, done))
    around = RelatedTickets(parents={parent.ticket_id: parent}, following={(parent.ticket_id, 2): done})
    cancel(builder, child, WHY, around)
    assert builder.latest(done) is done
    assert builder.latest(parent).emissions == 1
