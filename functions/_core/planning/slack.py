"""Slack: how tickets and flows stand against the deadline, and whether another attempt still fits.

Latest start and latest finish are from C2; slack follows from them and the clock, so nothing is recomputed over a
whole plan. Only the step that skips a branch gives the tickets beside it more time (`machine.relief`). A live ticket
wakes up when its wait is over (`until`) or when its slack state is due to change, whichever comes first.
"""

from datetime import datetime, timedelta
from itertools import pairwise

from functions._core.machine.tables import ENDED_FLOWS
from functions._core.records.attempts import other_of
from functions._core.records.models import STANDING_FLOWS, Flow, Ticket
from functions._core.records.prediction import Prediction
from functions._core.records.values import (
    FlowStatus,
    Outcome,
    SlackState,
    TicketStatus,
    Waiting,
    add_time,
    milliseconds,
    time_span,
)
from functions._core.rules import Rules

WORKING = frozenset({FlowStatus.VALIDATING, FlowStatus.GENERATING, FlowStatus.EXECUTING})
"""Statuses in which the time of the SLA is used."""


def slack_ms(ticket: Ticket, now: datetime) -> int | None:
    """Return how long the ticket can still wait (PENDING) or be worked on; negative when late, None when ended."""
    if not ticket.live:
        return None
    latest = ticket.latest_start if ticket.status is TicketStatus.PENDING else ticket.sla.deadline
    return milliseconds(latest - now)


def slack_state(ticket: Ticket, now: datetime) -> SlackState | None:
    """Return how the ticket stands, or stood when it was completed; None when it came to nothing."""
    if ticket.status in {TicketStatus.FAILED, TicketStatus.CANCELLED}:
        return None
    moment = now if ticket.live else ticket.completed_at or now
    if moment > ticket.sla.deadline:
        return SlackState.BREACHED
    return SlackState.AT_RISK if (slack_ms(ticket, now) or 0) < 0 else SlackState.ON_TRACK


def worsened(ticket: Ticket, now: datetime) -> SlackState | None:
    """Return the slack state that a live ticket has come to since it was last announced; None when none is worse."""
    at = _next_slack_moment(ticket)
    if not ticket.live or at is None or now < at:
        return None
    return SlackState.BREACHED if now >= ticket.sla.deadline else SlackState.AT_RISK


def wakeup_of(ticket: Ticket, flow: Flow) -> datetime | None:
    """Return when a ticket has to be looked at: its wait is over, or its slack changes."""
    at = earliest(_next_slack_moment(ticket), last_call(ticket, flow)) if ticket.live else None
    other = other_of(ticket) if ticket.hedge is not None else None
    return earliest(ticket.until, at, other.until if other is not None else None)


def last_call(ticket: Ticket, flow: Flow) -> datetime | None:
    """Return when it becomes too late to start a ticket that waits, by the estimates; None if it undoes or is late."""
    waits = ticket.status is TicketStatus.PENDING and not ticket.late and ticket.compensates is None
    waits = waits and ticket.waiting is not Waiting.TURN  # its parent is late, or those before it are
    return add_time(flow.sla_deadline, -needed(ticket)) if waits else None


def earliest(*moments: datetime | None) -> datetime | None:
    """Return the earliest of the moments that are set."""
    return min(filter(None, moments), default=None)


def limit_of(flow: Flow, rules: Rules) -> datetime | None:
    """Return when everything that the flow does now has to be done; None while its time does not run."""
    if flow.status is FlowStatus.COMPENSATING:
        return add_time(flow.phase.entered_at, rules.compensation)
    return flow.deadline


def fits(ticket: Ticket, flow: Flow, start: datetime, rules: Rules) -> bool:
    """Whether an attempt from `start` on, and the dependants of the ticket, fit into the time by their estimates.

    Undoing fits while it has time at all: to give it up early saves no SLA and leaves more undone.
    """
    limit = limit_of(flow, rules)
    if limit is None:
        return True
    # Not the end of the attempt is compared, which may lie outside the calendar.
    return start < limit if flow.status is FlowStatus.COMPENSATING else needed(ticket) <= limit - start


