"""Waits for people, undoing, slack and leases are explained in the words of the rules that decide them."""

from datetime import timedelta
from typing import Any

import pytest

from functions._core.decision.checks import IMPOSSIBLE
from functions._core.explain.flow import Explanation, explain_flow, explain_ticket
from functions._core.machine.advance import advance
from functions._core.machine.assignment import Delivered
from functions._core.machine.closing import AtRisk, NobodyDecided
from functions._core.machine.compensation import CompensationOverdue
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.overdue import TicketOverdue
from functions._core.machine.pausing import PauseOver
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.planning.slack import at_risk_from
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Phase, Reason, Ticket
from functions._core.records.policies import Sla
from functions._core.records.values import FlowStatus, Outcome, SlackState, TaskType, TicketStatus, Waiting
from functions._core.records.worker import Answer, Refusal
from functions._core.rules import Rules
from tests.support.builders import T0, make_flow, make_history, make_ticket, make_worker, seconds

RULES = Rules()
NOW = T0 + seconds(40)
DAY = timedelta(hours=24)


def flow_in(status: FlowStatus, **changes: Any) -> Flow:
    """Return a flow with three tickets that came to `status` at `T0`."""
    return make_flow(**{"status": status, "tickets_generated": 3, **changes})


def running(flow: Flow, **changes: Any) -> Ticket:
    """Return a ticket that worker w has accepted at `T0`."""
    base = {"status": TicketStatus.RUNNING, "worker_id": "w", "attempt": 1, "acknowledged_at": T0, "started_at": T0}
    return make_ticket(flow, **{**base, "until": T0 + seconds(180), "next_wakeup_at": T0 + seconds(180), **changes})


def compensation(flow: Flow, **changes: Any) -> Ticket:
    """Return the ticket that undoes task build."""
    base = {
        "task_id": "compensate:build",
        "task_type": TaskType.COMPENSATE,
        "description": "",
        "compensates": "t-build",
        "parameters": {"action": "x", "compensates": {"ticket_id": "t-build", "task_id": "build"}},
    }
    return make_ticket(flow, 9, **{**base, **changes})


def then(explained: Explanation) -> str:
    assert explained.then is not None
    return explained.then


def after(flow: Flow, outcome: AnyOutcome, now: Any, *tickets: Ticket) -> ChangeSet:
    """Return what `enforce_sla` does then."""
    by_id = {ticket.ticket_id: ticket for ticket in tickets}
    return advance(
        Context(flow=flow, now=now, function="enforce_sla", cause="clock", tickets=by_id, rules=RULES), outcome
    )


# --- People ---------------------------------------------------------------------------------------------------


def test_a_flow_that_awaits_approval_says_why_until_when_what_then_and_how_to_approve() -> None:
    why = Reason(code="approval_required", message="the plan is destructive")
    flow = flow_in(FlowStatus.AWAITING_APPROVAL, reasons=(why,), next_wakeup_at=T0 + DAY)
    explained = explain_flow(flow, [], NOW, RULES)
    assert explained.sentences == (
        f"Flow {flow.flow_id} (plan plan-1) waits for a person to approve it.",
        "Since 12:00:00 UTC (40 s).",
        f"Nothing is done before. Approve it with `flowc approve {flow.flow_id}`, or `flowc deny {flow.flow_id}`.",
        "Reason: the plan is destructive (approval_required).",
        "Its SLA leaves 4 h once it goes on; until then that time does not run.",
        "If nobody has approved it by 2025-03-02 12:00:00 UTC (in 23 h 59 min), it ends as REJECTED.",
    )
    ended = after(flow, NobodyDecided(), T0 + DAY).flow
    assert ended is not None
    assert ended.outcome is Outcome.REJECTED


def test_a_deadline_given_as_a_moment_comes_before_the_end_of_a_wait_for_approval() -> None:
    limit = T0 + timedelta(hours=1)
    flow = flow_in(FlowStatus.AWAITING_APPROVAL, sla_deadline=limit, sla_limit=limit, next_wakeup_at=limit)
    explained = explain_flow(flow, [], NOW, RULES)
    assert "TIMED_OUT" in then(explained)
    assert "The SLA of 1 h leaves 59 min 20 s." in explained.details


