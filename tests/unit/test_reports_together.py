"""Reports on one flow that are taken in one step: what each comes to, and what they come to together."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from functions._core.events.reports import Report, ReportError
from functions._core.machine.advance import advance
from functions._core.machine.context import Context
from functions._core.machine.ending import Reported
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Phase, Ticket
from functions._core.records.values import FlowStatus, Outcome, ReportStatus, TicketStatus, ticket_id_of
from functions._engine.dispatch import ReportMessage
from functions._engine.report_intake import MOST_TOGETHER, rounds
from tests.support.builders import T0, make_event, make_flow, make_ticket, seconds

FINAL = ReportError(type="broken", message="it cannot be done", retryable=False)


def executing() -> Flow:
    """Build a flow that waits for its tickets."""
    phases = (Phase(status=FlowStatus.VALIDATING, entered_at=T0), Phase(status=FlowStatus.EXECUTING, entered_at=T0))
    return make_flow(status=FlowStatus.EXECUTING, phases=phases, tickets_generated=3)


def at_work(flow: Flow, number: int, *dependants: int, **changes: Any) -> Ticket:
    """Build a ticket that a worker is at, with those that depend on it."""
    after = tuple(ticket_id_of(flow.flow_id, f"task-{other}") for other in dependants)
    defaults = {"status": TicketStatus.ASSIGNED, "attempt": 1, "worker_id": "w1", "acknowledged_at": T0}
    return make_ticket(flow, number, dependants=after, **defaults | changes)


def says(ticket: Ticket, status: ReportStatus = ReportStatus.COMPLETED, **more: Any) -> Report:
    """Build a report on the present attempt at a ticket."""
    return Report(ticket_id=ticket.ticket_id, attempt=ticket.attempt, status=status, **more)


def step_of(flow: Flow, tickets: Sequence[Ticket], reports: Sequence[Report], around: RelatedTickets) -> ChangeSet:
    """Let the reports be taken in one step, a second after the tickets were begun."""
    by_id = {ticket.ticket_id: ticket for ticket in tickets}
    context = Context(flow=flow, tickets=by_id, now=T0 + seconds(1), function="monitor", cause="report")
    return advance(context, Reported(reports, around))


def by_task(step: ChangeSet) -> Mapping[str, Ticket]:
    """Return the changed tickets by task id."""
    assert len({ticket.ticket_id for ticket in step.tickets}) == len(step.tickets)
    return {ticket.task_id: ticket for ticket in step.tickets}


def test_the_last_tickets_that_end_in_one_step_end_the_flow() -> None:
    flow = executing()
    tickets = [at_work(flow, number) for number in (1, 2, 3)]
    step = step_of(flow, tickets, [says(t) for t in tickets], RelatedTickets(tally={"ASSIGNED": 3}))
    assert step.flow is not None
    assert (step.flow.outcome, step.flow.tally) == (Outcome.COMPLETED, {"COMPLETED": 3})
    assert [entry.type for entry in step.history] == ["ticket.completed"] * 3 + ["flow.consolidated"]
    assert [ticket.next_wakeup_at for ticket in step.tickets] == [None] * 3
    assert [ticket.version for ticket in step.tickets] == [2] * 3


def test_a_dependant_of_all_that_complete_in_one_step_is_freed_once() -> None:
    flow = executing()
    first, second = at_work(flow, 1, 3), at_work(flow, 2, 3)
    join = make_ticket(flow, 3, open_dependencies=2)
    around = RelatedTickets(dependants={join.ticket_id: join})
    step = step_of(flow, [first, second], [says(first), says(second)], around)
    freed = by_task(step)["task-3"]
    assert (freed.open_dependencies, freed.version) == (0, 2)
    assert [(event.event_type, event.data["ticket_ids"]) for event in step.events] == [
        ("tickets.ready", [join.ticket_id])
    ]
    assert step.flow is None


def test_what_several_reports_free_goes_to_discovery_in_one_event() -> None:
    flow = executing()
    first, second = at_work(flow, 1, 3), at_work(flow, 2, 4)
    after = [make_ticket(flow, number, open_dependencies=1) for number in (3, 4)]
    around = RelatedTickets(dependants={ticket.ticket_id: ticket for ticket in after})
    step = step_of(flow, [first, second], [says(first), says(second)], around)
    assert [sorted(event.data["ticket_ids"]) for event in step.events] == [sorted(t.ticket_id for t in after)]
    assert {
        task: ticket.open_dependencies for task, ticket in by_task(step).items() if task in {"task-3", "task-4"}
    } == {
        "task-3": 0,
        "task-4": 0,
    }


@pytest.mark.parametrize("failure_first", [True, False])
def test_a_failure_and_a_success_before_the_same_ticket_cancel_it_and_end_the_flow(*, failure_first: bool) -> None:
    flow = executing()
    good, bad = at_work(flow, 1, 3), at_work(flow, 2, 3)
    join = make_ticket(flow, 3, open_dependencies=2)
    around = RelatedTickets(dependants={join.ticket_id: join}, live=(join,), tally={"ASSIGNED": 2, "PENDING": 1})
    reports = [says(bad, ReportStatus.FAILED, error=FINAL), says(good)]
    step = step_of(flow, [good, bad], reports if failure_first else reports[::-1], around)
    statuses = {task: ticket.status.value for task, ticket in by_task(step).items()}
    assert statuses == {"task-1": "COMPLETED", "task-2": "FAILED", "task-3": "CANCELLED"}
    assert step.flow is not None
    assert (step.flow.outcome, step.flow.tally) == (Outcome.FAILED, {"COMPLETED": 1, "FAILED": 1, "CANCELLED": 1})


def test_a_ticket_that_goes_on_keeps_the_flow_open_whatever_ends_beside_it() -> None:
    flow = executing()
    ended, running = at_work(flow, 1), at_work(flow, 2)
    for reports in (
        [says(ended), says(running, ReportStatus.RUNNING)],
        [says(running, ReportStatus.RUNNING), says(ended)],
    ):
        step = step_of(flow, [ended, running], reports, RelatedTickets())
        assert step.flow is None
        assert {t.status for t in step.tickets} == {TicketStatus.COMPLETED, TicketStatus.RUNNING}


def test_a_report_that_does_not_count_changes_nothing_beside_those_that_do() -> None:
    flow = executing()
    counting, over = at_work(flow, 1), at_work(flow, 2, status=TicketStatus.COMPLETED)
    unknown = Report(ticket_id="nobody", attempt=1, status=ReportStatus.COMPLETED)
    step = step_of(flow, [counting, over], [unknown, says(counting), says(over)], RelatedTickets(tally={"ASSIGNED": 1}))
    assert [ticket.task_id for ticket in step.tickets] == ["task-1"]
    assert step.flow is not None


def told(number: int, status: ReportStatus = ReportStatus.COMPLETED) -> ReportMessage:
    """Build a report on ticket `t<number>` as it arrives."""
    return ReportMessage(make_event(), Report(ticket_id=f"t{number}", attempt=1, status=status))


def test_a_step_takes_one_report_of_each_ticket_and_keeps_the_order_of_those_of_one() -> None:
    running, other, done, again = told(1, ReportStatus.RUNNING), told(2), told(1), told(1)
    assert list(rounds([running, other, done, again])) == [(running, other), (done,), (again,)]


def test_a_step_takes_a_bounded_number_of_reports() -> None:
    waiting = [told(number) for number in range(MOST_TOGETHER + 1)]
    assert [len(together) for together in rounds(waiting)] == [MOST_TOGETHER, 1]
    assert not list(rounds([]))
