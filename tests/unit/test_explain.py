"""Every wait has words that a new user understands, and what they promise is what the rules do."""

from datetime import timedelta
from typing import Any

import pytest

from functions._core.explain.flow import Explanation, explain_flow, explain_ticket
from functions._core.explain.wording import ahead, clock_time, counted, listed, span
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Delivered
from functions._core.machine.closing import DeadlinePassed
from functions._core.machine.context import Context
from functions._core.machine.flow import NothingHappened, TelemetryKept
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.tables import ENDED_TICKETS
from functions._core.planning.slack import slack_ms, slack_state
from functions._core.records.models import Flow, Phase, Reason, Ticket
from functions._core.records.policies import Sla
from functions._core.records.values import FlowStatus, Health, Outcome, SlackState, TicketStatus, Waiting
from functions._core.records.worker import Answer, Candidate, Refusal
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_ticket, make_worker, seconds

RULES = Rules()
NOW = T0 + seconds(43)


def executing(**changes: Any) -> Flow:
    """Return a flow whose tickets are being worked on."""
    base: dict[str, Any] = {
        "status": FlowStatus.EXECUTING,
        "tickets_generated": 3,
        "next_wakeup_at": T0 + timedelta(hours=4),
    }
    return make_flow(**base | changes)


def pending(waiting: Waiting, **changes: Any) -> Ticket:
    """Return a ticket that waits since `T0`."""
    base: dict[str, Any] = {"task_id": "t3", "description": "deploy api", "waiting": waiting, "waiting_since": T0}
    return make_ticket(executing(), **base | changes)


def assigned(**changes: Any) -> Ticket:
    """Return a ticket that worker-1 was given at `T0`."""
    base: dict[str, Any] = {
        "task_id": "t3",
        "description": "deploy api",
        "status": TicketStatus.ASSIGNED,
        "worker_id": "worker-1",
        "attempt": 1,
        "assigned_at": T0,
        "next_wakeup_at": T0 + RULES.redeliver,
    }
    return make_ticket(executing(), **base | changes)


def running(**changes: Any) -> Ticket:
    """Return a ticket that worker-1 has accepted at `T0` and is working on."""
    base: dict[str, Any] = {
        "status": TicketStatus.RUNNING,
        "acknowledged_at": T0,
        "started_at": T0,
        "next_wakeup_at": T0 + seconds(180),
    }
    return assigned(**base | changes)


def why(ticket: Ticket, now: Any = NOW, flow: Flow | None = None, **more: Any) -> Explanation:
    """Explain a ticket."""
    return explain_ticket(ticket, flow or executing(), now, RULES, **more)


def test_a_ticket_without_a_capable_worker_says_what_is_missing_since_when_and_until_when() -> None:
    ticket = pending(
        Waiting.WORKER,
        required_capabilities=["terraform"],
        refusals=[Refusal(worker_id="worker-1", reason="does not offer terraform")],
        next_wakeup_at=T0 + RULES.no_worker,
    )
    explained = why(ticket)
    assert explained.sentences == (
        "Ticket t3 (deploy api) waits for a worker that offers 'terraform': none is registered and alive.",
        "Since 12:00:00 UTC (43 s).",
        "Worker worker-1 was left out: does not offer terraform.",
        "To keep the SLA it has to start by 13:00:00 UTC (in 59 min 17 s).",
        (
            "If none registers by 12:10:00 UTC (in 9 min 17 s) it fails with no_worker, "
            "and what depends on it is cancelled."
        ),
    )
    assert (explained.kind, explained.subject, explained.status) == ("ticket", ticket.ticket_id, "PENDING")
    assert explained.waits_for == "a worker that offers 'terraform'"
    assert (explained.since, explained.next_wakeup_at) == (T0, T0 + RULES.no_worker)


def test_a_ticket_that_waits_for_others_names_those_that_are_open() -> None:
    flow = executing()
    others = [make_ticket(flow, 1, status=TicketStatus.COMPLETED), make_ticket(flow, 2)]
    ticket = pending(Waiting.DEPENDENCIES, dependencies=[other.ticket_id for other in others], open_dependencies=1)
    others = [other.but(dependants=(ticket.ticket_id,)) for other in others]
    assert why(ticket).waits_for == "1 of its 2 dependencies"
    assert why(ticket, upstream=others).waits_for == "1 of its 2 dependencies: task-2 (PENDING)"