def test_a_paused_flow_says_who_paused_it_why_what_still_runs_and_when_it_goes_on() -> None:
    flow = flow_in(FlowStatus.PAUSED, back=FlowStatus.EXECUTING, next_wakeup_at=T0 + DAY)
    paused = make_history(flow, type="flow.paused", detail={"requested_by": "ada", "reason": "the vendor is down"})
    waiting = make_ticket(flow, 2, waiting=Waiting.RESUME, waiting_since=T0, next_wakeup_at=T0 + DAY)
    explained = explain_flow(flow, [running(flow), waiting], NOW, RULES, history=[paused])
    assert explained.headline == f"Flow {flow.flow_id} (plan plan-1) is paused and waits for a person to resume it."
    assert explained.details[1:4] == (
        "Paused by ada: the vendor is down.",
        "1 ticket with workers goes on; nothing more is handed out.",
        f"Let it go on with `flowc resume {flow.flow_id}`.",
    )
    assert then(explained) == (
        "If nobody resumes it before, it goes on by itself at 2025-03-02 12:00:00 UTC (in 23 h 59 min)."
    )
    of_ticket = explain_ticket(waiting, flow, NOW, RULES)
    assert of_ticket.waits_for == "its paused flow to go on"
    assert then(of_ticket).startswith("If nobody resumes the flow before, it goes on by itself at 2025-03-02")
    step = after(flow, PauseOver([waiting], {"PENDING": 1}), T0 + DAY, waiting)
    assert step.flow is not None
    assert step.flow.status is FlowStatus.EXECUTING
    assert step.tickets[0].waiting is Waiting.DISCOVERY


# --- Undoing --------------------------------------------------------------------------------------------------


def test_a_flow_that_undoes_its_work_says_how_much_what_could_not_be_undone_and_until_when() -> None:
    limit = T0 + RULES.compensation
    flow = flow_in(FlowStatus.COMPENSATING, outcome=Outcome.FAILED, compensations=2, next_wakeup_at=limit)
    stands = make_ticket(
        flow,
        1,
        status=TicketStatus.FAILED,
        reason=Reason(code="not_compensated", message="its work stands: no disk"),
        completed_at=T0,
    )
    undoing = compensation(flow, waiting=Waiting.WORKER, waiting_since=T0, next_wakeup_at=limit)
    explained = explain_flow(flow, [stands, undoing], NOW, RULES, tally={"COMPENSATED": 1, "FAILED": 1})
    assert explained.headline.endswith(
        "the outcome FAILED and waits for its work to be undone: 1 of 2 tickets undone so far."
    )
    assert (
        "Ticket task-1 (Do task 1.) was completed, but could not be undone: its work stands: no disk (not_compensated)."
        in explained.details
    )
    assert any(detail.startswith("Ticket compensate:build waits for a worker") for detail in explained.details)
    assert then(explained) == (
        "If that has not happened by 13:00:00 UTC (in 59 min 20 s), undoing is given up, and what is not undone stands."
    )
    given_up = after(flow, CompensationOverdue([undoing], {"FAILED": 1}, {}), limit).flow
    assert given_up is not None
    assert given_up.status is FlowStatus.PUBLISHING


def test_a_ticket_that_is_being_undone_names_what_undoes_it_and_the_other_way_round() -> None:
    flow = flow_in(FlowStatus.COMPENSATING, outcome=Outcome.CANCELLED, compensations=1)
    undoing = compensation(flow, status=TicketStatus.RUNNING, worker_id="w", attempt=1, acknowledged_at=T0)
    done = make_ticket(
        flow, 1, status=TicketStatus.COMPENSATING, compensation_ticket_id=undoing.ticket_id, next_wakeup_at=None
    )
    explained = explain_ticket(done, flow, NOW, RULES, upstream=[undoing])
    assert explained.waits_for == "its compensation compensate:build (RUNNING)"
    assert f"Its compensation is ticket {undoing.ticket_id}." in explained.details
    assert then(explained).endswith("its work stands and it is FAILED.")
    assert (
        "It undoes the work of build (ticket t-build), because the flow's outcome is CANCELLED."
        in explain_ticket(undoing, flow, NOW, RULES).details
    )
    undone = done.but(status=TicketStatus.COMPENSATED, worker_id="w", completed_at=T0, started_at=T0)
    assert explain_ticket(undone, flow, NOW, RULES).headline.endswith("by worker w in 0 s, and has been undone since.")


