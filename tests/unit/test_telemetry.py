"""What telemetry tells of a flow: of its plan, of its present run, and never twice under one id."""

from datetime import datetime
from typing import Any

import pytest

from functions._core.events.telemetry import TicketFacts, steps_of, summary_of, telemetry_of
from functions._core.records.models import Flow, Phase, Ticket
from functions._core.records.values import FlowStatus, Outcome, TicketStatus
from tests.support.builders import T0, make_flow, make_ticket, seconds

S = FlowStatus


def flow_through(*stays: FlowStatus, **changes: Any) -> Flow:
    """Return a flow that came to the next of `stays` each second."""
    phases = [Phase(status=status, entered_at=T0 + seconds(at)) for at, status in enumerate(stays)]
    return make_flow(**{"status": stays[-1], "phases": phases, "next_wakeup_at": None, **changes})


def at(second: float) -> datetime:
    return T0 + seconds(second)


def steps(flow: Flow, *tickets: Ticket) -> dict[str, tuple[str, int | None]]:
    """Return status and duration of each step."""
    return {step["step"]: (step["status"], step["duration_ms"]) for step in steps_of(flow, tickets)}


def undone() -> tuple[Flow, list[Ticket]]:
    """Return a flow that failed and was undone: one ticket failed, one was compensated by a third one."""
    flow = flow_through(
        *(S.VALIDATING, S.GENERATING, S.EXECUTING, S.COMPENSATING, S.PUBLISHING, S.FAILED),
        outcome=Outcome.FAILED,
        ended_at=at(5),
        tickets_generated=2,
        compensations=1,
        tally={"COMPENSATED": 1, "FAILED": 1},
    )
    worked = {"attempt": 1, "assigned_at": at(2.2), "acknowledged_at": at(2.3), "actual_duration_ms": 100}
    return flow, [
        make_ticket(flow, 1, status=TicketStatus.COMPENSATED, **worked),
        make_ticket(flow, 2, status=TicketStatus.FAILED, retry_count=1, **{**worked, "attempt": 2}),
        make_ticket(
            flow, 3, status=TicketStatus.COMPLETED, compensates="x", **{**worked, "attempt": 5, "assigned_at": at(3.5)}
        ),
    ]


@pytest.mark.parametrize("facts", [False, True])
def test_compensations_are_no_tickets_of_the_plan(facts: bool) -> None:
    flow, tickets = undone()
    frame = telemetry_of(flow, [TicketFacts.of(t) for t in tickets] if facts else tickets, at(5))[-1].data
    assert frame["ticket_ids"] == [ticket.ticket_id for ticket in tickets[:2]]
    assert (frame["retries"], frame["reassignments"], frame["ticket_duration_ms"]) == (1, 0, 200)
    assert (frame["tickets_compensated"], frame["compensations"], frame["tickets_generated"]) == (1, 1, 2)
    summary = summary_of(flow, tickets, at(9))
    assert [summary[f"tickets_{what}"] for what in ("completed", "failed", "compensated")] == [0, 1, 1]
    assert summary["steps"][3]["attempts"] == 3


def test_undoing_belongs_to_the_step_that_watches_tickets() -> None:
    flow, tickets = undone()
    assert steps(flow, *tickets) == {
        "C1": ("completed", 1000),
        "C2": ("completed", 1000),
        "C3": ("completed", 200),
        "C4": ("completed", 100),
        "C5": ("failed", 2000),
        "C6": ("completed", 1000),
    }


@pytest.mark.parametrize(
    ("stays", "outcome", "broken"),
    [
        ((S.VALIDATING, S.PUBLISHING, S.REJECTED), Outcome.REJECTED, "C1"),
        ((S.VALIDATING, S.AWAITING_APPROVAL, S.PUBLISHING, S.REJECTED), Outcome.REJECTED, "C1"),
        ((S.VALIDATING, S.GENERATING, S.PAUSED, S.PUBLISHING, S.CANCELLED), Outcome.CANCELLED, "C2"),
        (
            (S.VALIDATING, S.GENERATING, S.EXECUTING, S.PAUSED, S.COMPENSATING, S.PUBLISHING, S.CANCELLED),
            Outcome.CANCELLED,
            "C5",
        ),
        ((S.VALIDATING, S.PUBLISHING, S.FAILED, S.VALIDATING, S.PUBLISHING), Outcome.FAILED, "C1"),
        ((S.VALIDATING, S.GENERATING, S.EXECUTING, S.PUBLISHING, S.FAILED, S.EXECUTING), None, None),
    ],
)
def test_the_step_in_which_a_flow_broke_is_known(
    stays: tuple[FlowStatus, ...], outcome: Outcome | None, broken: str | None
) -> None:
    found = steps(flow_through(*stays, outcome=outcome))
    assert next((step for step, (status, _) in found.items() if status == "failed"), None) == broken


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.REJECTED])
def test_an_ended_flow_has_no_step_in_progress(outcome: Outcome) -> None:
    stays = (S.VALIDATING, S.GENERATING, S.EXECUTING)
    waits = flow_through(*stays)
    found = steps(waits, make_ticket(waits))
    assert (found["C3"], found["C5"]) == (("in_progress", None), ("in_progress", None))
    publishing = flow_through(*stays, S.PUBLISHING, outcome=outcome)
    published = [event.data for event in telemetry_of(publishing, [make_ticket(publishing)], at(4))]
    assert {step["step"] for step in published[:-1]} == {"C1", "C2", "C5", "C6"}  # nothing was assigned: no C3, no C4
    ended = flow_through(*stays, S.PUBLISHING, S(outcome), outcome=outcome, ended_at=at(4))
    found = steps(ended, make_ticket(ended))
    assert (found["C3"], found["C4"]) == (("skipped", None), ("skipped", None))
    assert "in_progress" not in {status for status, _ in found.values()}


def test_a_step_that_was_paused_lasts_from_its_first_beginning_to_its_last_end() -> None:
    flow = flow_through(S.VALIDATING, S.AWAITING_APPROVAL, S.GENERATING, S.PAUSED, S.GENERATING, S.EXECUTING)
    found = steps(flow)
    assert (found["C1"], found["C2"]) == (("completed", 1000), ("completed", 3000))


def test_a_redriven_flow_tells_what_it_did_since_then_under_ids_of_its_own() -> None:
    first, tickets = undone()
    again = flow_through(
        *(phase.status for phase in first.phases),
        *(S.EXECUTING, S.PUBLISHING),
        outcome=Outcome.COMPLETED,
        tickets_generated=2,
        redrives=1,
    )
    redone = [tickets[0], tickets[1].but(assigned_at=at(6.2), acknowledged_at=at(6.4))]
    assert steps(again, *redone) == {
        "C1": ("skipped", None),
        "C2": ("skipped", None),
        "C3": ("completed", 200),
        "C4": ("completed", 200),
        "C5": ("completed", 1000),
        "C6": ("in_progress", None),
    }
    before = {event.id for event in telemetry_of(first, tickets, at(5))}
    now = [event.id for event in telemetry_of(again, redone, at(8))]
    assert not before & set(now)
    assert now == [event.id for event in telemetry_of(again, redone, at(9))]


def test_the_time_in_which_people_are_waited_for_breaks_no_sla() -> None:
    flow = make_flow(status=S.PAUSED, sla_deadline=at(60))
    assert summary_of(flow, [], at(3600))["sla_violated"] is False
    assert summary_of(flow.but(sla_limit=at(60)), [], at(3600))["sla_violated"] is True