@pytest.mark.parametrize(
    ("waiting", "waits_for", "then"),
    [
        (Waiting.DISCOVERY, "the search for a worker (C3)", "the search for a worker is started again"),
        (None, "the search for a worker (C3)", "the search for a worker is started again"),
        (Waiting.RETRY, "its next attempt", "a worker is looked for again"),
        (Waiting.SLOT, "a free slot of a worker", "the search for a worker is started again"),
    ],
)
def test_every_other_wait_of_a_pending_ticket_has_its_words(waiting: Waiting, waits_for: str, then: str) -> None:
    explained = why(pending(waiting, next_wakeup_at=NOW + seconds(5)))
    assert explained.waits_for == waits_for
    assert explained.then is not None
    assert then in explained.then


@pytest.mark.parametrize(
    ("waiting", "fate"), [(Waiting.SLOT, "FAILED with no_capacity"), (Waiting.DEPENDENCIES, "CANCELLED")]
)
def test_a_wait_until_the_deadline_of_the_flow_says_what_becomes_of_the_ticket(waiting: Waiting, fate: str) -> None:
    flow = executing()
    ticket = pending(waiting, dependencies=["x"], open_dependencies=1, next_wakeup_at=flow.sla_deadline)
    then = why(ticket).then
    assert then is not None
    assert "TIMED_OUT" in then
    assert fate in then
    ended = decided(flow, ticket, DeadlinePassed([ticket], {"PENDING": 1}), flow.sla_deadline)
    assert ended.status in fate
    assert ended.reason is not None
    assert ended.reason.code in {"no_capacity", "sla_timeout"}


def test_an_assignment_that_is_not_accepted_is_repeated_and_then_passed_on() -> None:
    early = why(assigned(), T0 + seconds(2))
    assert early.waits_for == "worker worker-1 to accept it"
    assert early.then == (
        "If worker worker-1 has not accepted it by 12:00:05 UTC (in 3 s), it is sent there again, "
        "until 12:00:30 UTC at most."
    )
    late = assigned(next_wakeup_at=T0 + RULES.unreachable)
    explained = why(late, T0 + seconds(26))
    assert explained.then == (
        "If worker worker-1 has not accepted it by 12:00:30 UTC (in 4 s), it is asked once more, "
        "then the ticket goes elsewhere."
    )
    silence = Delivered({late.ticket_id: (late.attempt, Answer(0))})
    passed_on = decided(executing(), late, silence, T0 + RULES.unreachable)
    assert (passed_on.status, passed_on.worker_id) == (TicketStatus.PENDING, None)


def test_a_running_ticket_says_who_works_on_it_how_far_and_what_comes_after_its_timeout() -> None:
    worker = make_worker(last_seen=NOW - seconds(70))
    explained = why(running(progress=40.0), workers=[worker])
    assert explained.headline == "Ticket t3 (deploy api) waits for worker worker-1 to report its end, 40 % done."
    assert "Worker worker-1 is DEGRADED, last heard of at 11:59:33 UTC (1 min 10 s)." in explained.details
    assert explained.then is not None
    assert explained.then.endswith("taken from worker worker-1 and tried again (retry 1 of 2).")
    retried = decided(executing(), running(), TicketOverdue(running().ticket_id), T0 + seconds(180))
    assert (retried.status, retried.retry_count) == (TicketStatus.PENDING, 1)


@pytest.mark.parametrize(
    ("changes", "flow", "because"),
    [
        ({"retry_count": 2, "attempt": 3}, {}, "no retry is left"),
        ({"idempotent": False}, {}, "it must not be done twice"),
        ({}, {"sla_deadline": T0 + seconds(180.5)}, "a retry would not fit into the SLA"),
    ],
)
def test_a_running_ticket_that_cannot_be_retried_says_why(
    changes: dict[str, Any], flow: dict[str, Any], because: str
) -> None:
    ticket = running(**changes)
    then = why(ticket, flow=executing(**flow)).then
    assert then is not None
    assert "fails with timed_out" in then
    assert because in then
    outcome = TicketOverdue(ticket.ticket_id, RelatedTickets(tally={"RUNNING": 1}))
    failed = decided(executing(**flow), ticket, outcome, T0 + seconds(180))
    assert (failed.status, failed.reason and failed.reason.code) == (TicketStatus.FAILED, "timed_out")