def test_a_compensation_that_fails_leaves_the_work_standing() -> None:
    flow = flow_in(FlowStatus.COMPENSATING, outcome=Outcome.FAILED, compensations=1)
    last = compensation(
        flow,
        status=TicketStatus.RUNNING,
        worker_id="w",
        attempt=3,
        retry_count=2,
        acknowledged_at=T0,
        next_wakeup_at=T0 + seconds(180),
    )
    assert then(explain_ticket(last, flow, NOW, RULES)).endswith(
        "because no retry is left (2 of 2 are used); what it should undo stands."
    )


def test_a_skipped_ticket_says_who_skipped_it() -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    why = Reason(code="skipped", message="skipped by ada: done by hand")
    skipped = make_ticket(
        flow, status=TicketStatus.COMPLETED, skipped=True, reason=why, completed_at=T0, next_wakeup_at=None
    )
    assert explain_ticket(skipped, flow, NOW, RULES).headline == (
        "Ticket task-1 (Do task 1.) was not done but counts as done: skipped by ada: done by hand (skipped)."
    )


# --- Slack ----------------------------------------------------------------------------------------------------


def test_an_impossible_deadline_is_told_with_its_longest_path() -> None:
    path = Reason(code=IMPOSSIBLE, message=f"the longest path takes 90 ms of 60 ms: {'a-long-name → ' * 12}end")
    flow = flow_in(FlowStatus.EXECUTING, warnings=(path,), announced=SlackState.AT_RISK)
    details = explain_flow(flow, [], NOW, RULES).details
    assert f"Warning: {path.message} ({IMPOSSIBLE})." in details
    assert "It is at risk of missing its SLA: by its estimates it could not be met from the start." in details


def test_a_flow_at_risk_says_what_put_it_there() -> None:
    flow = flow_in(FlowStatus.EXECUTING, announced=SlackState.AT_RISK)
    why = {"code": "no_slack", "message": "task build cannot be done in time any more"}
    entry: HistoryEntry = make_history(flow, type="sla.at_risk", detail={"reason": why})
    told = explain_flow(flow, [], NOW, RULES, history=[entry]).details
    assert "It is at risk of missing its SLA: task build cannot be done in time any more (no_slack)." in told
    late = explain_flow(flow, [], at_risk_from(flow, RULES), RULES).details
    assert "It is at risk of missing its SLA: 80% of its time is used up." in late


def test_a_flow_says_when_it_will_be_announced_as_at_risk() -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    flow = flow.but(next_wakeup_at=at_risk_from(flow, RULES))
    assert then(explain_flow(flow, [make_ticket(flow)], NOW, RULES)) == (
        "If that has not happened by 15:12:00 UTC (in 3 h 11 min), the flow is announced as at risk. "
        "If that has not happened by 16:00:00 UTC (in 3 h 59 min), the flow is TIMED_OUT "
        "and open tickets are cancelled."
    )
    announced = after(flow, AtRisk(), at_risk_from(flow, RULES)).flow
    assert announced is not None
    assert announced.announced is SlackState.AT_RISK


def test_a_ticket_says_when_it_will_be_announced_as_at_risk_and_what_comes_after() -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    start = T0 + seconds(100)
    ticket = make_ticket(
        flow,
        waiting=Waiting.WORKER,
        waiting_since=T0,
        latest_start=start,
        until=T0 + RULES.no_worker,
        next_wakeup_at=start,
    )
    assert then(explain_ticket(ticket, flow, NOW, RULES)) == (
        "If it is not started by 12:01:40 UTC (in 1 min), it is announced as at risk. If none registers by "
        "12:10:00 UTC (in 9 min 20 s) it fails with no_worker, and what depends on it is cancelled."
    )
    [changed] = after(flow, TicketOverdue(ticket.ticket_id, capable=True), start, ticket).tickets
    assert (changed.announced, changed.status) == (SlackState.AT_RISK, TicketStatus.PENDING)


def test_what_cannot_be_done_in_time_is_told_in_numbers() -> None:
    flow = flow_in(FlowStatus.EXECUTING, sla_deadline=T0 + seconds(100))
    ticket = make_ticket(
        flow, waiting=Waiting.SLOT, waiting_since=T0, latest_start=T0 + seconds(30), tail_ms=5_000, dependants=["x"]
    )
    assert (
        "It and what depends on it need 1 min 5 s by estimate, 1 min are left: that does not fit."
        in explain_ticket(ticket, flow, NOW, RULES).details
    )


# --- No other attempt -----------------------------------------------------------------------------------------


