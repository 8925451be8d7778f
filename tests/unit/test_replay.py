"""A history folded line by line: what it leads to, and that every lie of the records, or gap in it, is named."""

from typing import Any

import pytest

from functions._core.machine.replay import Folded, StoredState, TicketState, differences, fold
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Outcome
from tests.support.builders import T0, make_flow


def line(
    seq: int, kind: str, before: str | None, after: str | None, task: str | None = None, **more: Any
) -> HistoryEntry:
    """Build a line of the history; `task` is the ticket that it is about."""
    about: dict[str, Any] = {"ticket_id": f"id-{task}", "task_id": task} if task else {}
    return HistoryEntry(
        flow_id="f", at=T0, type=kind, cause="", seq=seq, from_status=before, to_status=after, **about, **more
    )


def state(task: str, status: str, attempt: int = 0, worker_id: str | None = None) -> TicketState:
    """Build what is stored of a ticket."""
    return TicketState(ticket_id=f"id-{task}", task_id=task, status=status, attempt=attempt, worker_id=worker_id)


HISTORY = (
    line(1, "decision.consolidated", None, "VALIDATING"),
    line(2, "plan.validated", "VALIDATING", "GENERATING"),
    line(4, "tickets.generated", "GENERATING", "EXECUTING", detail={"tickets": 3}),
    line(5, "ticket.assigned", "PENDING", "ASSIGNED", "a", attempt=1, worker_id="w1"),
    line(6, "ticket.assigned", "PENDING", "ASSIGNED", "b", attempt=1, worker_id="w1"),
    line(7, "sla.at_risk", None, None, "b", attempt=1, worker_id="w1"),
    line(8, "ticket.completed", "ASSIGNED", "COMPLETED", "a", attempt=1, worker_id="w1"),
    line(9, "ticket.retried", "ASSIGNED", "PENDING", "b", attempt=1, worker_id="w1"),
)
TICKETS = (state("a", "COMPLETED", 1, "w1"), state("b", "PENDING", 1), state("c", "PENDING"))
EXECUTING = make_flow(status=FlowStatus.EXECUTING)


def test_the_last_move_of_everything_counts_and_a_ticket_taken_back_has_no_worker() -> None:
    folded = fold(HISTORY)
    assert (folded.status, folded.outcome, folded.made, folded.lines, folded.seq) == ("EXECUTING", None, 3, 8, 9)
    assert folded.tickets == {"id-a": TICKETS[0], "id-b": TICKETS[1]}
    assert differences(folded, EXECUTING, TICKETS) == ()


@pytest.mark.parametrize("cut", range(len(HISTORY) + 1))
def test_a_history_may_be_folded_in_pages(cut: int) -> None:
    assert fold(HISTORY[cut:], fold(HISTORY[:cut])) == fold(HISTORY)


def test_an_outcome_lasts_until_a_redrive() -> None:
    ended = (
        line(1, "flow.consolidated", None, "PUBLISHING", detail={"outcome": "FAILED"}),
        line(2, "flow.failed", "PUBLISHING", "FAILED"),
    )
    assert fold(ended).outcome is Outcome.FAILED
    assert fold((line(3, "flow.redriven", "FAILED", "EXECUTING"),), fold(ended)).outcome is None


def test_no_history_leads_nowhere() -> None:
    assert fold(()) == Folded()
    assert differences(Folded(), EXECUTING, ()) == ("the flow is EXECUTING, by its history None",)


@pytest.mark.parametrize(
    ("flow", "tickets", "said"),
    [
        (make_flow(status=FlowStatus.PAUSED), TICKETS, "the flow is PAUSED, by its history EXECUTING"),
        (
            EXECUTING.but(outcome=Outcome.FAILED),
            TICKETS,
            "the outcome of the flow is FAILED, by its history None",
        ),
        (
            EXECUTING,
            (*TICKETS[:2], state("c", "ASSIGNED", 1, "w2")),
            "ticket c is ASSIGNED (attempt 1, worker w2), by its history PENDING (attempt 0, worker none)",
        ),
        (EXECUTING, (*TICKETS, state("d", "PENDING")), "there are 4 tickets, by the history 3"),
        (
            EXECUTING,
            (state("x", "PENDING"), *TICKETS[1:]),
            "ticket a is COMPLETED (attempt 1, worker w1) by its history, and is not there",
        ),
    ],
)
def test_what_differs_is_said_in_a_sentence(flow: Flow, tickets: tuple[TicketState, ...], said: str) -> None:
    assert differences(fold(HISTORY), flow, tickets) == (said,)


def test_a_line_that_is_missing_is_noticed_by_the_next_one() -> None:
    folded = fold(entry for entry in HISTORY if entry.seq not in {2, 6})
    assert differences(folded, EXECUTING, TICKETS) == (
        "line 4 (tickets.generated) moves the flow from GENERATING, but it was VALIDATING",
        "line 9 (ticket.retried) moves ticket b from ASSIGNED, but it was PENDING",
    )


def test_children_are_not_counted_as_no_line_tells_of_their_making() -> None:
    child = StoredState(ticket_id="id-b[0]", task_id="b[0]", is_child=True)
    assert differences(fold(HISTORY), EXECUTING, (*TICKETS, child)) == ()
    stranger = StoredState(ticket_id="id-d", task_id="d")
    assert differences(fold(HISTORY), EXECUTING, (*TICKETS, stranger)) == ("there are 4 tickets, by the history 3",)
