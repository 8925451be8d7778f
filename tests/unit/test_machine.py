"""The tables: complete, reachable, with an end and a way out of every wait."""

import pytest

from functions._core.errors import IllegalTransition
from functions._core.machine.tables import (
    BACK,
    CONSOLIDATED,
    END,
    ENDED_FLOWS,
    ENDED_TICKETS,
    FLOW_TIMEOUTS,
    FLOW_TRANSITIONS,
    TICKET_TIMEOUTS,
    TICKET_TRANSITIONS,
    FlowTrigger,
    TicketTrigger,
    next_flow,
    next_ticket,
)
from functions._core.records.values import FlowStatus, Outcome, TicketStatus

FLOW_PAIRS = [(status, trigger) for status in FlowStatus for trigger in FlowTrigger]
TICKET_PAIRS = [(status, trigger) for status in TicketStatus for trigger in TicketTrigger]


@pytest.mark.parametrize(("status", "trigger"), FLOW_PAIRS)
def test_every_pair_of_flow_status_and_trigger_is_in_the_table_or_refused(
    status: FlowStatus, trigger: FlowTrigger
) -> None:
    target = FLOW_TRANSITIONS[status].get(trigger)
    if target is None:
        with pytest.raises(IllegalTransition, match=status):
            next_flow(status, trigger, outcome=Outcome.COMPLETED, back=FlowStatus.EXECUTING)
    else:
        decided = {END: FlowStatus.FAILED, BACK: FlowStatus.EXECUTING, CONSOLIDATED: FlowStatus.COMPENSATING}
        expected = decided.get(target, target)
        assert next_flow(status, trigger, outcome=Outcome.FAILED, back=FlowStatus.EXECUTING, undo=True) is expected


@pytest.mark.parametrize(("status", "trigger"), TICKET_PAIRS)
def test_every_pair_of_ticket_status_and_trigger_is_in_the_table_or_refused(
    status: TicketStatus, trigger: TicketTrigger
) -> None:
    target = TICKET_TRANSITIONS[status].get(trigger)
    if target is None:
        with pytest.raises(IllegalTransition, match=status):
            next_ticket(status, trigger)
    else:
        assert next_ticket(status, trigger) is target


def test_a_flow_without_an_outcome_cannot_reach_an_end() -> None:
    with pytest.raises(IllegalTransition):
        next_flow(FlowStatus.PUBLISHING, FlowTrigger.PUBLISHED)


def test_a_flow_that_came_from_nowhere_cannot_go_back() -> None:
    with pytest.raises(IllegalTransition):
        next_flow(FlowStatus.PAUSED, FlowTrigger.RESUMED)


def test_a_flow_with_nothing_to_undo_is_published_at_once() -> None:
    assert next_flow(FlowStatus.EXECUTING, FlowTrigger.SETTLED, outcome=Outcome.FAILED) is FlowStatus.PUBLISHING


def test_every_outcome_names_an_end_status() -> None:
    assert {FlowStatus(outcome.value) for outcome in Outcome} == ENDED_FLOWS


def test_every_flow_status_is_reachable_from_the_first() -> None:
    reached, queue = set[FlowStatus](), [FlowStatus.VALIDATING]
    while queue:
        status = queue.pop()
        if status in reached:
            continue
        reached.add(status)
        for target in FLOW_TRANSITIONS[status].values():
            decided = {END: ENDED_FLOWS, BACK: (), CONSOLIDATED: (FlowStatus.COMPENSATING, FlowStatus.PUBLISHING)}
            queue.extend(decided[target] if target in decided else [FlowStatus(target)])
    assert reached == set(FlowStatus)


def test_every_ticket_status_is_reachable_from_pending() -> None:
    reached, queue = set[TicketStatus](), [TicketStatus.PENDING]
    while queue:
        status = queue.pop()
        if status not in reached:
            reached.add(status)
            queue.extend(TICKET_TRANSITIONS[status].values())
    assert reached == set(TicketStatus)


def test_every_status_that_waits_has_a_timeout_with_an_edge() -> None:
    assert set(FLOW_TIMEOUTS) == set(FlowStatus) - ENDED_FLOWS
    assert all(trigger in FLOW_TRANSITIONS[status] for status, trigger in FLOW_TIMEOUTS.items())
    assert set(TICKET_TIMEOUTS) == set(TicketStatus) - ENDED_TICKETS
    assert all(trigger in TICKET_TRANSITIONS[status] for status, trigger in TICKET_TIMEOUTS.items())