def test_a_retry_that_does_not_fit_is_told_with_what_it_needs_and_what_is_left() -> None:
    flow = flow_in(FlowStatus.EXECUTING, sla_deadline=T0 + seconds(200))
    ticket = running(flow, retry={"jitter": 0})
    assert then(explain_ticket(ticket, flow, NOW, RULES)).endswith(
        "it fails with timed_out, because a retry would not fit into the SLA: it needs 1 min by estimate, "
        "19 s would be left; what depends on it is cancelled."
    )
    around = RelatedTickets(tally={"RUNNING": 1})
    [failed] = after(flow, TicketOverdue(ticket.ticket_id, around), T0 + seconds(180), ticket).tickets
    told = explain_ticket(failed, flow, NOW + seconds(300), RULES).details
    assert any(sentence.startswith("It was not tried again: a retry would not fit into the SLA") for sentence in told)


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"idempotent": False}, "it must not be done twice (it is not idempotent)"),
        ({"retry_count": 2}, "no retry is left (2 of 2 are used)"),
        ({"retry": {"non_retryable": ["no_disk"]}}, "its task does not allow a retry after no_disk"),
    ],
)
def test_a_ticket_that_failed_says_why_it_was_not_tried_again(changes: dict[str, Any], because: str) -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    why = Reason(code="no_disk", message="the disk is full")
    ticket = running(flow, status=TicketStatus.FAILED, reason=why, completed_at=NOW, next_wakeup_at=None, **changes)
    assert f"It was not tried again: {because}." in explain_ticket(ticket, flow, NOW, RULES).details


def test_a_lease_is_told_and_losing_it_ends_the_attempt() -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    ticket = running(flow, heartbeat_timeout_ms=2_000, until=NOW + seconds(2), next_wakeup_at=NOW + seconds(2))
    explained = explain_ticket(ticket, flow, NOW, RULES)
    assert "Its worker has to say at least every 2 s that it is still at it (heartbeat lease)." in explained.details
    assert then(explained) == (
        "If nothing is heard of it by 12:00:42 UTC (in 2 s), it is taken from worker w and tried again (retry 1 of 2)."
    )
    [retried] = after(flow, TicketOverdue(ticket.ticket_id), NOW + seconds(2), ticket).tickets
    assert retried.reason is not None
    assert (retried.waiting, retried.reason.code) == (Waiting.RETRY, "heartbeat_lost")


def test_a_platform_that_has_just_come_up_says_that_it_gives_workers_time_to_be_heard() -> None:
    flow, up_since = flow_in(FlowStatus.EXECUTING), NOW - seconds(1)
    ticket = running(flow, heartbeat_timeout_ms=2_000, until=NOW + seconds(2), next_wakeup_at=NOW + seconds(2))
    explained = explain_ticket(ticket, flow, NOW, RULES, up_since=up_since)
    assert then(explained).startswith("If nothing is heard of it by 12:00:54 UTC (in 14 s), it is taken")
    context = Context(
        flow=flow,
        now=NOW + seconds(2),
        function="enforce_sla",
        cause="clock",
        tickets={ticket.ticket_id: ticket},
        rules=RULES,
        up_since=up_since,
    )
    [kept] = advance(context, TicketOverdue(ticket.ticket_id)).tickets
    assert (kept.status, kept.next_wakeup_at) == (TicketStatus.RUNNING, up_since + RULES.grace)


def test_a_ticket_that_has_to_get_a_worker_soon_says_what_happens_if_it_does_not() -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    limit = T0 + seconds(60)
    ticket = make_ticket(
        flow,
        waiting=Waiting.SLOT,
        waiting_since=T0,
        ready_at=T0,
        schedule_to_start_ms=60_000,
        until=limit,
        next_wakeup_at=limit,
    )
    explained = explain_ticket(ticket, flow, NOW, RULES)
    assert "Its task wants a worker to have it by 12:01:00 UTC (in 20 s)." in explained.details
    assert then(explained).startswith(
        "If no worker has taken it by 12:01:00 UTC (in 20 s) it fails with schedule_to_start"
    )
    around = RelatedTickets(tally={"PENDING": 1})
    [failed] = after(flow, TicketOverdue(ticket.ticket_id, around), limit, ticket).tickets
    assert failed.reason is not None
    assert failed.reason.code == "schedule_to_start"


