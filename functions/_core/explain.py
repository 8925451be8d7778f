"""Why a flow is where it is, in words that need no knowledge of the code. Pure, like `explain_ticket`.

The one module to import for explanations and slack.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from functions._core.explain_ticket import (
    Explanation,
    SlackState,
    explain_ticket,
    slack_ms,
    slack_state,
    waiting_since,
)
from functions._core.machine import ENDED_FLOWS
from functions._core.models import Flow, Ticket
from functions._core.rules import Rules
from functions._core.values import FlowStatus, TicketStatus, Waiting
from functions._core.wording import ago, ahead, counted, listed, plain, span

__all__ = ["NAMED", "Explanation", "SlackState", "explain_flow", "explain_ticket", "slack_ms", "slack_state"]

NAMED = 5
"""Tickets that are named of a flow: the oldest; the rest is counted."""

WAITS_FOR: Mapping[FlowStatus, str] = {
    FlowStatus.VALIDATING: "C1 to check the decision and its plan",
    FlowStatus.GENERATING: "C2 to make the tickets",
    FlowStatus.EXECUTING: "its tickets to end",
    FlowStatus.PUBLISHING: "its telemetry to be taken by the sink (C6)",
}


def explain_flow(
    flow: Flow,
    tickets: Sequence[Ticket],
    now: datetime,
    rules: Rules,
    *,
    tally: Mapping[str, int] | None = None,
) -> Explanation:
    """Return why `flow` is where it is at `now`.

    `tickets` are all of its tickets, or with `tally` (how many there are in each status) those worth naming:
    the live ones of a live flow, the failed ones of an ended flow.
    """
    counts = Counter(ticket.status.value for ticket in tickets) if tally is None else tally
    ended = flow.status in ENDED_FLOWS
    since = flow.ended_at if ended else flow.phase.entered_at
    details = [] if ended or since is None else [f"Since {ago(since, now)}."]
    details += _progress(flow, counts)
    details += _tickets(flow, tickets, now, rules)
    details += [f"Reason: {plain(reason.message)} ({plain(reason.code)})." for reason in flow.reasons]
    details += _ending(flow) if ended else [_sla(flow, now)]
    return Explanation(
        kind="flow",
        subject=flow.flow_id,
        status=flow.status.value,
        headline=_headline(flow, counts),
        waits_for=WAITS_FOR.get(flow.status),
        since=since,
        next_wakeup_at=flow.next_wakeup_at,
        then=_then(flow, now),
        details=tuple(details),
    )


def _headline(flow: Flow, counts: Mapping[str, int]) -> str:
    name = f"Flow {flow.flow_id}" + (f" (plan {plain(flow.plan_id)})" if flow.plan_id else "")
    if flow.ended_at is not None:
        return f"{name} has ended as {flow.status} after {span(flow.ended_at - flow.received_at)}."
    if flow.outcome is not None:
        return f"{name} has the outcome {flow.outcome} and waits for {WAITS_FOR[flow.status]}."
    if flow.status is FlowStatus.EXECUTING:
        open_ones = sum(counts.get(status, 0) for status in ("PENDING", "ASSIGNED", "RUNNING"))
        if not open_ones:
            return f"{name} has no open tickets left; its own end is recorded next."
        return f"{name} waits for {open_ones} of its {counted(flow.tickets_generated, 'ticket')} to end."
    return f"{name} waits for {WAITS_FOR[flow.status]}."


def _progress(flow: Flow, counts: Mapping[str, int]) -> list[str]:
    sentences = []
    present = [f"{counts[status]} {status}" for status in TicketStatus if counts.get(status)]
    if present:
        sentences.append(f"Tickets: {', '.join(present)}.")
    if flow.phase.emissions:
        times = counted(flow.phase.emissions, "time")
        sentences.append(f"Nothing has come of it so far; its event was sent again {times}.")
    return sentences


def _tickets(flow: Flow, tickets: Sequence[Ticket], now: datetime, rules: Rules) -> list[str]:
    """Return the headlines of the tickets that hold the flow up, or that made it fail."""
    if flow.outcome is not None:
        failed = [ticket for ticket in tickets if ticket.status is TicketStatus.FAILED]
        return [explain_ticket(ticket, flow, now, rules).headline for ticket in failed[:NAMED]]
    live = [ticket for ticket in tickets if ticket.live]
    by_id = {ticket.ticket_id: ticket for ticket in live}
    # What waits for other tickets of the flow is held up by them, and so tells nothing new.
    blocking = [ticket for ticket in live if ticket.waiting is not Waiting.DEPENDENCIES] or live
    sentences = []
    for ticket in sorted(blocking, key=lambda t: (waiting_since(t), t.ticket_id))[:NAMED]:
        upstream = [by_id[one] for one in ticket.dependencies if one in by_id]
        explained = explain_ticket(ticket, flow, now, rules, upstream=upstream)
        since = f" Since {ago(explained.since, now)}." if explained.since else ""
        sentences.append(f"{explained.headline}{since}")
    if len(blocking) > NAMED:
        sentences.append(f"{counted(len(blocking) - NAMED, 'more ticket')} in the same position.")
    late = [plain(ticket.task_id) for ticket in live if slack_state(ticket, now) is not SlackState.ON_TRACK]
    if late:
        sentences.append(f"Behind schedule: {listed(late)}.")
    return sentences


def _sla(flow: Flow, now: datetime) -> str:
    total = span(flow.sla_deadline - flow.received_at)
    if now >= flow.sla_deadline:
        return f"The SLA of {total} ran out at {ago(flow.sla_deadline, now)}."
    return f"The SLA of {total} leaves {span(flow.sla_deadline - now)}."


def _ending(flow: Flow) -> list[str]:
    sentences = []
    if flow.ended_at is not None and flow.ended_at > flow.sla_deadline:
        sentences.append(f"It ended {span(flow.ended_at - flow.sla_deadline)} after its deadline.")
    if flow.telemetry_published is False:
        sentences.append("Its telemetry was kept in the buffer and is sent when the sink takes it.")
    return sentences


def _then(flow: Flow, now: datetime) -> str | None:
    """Return what the flow's next wake-up does."""
    due = flow.next_wakeup_at
    if due is None or flow.status in ENDED_FLOWS:
        return None
    if flow.outcome is not None:
        return f"If the sink has not taken it by {ahead(due, now)}, it is kept in the buffer and the flow ends."
    if max(due, now) >= flow.sla_deadline:
        deadline = ahead(flow.sla_deadline, now)
        return f"If that has not happened by {deadline}, the flow is TIMED_OUT and open tickets are cancelled."
    return f"If nothing has happened by {ahead(due, now)}, the event is sent again."
