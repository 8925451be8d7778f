"""The effect of a ticket's next wake-up, and why a ticket is not tried again: the rules of `enforce_sla` in words."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from functions._core.explain.control import then_awaited
from functions._core.explain.hedges import then_hedged
from functions._core.explain.wording import ahead, clock_time, plain, span, undone_task
from functions._core.machine.assignment import pulls
from functions._core.machine.ending import may_retry
from functions._core.machine.overdue import too_late_to_start
from functions._core.planning.slack import fits, limit_of, needed
from functions._core.records.attempts import other_of
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Waiting, add_time, time_span
from functions._core.rules import Rules, retry_after


def then_of_ticket(
    ticket: Ticket, flow: Flow, now: datetime, rules: Rules, up_since: datetime | None = None
) -> str | None:
    """Return the effect of the ticket's next wake-up, and of the one after it when the next only looks at its slack.

    A platform that came up at `up_since` gives workers time to repeat the reports that it missed.
    """
    due = ticket.next_wakeup_at
    if ticket.status is TicketStatus.COMPENSATING:
        return "If its compensation fails, or undoing takes too long, its work stands and it is FAILED."
    if due is None:
        return None
    if not ticket.live:
        return f"At {ahead(due, now)} it is checked whether the whole flow has ended."
    if (other := other_of(ticket)) is not None:
        return then_hedged(ticket, other, now)
    until = ticket.until or due
    if flow.status is FlowStatus.PAUSED and ticket.status is TicketStatus.PENDING:
        return _then_paused(flow, due, now)
    looked_at = f"{_then_slack(ticket, due, now)} " if due < until and not flow.sla_paused else ""
    if ticket.acknowledged_at is not None and up_since is not None:
        until = max(until, up_since + rules.grace)
    return looked_at + _then_waited_out(ticket, flow, until, now, rules)


def no_retry(ticket: Ticket, flow: Flow, moment: datetime, rules: Rules) -> str | None:
    """Return why the ticket gets no further attempt when the present one ends at `moment`; None when it gets one."""
    if may_retry(ticket, flow, moment, rules):
        return None
    if not ticket.idempotent:
        return NOT_TWICE
    if ticket.retry_count >= ticket.sla.max_retries:
        return f"no retry is left ({ticket.retry_count} of {ticket.sla.max_retries} are used)"
    start = add_time(moment, retry_after(ticket.retry, ticket.ticket_id, ticket.retry_count))
    return f"a retry would not fit into {_time(ticket)}: {_shortage(ticket, flow, start, rules)}"


def why_not_again(ticket: Ticket, flow: Flow, rules: Rules) -> str | None:
    """Return why a ticket that failed was not tried again, as far as the records tell."""
    ended, code = ticket.completed_at, ticket.reason.code if ticket.reason else ""
    if ended is None or not ticket.attempt or code in SAYS_ALL:
        return None
    if code in ticket.retry.non_retryable:
        return f"its task does not allow a retry after {plain(code)}"
    if ticket.compensates is None:
        flow = flow.but(status=FlowStatus.EXECUTING)  # as it was then
    elif flow.status is not FlowStatus.COMPENSATING:
        return None
    return no_retry(ticket, flow, ended, rules)


NOT_TWICE = "it must not be done twice (it is not idempotent)"
"""Why a task that is not idempotent gets no further attempt."""

NOT_OF_AN_ATTEMPT = frozenset(
    {
        "no_worker",
        "no_capacity",
        "schedule_to_start",
        "not_compensated",
        "policy_denied",
        "quarantine_rejected",
        "quarantine_expired",
    }
)
"""Codes of failures with which no attempt ended."""

NOT_PASSED_ON = frozenset({"worker_busy", "worker_refused", "worker_suspended", "worker_unreachable", "worker_lost"})
"""Codes of failures of a delivery; their reasons say why no other worker got the ticket."""

SAYS_ALL = NOT_OF_AN_ATTEMPT | NOT_PASSED_ON
"""Failures of which the reason says all: no attempt ended with them, or it says why no other worker got the ticket."""


def _then_paused(flow: Flow, due: datetime, now: datetime) -> str:
    due = flow.next_wakeup_at or due
    if flow.deadline is not None and due >= flow.deadline:
        return f"If the flow is not resumed by {ahead(due, now)}, its deadline, it is TIMED_OUT and this is CANCELLED."
    return f"If nobody resumes the flow before, it goes on by itself at {ahead(due, now)}, and this with it."


def _then_slack(ticket: Ticket, due: datetime, now: datetime) -> str:
    if ticket.status is TicketStatus.PENDING and ticket.announced is SlackState.ON_TRACK:
        return f"If it is not started by {ahead(due, now)}, it is announced as at risk."
    return f"If it is not done by {ahead(due, now)}, its share of the SLA is announced as violated."


def _then_waited_out(ticket: Ticket, flow: Flow, until: datetime, now: datetime, rules: Rules) -> str:
    limit, moment = limit_of(flow, rules), max(until, now)
    if limit is not None and moment >= limit:
        return _then_too_late(ticket, flow, limit, now)
    if ticket.status is TicketStatus.PENDING:
        return _then_pending(ticket, until, now)
    if ticket.status is TicketStatus.WAITING:
        return then_awaited(ticket, until, now, _after(ticket))
    if ticket.acknowledged_at is None:
        return _then_not_accepted(ticket, flow, until, now, rules)
    return _then_not_ended(ticket, flow, until, now, rules)


def _then_too_late(ticket: Ticket, flow: Flow, limit: datetime, now: datetime) -> str:
    fate = "FAILED with no_capacity" if ticket.waiting is Waiting.SLOT else "CANCELLED"
    by = ahead(limit, now)
    if flow.status is FlowStatus.COMPENSATING:
        return f"If nothing changes by {by}, undoing is given up: this is {fate}{_stands(ticket)}."
    return f"If nothing changes by {by}, the flow's deadline, the flow is TIMED_OUT and this is {fate}."


LOOKED_AT_AGAIN: Mapping[Waiting | None, str] = {
    Waiting.FREEZE: "goes on when no freeze holds it back any more",
    Waiting.TURN: "begins when another child of the same list ends",
}
"""What lets a ticket go on that is only looked at when its wait is over, as the end of a sentence."""


WAITED_OUT: Mapping[Waiting | None, str] = {
    Waiting.RETRY: "At {by} a worker is looked for again.",
    Waiting.QUARANTINE: "If nobody has released or rejected it by {by} it fails with quarantine_expired.",
}
"""The end of a wait that is the same whatever else is known of the ticket."""


def _then_pending(ticket: Ticket, due: datetime, now: datetime) -> str:
    by = ahead(due, now)
    if too_late_to_start(ticket, max(due, now)):
        allowed = span(time_span(ticket.schedule_to_start_ms or 0))
        return (
            f"If no worker has taken it by {by} it fails with schedule_to_start, as its task allows {allowed} for that"
            f"{_after(ticket)}."
        )
    if ticket.waiting is Waiting.WORKER:
        return f"If none registers by {by} it fails with no_worker{_after(ticket, ', and ')}."
    if ticket.waiting in WAITED_OUT:
        return WAITED_OUT[ticket.waiting].format(by=by)
    if ticket.waiting in LOOKED_AT_AGAIN:
        return f"At {by} it is looked at again; it {LOOKED_AT_AGAIN[ticket.waiting]}."
    if ticket.open_dependencies:
        return f"At {by} it is looked at again; should a dependency fail, it is cancelled."
    return f"If nothing has happened by {by}, the search for a worker is started again."


def _then_not_accepted(ticket: Ticket, flow: Flow, due: datetime, now: datetime, rules: Rules) -> str:
    by, worker = ahead(due, now), ticket.worker_id
    if pulls(ticket):
        return f"If worker {worker} has not asked for it by {by}, the ticket goes elsewhere."
    patience = add_time(ticket.assigned_at or now, rules.unreachable)
    moment = max(due, now, patience)
    why = _no_other(ticket, flow, moment, rules)
    fate = "the ticket goes elsewhere"
    if why is not None and ticket.perhaps_begun:
        fate = f"it fails with worker_unreachable, as worker {worker} may have begun it and {why}"
    elif why is not None:
        fate += f", unless worker {worker} may have begun it: then it fails with worker_unreachable, as {why}"
    if max(due, now) >= patience:
        return f"If worker {worker} has not accepted it by {by}, it is asked once more, then {fate}."
    until = clock_time(patience, now)
    after = f"; after that {fate}" if why is not None else ""
    return f"If worker {worker} has not accepted it by {by}, it is sent there again, until {until} at most{after}."


def _no_other(ticket: Ticket, flow: Flow, moment: datetime, rules: Rules) -> str | None:
    """Return why the ticket is given to no other worker at `moment` if the present one may have begun it."""
    if not ticket.idempotent:
        return NOT_TWICE
    if fits(ticket, flow, moment, rules):
        return None
    return f"another attempt would not fit into {_time(ticket)}: {_shortage(ticket, flow, moment, rules)}"


def _then_not_ended(ticket: Ticket, flow: Flow, due: datetime, now: datetime, rules: Rules) -> str:
    lost = ticket.acknowledged_at is not None and max(due, now) < add_time(ticket.acknowledged_at, ticket.timeout)
    code, missing = ("heartbeat_lost", "nothing is heard of it") if lost else ("timed_out", "no end is reported")
    by = ahead(due, now)
    why = no_retry(ticket, flow, max(due, now), rules)
    if why is None:
        number = f"retry {ticket.retry_count + 1} of {ticket.sla.max_retries}"
        return f"If {missing} by {by}, it is taken from worker {ticket.worker_id} and tried again ({number})."
    return f"If {missing} by {by}, it fails with {code}, because {why}{_after(ticket)}."


def _after(ticket: Ticket, joint: str = "; ") -> str:
    """Return the effect of a ticket's failure on other tickets."""
    if ticket.compensates is not None:
        return f"{joint}what it should undo stands"
    return f"{joint}what depends on it is cancelled"


def _stands(ticket: Ticket) -> str:
    return f", and the work of {undone_task(ticket)} stands" if ticket.compensates else ""


def _time(ticket: Ticket) -> str:
    return "the time for undoing" if ticket.compensates else "the SLA"


def _shortage(ticket: Ticket, flow: Flow, start: datetime, rules: Rules) -> str:
    """Return, in numbers, how an attempt from `start` on does not fit."""
    limit = limit_of(flow, rules)
    left = max(timedelta(0), limit - start) if limit is not None else timedelta(0)
    what = "it and what depends on it need" if ticket.dependants else "it needs"
    return f"{what} {span(needed(ticket))} by estimate, {span(left)} would be left"