ELSEWHERE = "the ticket goes elsewhere, unless worker w may have begun it: then it fails with worker_unreachable, as "
BEGUN = "it fails with worker_unreachable, as worker w may have begun it and "
TOO_LATE = "another attempt would not fit into the SLA: it needs 1 min by estimate, 50 s would be left"


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({}, f"{ELSEWHERE}{TOO_LATE}"),
        ({"idempotent": False}, f"{ELSEWHERE}it must not be done twice (it is not idempotent)"),
        (
            {"idempotent": False, "perhaps_begun": True},
            f"{BEGUN}it must not be done twice (it is not idempotent)",
        ),
        (
            {"perhaps_begun": True},
            f"{BEGUN}{TOO_LATE}",
        ),
    ],
)
def test_a_ticket_that_is_not_accepted_and_cannot_be_done_by_another_worker_fails_only_if_it_may_have_been_begun(
    changes: dict[str, Any], fate: str
) -> None:
    flow = flow_in(FlowStatus.EXECUTING, sla_deadline=T0 + seconds(80))
    ticket = make_ticket(
        flow,
        status=TicketStatus.ASSIGNED,
        worker_id="w",
        attempt=1,
        assigned_at=T0,
        next_wakeup_at=T0 + seconds(5),
        sla=Sla(deadline=T0 + seconds(80), timeout_ms=60_000, max_retries=2),
        **changes,
    )
    assert then(explain_ticket(ticket, flow, T0 + seconds(1), RULES)) == (
        "If worker w has not accepted it by 12:00:05 UTC (in 4 s), it is sent there again, until 12:00:30 UTC at most; "
        f"after that {fate}."
    )
    late = ticket.but(next_wakeup_at=T0 + RULES.unreachable)
    assert then(explain_ticket(late, flow, T0 + seconds(26), RULES)).endswith(f"it is asked once more, then {fate}.")
    for reached in (False, True):
        around = {ticket.ticket_id: RelatedTickets(tally={"ASSIGNED": 1})}
        silence = Delivered({ticket.ticket_id: (1, Answer(0, reached=reached))}, around)
        [ended] = after(flow, silence, T0 + RULES.unreachable, late).tickets
        begun = reached or late.perhaps_begun
        assert ended.status is (TicketStatus.FAILED if begun else TicketStatus.PENDING)
        assert ended.reason is not None
        assert ended.reason.code == "worker_unreachable"
        assert not any("not tried again" in told for told in explain_ticket(ended, flow, NOW, RULES).details)


def test_workers_left_out_for_the_same_reason_are_named_together() -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    refusals = [Refusal(worker_id=name, reason="all 4 slots are taken") for name in ("w1", "w2", "w3")]
    ticket = make_ticket(flow, waiting=Waiting.SLOT, waiting_since=T0, refusals=refusals)
    assert (
        "Workers w1, w2 and w3 were left out: all 4 slots are taken."
        in explain_ticket(ticket, flow, NOW, RULES).details
    )


def test_a_ticket_behind_a_circuit_breaker_names_it_and_until_when_it_is_closed() -> None:
    flow = flow_in(FlowStatus.EXECUTING)
    ticket = make_ticket(flow, waiting=Waiting.SLOT, waiting_since=T0)
    base = {"last_seen": NOW, "capabilities": ticket.required_capabilities, "failures": 5}
    open_one = make_worker(1, **base, suspended_until=NOW + seconds(30))
    half_open = make_worker(2, **base, suspended_until=T0, trial="t/1", trial_until=NOW + seconds(9))
    unfit = make_worker(3, **{**base, "last_seen": T0 - DAY}, suspended_until=NOW + seconds(30))
    one = "none can take it now, as the circuit breaker of worker worker-1 is open until 12:01:10 UTC (in 30 s)."
    for told in (
        explain_ticket(ticket, flow, NOW, RULES, workers=[open_one, unfit]).headline,
        "\n".join(explain_flow(flow, [ticket], NOW, RULES, workers=[open_one, unfit]).details),
    ):
        assert one in told
        assert "worker-3" not in told
    told = explain_ticket(ticket, flow, NOW, RULES, workers=[open_one, half_open]).headline
    assert told.endswith(
        "(in 30 s) and the circuit breaker of worker worker-2 is half-open and tries another attempt until "
        "12:00:49 UTC (in 9 s) at most."
    )


def test_a_step_that_was_sent_again_is_not_told_of_a_flow_that_has_ended() -> None:
    phase = Phase(status=FlowStatus.FAILED, entered_at=T0, emissions=2)
    flow = flow_in(FlowStatus.FAILED, outcome=Outcome.FAILED, ended_at=T0, phases=(phase,), next_wakeup_at=None)
    assert not any("sent again" in sentence for sentence in explain_flow(flow, [], NOW, RULES).sentences)