def needed(ticket: Ticket) -> timedelta:
    """Return how long the ticket and the critical path after it take by their estimates.

    Where a model acts, it is the more hopeful of estimate and prediction that counts: no prediction gives work up.
    """
    return time_span(hopeful_ms(ticket.estimated_duration_ms, ticket.prediction) + ticket.tail_ms)


def hopeful_ms(estimate_ms: int, prediction: Prediction | None) -> int:
    """Return the lesser of estimate and prediction, in milliseconds; the estimate where no model acts."""
    return estimate_ms if prediction is None or not prediction.acts else min(estimate_ms, prediction.p50_ms)


def cautious_ms(estimate_ms: int, prediction: Prediction | None) -> int:
    """Return how long work takes nine times of ten, in milliseconds; the estimate where no model acts."""
    return estimate_ms if prediction is None or not prediction.acts else prediction.p90_ms


def at_risk_from(flow: Flow, rules: Rules) -> datetime:
    """Return from when on a flow that still has work to do is at risk, independent of its tickets."""
    given = time_given(flow)
    return add_time(flow.sla_deadline, rules.at_risk_share * given - given)


def time_given(flow: Flow) -> timedelta:
    """Return how long a flow may take, or might have, since it began or was redriven; waits for people aside."""
    begun, stood = flow.phases[0].entered_at, timedelta()
    for phase, after in pairwise(flow.phases):
        if phase.status in ENDED_FLOWS:
            begun, stood = after.entered_at, timedelta()
        elif phase.status in STANDING_FLOWS and after.status in {FlowStatus.GENERATING, FlowStatus.EXECUTING}:
            stood += after.entered_at - phase.entered_at
    return flow.sla_deadline - begun - stood


def deadline_at(flow: Flow, now: datetime) -> datetime:
    """Return the deadline that the flow has at `now`: it moves while people are waited for, but not past a moment.

    The deadline of a flow that ended while people were waited for stays where that wait had moved it.
    """
    moved = add_time(flow.sla_deadline, _last_wait(flow, now))
    return moved if flow.sla_limit is None else min(moved, flow.sla_limit)


def closed_at(flow: Flow) -> datetime | None:
    """Return when the flow's work was over; only its telemetry is published after that. None while it is not."""
    closing = next((p for p in reversed(flow.phases[-2:]) if p.status is FlowStatus.PUBLISHING), None)
    if flow.outcome is None:
        return None
    return closing.entered_at if closing else flow.ended_at


def missed(flow: Flow) -> bool:
    """Whether a flow that is over missed its deadline."""
    closed = closed_at(flow)
    return flow.outcome is Outcome.TIMED_OUT or (closed is not None and closed > deadline_at(flow, closed))


def sla_state(flow: Flow, now: datetime) -> SlackState:
    """Return how a flow stands against its deadline at `now`, or stood at its end; at risk only without an outcome."""
    moment = closed_at(flow) or now
    if flow.outcome is Outcome.TIMED_OUT or moment > deadline_at(flow, moment):
        return SlackState.BREACHED
    announced = flow.outcome is None and flow.announced is not SlackState.ON_TRACK
    return SlackState.AT_RISK if announced else SlackState.ON_TRACK


def _last_wait(flow: Flow, now: datetime) -> timedelta:
    """Return how long people are waited for now, or were when the flow ended; zero when it worked after that."""
    until = now
    for phase in reversed(flow.phases):
        if phase.status in STANDING_FLOWS:
            return until - phase.entered_at
        if phase.status in WORKING:
            break
        until = phase.entered_at
    return timedelta()


def _next_slack_moment(ticket: Ticket) -> datetime | None:
    if ticket.announced is SlackState.BREACHED or ticket.waiting is Waiting.TURN:
        return None
    if ticket.announced is SlackState.ON_TRACK and ticket.status is TicketStatus.PENDING:
        return ticket.latest_start
    return ticket.sla.deadline
