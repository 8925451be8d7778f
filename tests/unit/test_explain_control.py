"""What `why` says of tickets without a worker, of skipped ones and of children."""

from datetime import timedelta
from typing import Any

import pytest

from functions._core.explain.flow import explain_flow, explain_ticket
from functions._core.records.control import (
    Approval,
    Children,
    Control,
    Correlation,
    EventFilter,
    Foreach,
    OnLapse,
    Wait,
)
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, seconds

RULES = Rules()
NOW = T0 + seconds(40)
FLOW = make_flow(status=FlowStatus.EXECUTING, tickets_generated=3)
UNTIL = T0 + timedelta(minutes=10)
BY = "12:10:00 UTC (in 9 min 20 s)"


def waiting(reason: Waiting, **changes: Any) -> Ticket:
    """Return a ticket that has waited since `T0`, until ten minutes later."""
    base = {"status": TicketStatus.WAITING, "waiting": reason, "waiting_since": T0, "until": UNTIL}
    return make_ticket(FLOW, 1, **{**base, "next_wakeup_at": UNTIL, **changes})


PAID = EventFilter(type="shop.paid", source="/shop", correlation=Correlation(at="/order", equals=7))
CASES = {
    "anybody": (
        waiting(Waiting.APPROVAL, control=Control(approval=Approval())),
        "a person to approve or deny it",
        f"If nobody has decided by {BY}, it fails with approval_expired; what depends on it is cancelled.",
    ),
    "approvers": (
        waiting(
            Waiting.APPROVAL, control=Control(approval=Approval(approvers=("ada", "it"), on_timeout=OnLapse.CONTINUE))
        ),
        "the approval or denial of ada or it",
        f"If nobody has decided by {BY}, it is COMPLETED without a decision.",
    ),
    "moment": (
        waiting(Waiting.MOMENT, control=Control(wait=Wait(seconds=600))),
        "a moment to come",
        f"At {BY} it is COMPLETED.",
    ),
    "event": (
        waiting(Waiting.EVENT, control=Control(wait=Wait(event=PAID))),
        "an event of type 'shop.paid' with the source '/shop' and a certain value at '/order'",
        f"If no such event has come by {BY}, it fails with event_missing; what depends on it is cancelled.",
    ),
    "event or not": (
        waiting(Waiting.EVENT, control=Control(wait=Wait(event=EventFilter(type="a"), on_timeout=OnLapse.CONTINUE))),
        "an event of type 'a'",
        f"If no such event has come by {BY}, it is COMPLETED without one.",
    ),
    "children": (
        waiting(
            Waiting.CHILDREN,
            control=Control(foreach=Foreach(items=[])),
            children=Children(total=10, made=8, begun=5, completed=2, failed=1, skipped=1),
        ),
        "its children to end: 4 of 10 children ended, 1 of them without success; 8 are made so far",
        f"If nothing has happened by {BY}, its children are looked at again.",
    ),
    "turn": (
        waiting(Waiting.TURN, status=TicketStatus.PENDING, parent="p", index=6),
        "its turn as number 7 of its list, as only some of the children are worked on at once",
        f"At {BY} it is looked at again; it begins when another child of the same list ends.",
    ),
}


@pytest.mark.parametrize(("ticket", "waits_for", "then"), CASES.values(), ids=CASES)
def test_a_wait_says_for_what_since_when_and_what_follows(ticket: Ticket, waits_for: str, then: str) -> None:
    explained = explain_ticket(ticket, FLOW, NOW, RULES)
    assert explained.waits_for == waits_for
    assert explained.headline == f"Ticket task-1 (Do task 1.) waits for {waits_for}."
    assert explained.details[0] == "Since 12:00:00 UTC (40 s)."
    assert explained.then == then


def test_a_skipped_ticket_says_why() -> None:
    why = Reason(code="condition_false", message="its condition is false")
    skipped = make_ticket(FLOW, status=TicketStatus.SKIPPED, reason=why, completed_at=T0, next_wakeup_at=None)
    explained = explain_ticket(skipped, FLOW, NOW, RULES)
    assert explained.sentences == ("Ticket task-1 (Do task 1.) was skipped: its condition is false (condition_false).",)
    assert (explained.waits_for, explained.since) == (None, T0)


def test_a_ticket_without_a_worker_was_completed_without_one() -> None:
    control = Control(wait=Wait(seconds=1))
    done = make_ticket(FLOW, status=TicketStatus.COMPLETED, control=control, completed_at=T0, next_wakeup_at=None)
    assert (
        explain_ticket(done, FLOW, NOW, RULES).headline == "Ticket task-1 (Do task 1.) was completed without a worker."
    )


def test_a_flow_names_the_children_that_hold_it_up_and_not_their_parent() -> None:
    parent = waiting(Waiting.CHILDREN, children=Children(total=2, made=2))
    running = make_ticket(FLOW, 2, status=TicketStatus.RUNNING, worker_id="w", acknowledged_at=T0, started_at=T0)
    turn = make_ticket(FLOW, 3, waiting=Waiting.TURN, waiting_since=T0)
    explained = explain_flow(FLOW, [parent, running, turn], NOW, RULES)
    assert explained.headline.endswith("waits for 3 of its 3 tickets to end.")
    named = [sentence for sentence in explained.details if sentence.startswith("Ticket ")]
    assert len(named) == 1
    assert named[0].startswith("Ticket task-2")
    assert "Tickets: 1 PENDING, 1 RUNNING, 1 WAITING." in explained.details