def test_earlier_attempts_and_their_end_are_told() -> None:
    ticket = pending(
        Waiting.RETRY,
        attempt=2,
        retry_count=1,
        reason=Reason(code="flaky", message="the\nnetwork broke"),
        next_wakeup_at=NOW + seconds(2),
    )
    details = why(ticket).details
    assert "The last attempt ended so: the?network broke (flaky)." in details
    assert "Attempts so far: 2; 1 of 2 retries used." in details


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({"status": TicketStatus.COMPLETED, "started_at": T0}, "was completed by worker worker-1 in 3.2 s."),
        ({"status": TicketStatus.FAILED}, "has failed: no disk (no_disk)."),
        ({"status": TicketStatus.CANCELLED}, "was cancelled: no disk (no_disk)."),
    ],
)
def test_an_ended_ticket_tells_its_end_and_waits_for_nothing(changes: dict[str, Any], headline: str) -> None:
    reason = None if "started_at" in changes else Reason(code="no_disk", message="no disk")
    ended_at = T0 + seconds(3.2)
    explained = why(assigned(completed_at=ended_at, reason=reason, next_wakeup_at=None, **changes))
    assert explained.headline == f"Ticket t3 (deploy api) {headline}"
    assert (explained.waits_for, explained.then, explained.since) == (None, None, ended_at)


def test_a_last_ticket_says_that_the_end_of_the_flow_is_looked_for() -> None:
    ended = assigned(status=TicketStatus.COMPLETED, completed_at=T0, next_wakeup_at=T0 + seconds(5))
    assert why(ended, T0 + seconds(1)).then == (
        "At 12:00:05 UTC (in 4 s) it is checked whether the whole flow has ended."
    )


# --- Slack ----------------------------------------------------------------------------------------------------


SLA = Sla(deadline=T0 + seconds(100), timeout_ms=60_000, max_retries=1)


@pytest.mark.parametrize(
    ("ticket", "at", "slack", "state"),
    [
        (pending(Waiting.SLOT, latest_start=T0 + seconds(60), sla=SLA), 10, 50_000, SlackState.ON_TRACK),
        (pending(Waiting.SLOT, latest_start=T0 + seconds(60), sla=SLA), 70, -10_000, SlackState.AT_RISK),
        (pending(Waiting.SLOT, latest_start=T0 + seconds(60), sla=SLA), 101, -41_000, SlackState.BREACHED),
        (running(sla=SLA), 70, 30_000, SlackState.ON_TRACK),
        (running(sla=SLA), 101, -1_000, SlackState.BREACHED),
        (
            assigned(status=TicketStatus.COMPLETED, completed_at=T0 + seconds(99), sla=SLA),
            500,
            None,
            SlackState.ON_TRACK,
        ),
        (
            assigned(status=TicketStatus.COMPLETED, completed_at=T0 + seconds(101), sla=SLA),
            500,
            None,
            SlackState.BREACHED,
        ),
        (assigned(status=TicketStatus.FAILED, completed_at=T0 + seconds(99), sla=SLA), 500, None, None),
        (assigned(status=TicketStatus.CANCELLED, completed_at=T0 + seconds(500), sla=SLA), 500, None, None),
    ],
)
def test_slack_is_the_time_left_to_start_or_to_finish(
    ticket: Ticket, at: int, slack: int | None, state: SlackState | None
) -> None:
    now = T0 + seconds(at)
    assert (slack_ms(ticket, now), slack_state(ticket, now)) == (slack, state)


def test_lateness_is_told() -> None:
    at_risk = pending(Waiting.SLOT, latest_start=T0 + seconds(3))
    assert "The SLA is at risk: it should have started by 12:00:03 UTC (40 s)." in why(at_risk).details
    late = running(sla=Sla(deadline=T0 + seconds(3), timeout_ms=60_000, max_retries=1))
    assert "It is late: its share of the SLA ended at 12:00:03 UTC (40 s)." in why(late).details


# --- Flows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "waits_for"),
    [(FlowStatus.VALIDATING, "C1 to check the decision"), (FlowStatus.GENERATING, "C2 to make the tickets")],
)
def test_a_flow_before_its_tickets_says_which_step_it_waits_for(status: FlowStatus, waits_for: str) -> None:
    flow = make_flow(status=status, next_wakeup_at=T0 + seconds(90))
    phase = Phase(status=status, entered_at=T0, emissions=1)
    explained = explain_flow(flow.but(phases=(phase,)), [], NOW, RULES)
    assert waits_for in explained.headline
    assert "Nothing has come of it so far; its event was sent again 1 time." in explained.details
    assert explained.then == "If nothing has happened by 12:01:30 UTC (in 47 s), the event is sent again."
    again = advance(Context(flow=flow, now=T0 + seconds(90), function="enforce_sla", cause="clock"), NothingHappened())
    assert len(again.events) == 1


def test_a_flow_at_work_counts_its_tickets_and_names_those_that_hold_it_up() -> None:
    flow = executing()
    done = make_ticket(flow, 1, status=TicketStatus.COMPLETED, completed_at=T0)
    stuck = make_ticket(
        flow, 2, waiting=Waiting.WORKER, waiting_since=T0, required_capabilities=["go"], latest_start=T0
    )
    after = make_ticket(flow, 3, waiting=Waiting.DEPENDENCIES, dependencies=[stuck.ticket_id], open_dependencies=1)
    explained = explain_flow(flow, [done, stuck, after], NOW, RULES)
    assert explained.sentences == (
        f"Flow {flow.flow_id} (plan plan-1) waits for 2 of its 3 tickets to end.",
        "Since 12:00:00 UTC (43 s).",
        "Tickets: 2 PENDING, 1 COMPLETED.",
        (
            "Ticket task-2 (Do task 2.) waits for a worker that offers 'go': none is registered and alive. "
            "Since 12:00:00 UTC (43 s)."
        ),
        "Behind schedule: task-2.",
        "The SLA of 4 h leaves 3 h 59 min.",
        (
            "If that has not happened by 16:00:00 UTC (in 3 h 59 min), "
            "the flow is TIMED_OUT and open tickets are cancelled."
        ),
    )


def test_the_oldest_five_waits_are_named_and_the_rest_is_counted() -> None:
    flow = executing(tickets_generated=8)
    tickets = [
        make_ticket(flow, number, waiting=Waiting.SLOT, waiting_since=T0 - seconds(number)) for number in range(1, 9)
    ]
    details = explain_flow(flow, tickets, NOW, RULES).details
    named = [detail for detail in details if detail.startswith("Ticket ")]
    assert [sentence.split(" ")[1] for sentence in named] == ["task-8", "task-7", "task-6", "task-5", "task-4"]
    assert "3 more tickets in the same position." in details


def test_a_tally_stands_for_the_tickets_that_are_not_given() -> None:
    flow = executing(tickets_generated=100)
    explained = explain_flow(flow, [make_ticket(flow, 1)], NOW, RULES, tally={"COMPLETED": 99, "PENDING": 1})
    assert explained.headline.endswith("waits for 1 of its 100 tickets to end.")
    assert "Tickets: 1 PENDING, 99 COMPLETED." in explained.details


def test_a_flow_whose_tickets_have_all_ended_says_so() -> None:
    flow = executing(tickets_generated=1)
    explained = explain_flow(flow, [], NOW, RULES, tally={"COMPLETED": 1})
    assert "no open tickets left" in explained.headline


def test_a_flow_that_waits_for_the_sink_says_how_it_will_end() -> None:
    flow = make_flow(
        status=FlowStatus.PUBLISHING,
        outcome=Outcome.FAILED,
        reasons=[Reason(code="ticket_failed", message="1 of 3 tickets failed")],
        next_wakeup_at=T0 + RULES.sink,
    )
    failed = assigned(status=TicketStatus.FAILED, completed_at=T0, reason=Reason(code="no_disk", message="full"))
    explained = explain_flow(flow, [failed], NOW, RULES, tally={"FAILED": 1})
    assert "has the outcome FAILED and waits for its telemetry" in explained.headline
    assert "Reason: 1 of 3 tickets failed (ticket_failed)." in explained.details
    assert "Ticket t3 (deploy api) has failed: full (no_disk)." in explained.details
    assert explained.then is not None
    assert "kept in the buffer and the flow ends" in explained.then
    context = Context(flow=flow, now=T0 + RULES.sink, function="enforce_sla", cause="clock")
    ended = advance(context, TelemetryKept(())).flow
    assert ended is not None
    assert ended.status is FlowStatus.FAILED


def test_an_ended_flow_tells_its_outcome_how_long_it_took_and_how_late_it_was() -> None:
    flow = make_flow(
        status=FlowStatus.TIMED_OUT,
        outcome=Outcome.TIMED_OUT,
        reasons=[Reason(code="sla_timeout", message="too late")],
        sla_deadline=T0 + seconds(60),
        ended_at=T0 + seconds(61.5),
        telemetry_published=False,
        next_wakeup_at=None,
        tally={"CANCELLED": 2},
    )
    explained = explain_flow(flow, [], NOW + timedelta(days=1), RULES, tally=flow.tally)
    assert explained.sentences == (
        f"Flow {flow.flow_id} (plan plan-1) has ended as TIMED_OUT after 1 min 1 s.",
        "Tickets: 2 CANCELLED.",
        "Reason: too late (sla_timeout).",
        "It ended 1.5 s after its deadline.",
        f"`flowc what-changed {flow.flow_id}` tells the likeliest causes.",
        "Its telemetry waits in the buffer and is sent when the sink takes it.",
    )
    assert (explained.waits_for, explained.since, explained.then) == (None, flow.ended_at, None)


@pytest.mark.parametrize("status", FlowStatus)
def test_every_status_of_a_flow_can_be_explained(status: FlowStatus) -> None:
    ended = status.value in {outcome.value for outcome in Outcome}
    outcome = Outcome(status.value) if ended else Outcome.COMPLETED if status is FlowStatus.PUBLISHING else None
    flow = make_flow(status=status, outcome=outcome, ended_at=T0 if ended else None)
    explained = explain_flow(flow, [], NOW, RULES)
    assert (explained.waits_for is None) == ended
    assert all(sentence.endswith(".") for sentence in explained.sentences)


@pytest.mark.parametrize("status", TicketStatus)
@pytest.mark.parametrize("waiting", [*Waiting, None])
@pytest.mark.parametrize("late", [timedelta(0), timedelta(hours=5)])
def test_every_status_of_a_ticket_can_be_explained_in_time_and_too_late(
    status: TicketStatus, waiting: Waiting | None, late: timedelta
) -> None:
    candidate = Candidate(
        worker_id="worker-1", score=1, health_score=1, pheromone_score=1, telemetry_score=1, active=0, slots=1
    )
    ticket = make_ticket(executing(), status=status, waiting=waiting, worker_id="worker-1", candidates=[candidate])
    explained = why(ticket, NOW + late, workers=[make_worker(reported=Health.DEGRADED)])
    assert (explained.waits_for is None) == (status in ENDED_TICKETS)
    assert all(sentence.endswith(".") for sentence in explained.sentences)


# --- Words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0.04, "0 s"),
        (0.35, "0.3 s"),
        (9.99, "9.9 s"),
        (43, "43 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (557, "9 min 17 s"),
        (3_599, "59 min 59 s"),
        (14_340, "3 h 59 min"),
        (86_400, "1 d"),
        (93_600, "1 d 2 h"),
        (-43, "43 s"),
    ],
)
def test_durations_are_told_in_their_two_largest_units(duration: float, text: str) -> None:
    assert span(seconds(duration)) == text


def test_moments_carry_their_date_only_when_it_is_not_today() -> None:
    assert clock_time(T0, NOW) == "12:00:00 UTC"
    assert clock_time(T0, NOW + timedelta(days=1)) == "2025-03-01 12:00:00 UTC"
    assert ahead(T0, NOW) == "12:00:00 UTC (due now)"


def test_lists_end_with_and_and_long_ones_are_cut() -> None:
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert (counted(1, "retry", "retries"), counted(2, "retry", "retries")) == ("1 retry", "2 retries")


def decided(flow: Flow, ticket: Ticket, outcome: AnyOutcome, now: Any) -> Ticket:
    """Return the ticket after `outcome`: what an explanation has promised."""
    context = Context(
        flow=flow, now=now, function="enforce_sla", cause="clock", tickets={ticket.ticket_id: ticket}, rules=RULES
    )
    changed = {one.ticket_id: one for one in advance(context, outcome).tickets}
    return changed[ticket.ticket_id]
