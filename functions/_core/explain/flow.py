"""Why a flow is where it is, in words that need no knowledge of the code. Pure, like `explain_ticket`.

The one module to import for explanations.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from functions._core.decision.checks import IMPOSSIBLE
from functions._core.explain.predictions import about_prospects
from functions._core.explain.ticket import Explanation, explain_ticket, waiting_since
from functions._core.explain.wording import ago, ahead, counted, listed, plain, said, span
from functions._core.guards.gate import POLICY_UNAVAILABLE
from functions._core.machine.flow import held_until
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.placement.limits import CONCURRENCY_LIMIT, over_limit
from functions._core.planning.slack import at_risk_from, closed_at, deadline_at, limit_of, slack_state, time_given
from functions._core.records.history import HistoryEntry
from functions._core.records.models import LIVE_TICKETS, Flow, Reason, Ticket
from functions._core.records.record import from_json
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Waiting
from functions._core.records.worker import Worker
from functions._core.rules import Rules

__all__ = ["NAMED", "Explanation", "explain_flow", "explain_ticket"]

NAMED = 5
"""Tickets that are named of a flow: the oldest; the rest is counted."""

FOR_OTHER_TICKETS = frozenset({Waiting.DEPENDENCIES, Waiting.TURN, Waiting.CHILDREN})
"""The waits of a ticket that other tickets of its flow end."""

WAITS_FOR: Mapping[FlowStatus, str] = {
    FlowStatus.VALIDATING: "C1 to check the decision and its plan",
    FlowStatus.AWAITING_APPROVAL: "a person to approve it",
    FlowStatus.GENERATING: "C2 to make the tickets",
    FlowStatus.EXECUTING: "its tickets to end",
    FlowStatus.PAUSED: "a person to resume it",
    FlowStatus.COMPENSATING: "its work to be undone",
    FlowStatus.PUBLISHING: "its telemetry to be taken by the sink (C6)",
}
"""The thing that a flow waits for, by its status, as the end of a sentence."""


def explain_flow(
    flow: Flow,
    tickets: Sequence[Ticket],
    now: datetime,
    rules: Rules,
    *,
    tally: Mapping[str, int] | None = None,
    workers: Sequence[Worker] = (),
    history: Sequence[HistoryEntry] = (),
) -> Explanation:
    """Return why `flow` is where it is at `now`.

    `tickets` are all of its tickets, or with `tally` (how many of its plan there are in each status) those to be
    named: the live ones of a live flow, the failed ones of one that has its outcome. `workers` as in `explain_ticket`.
    `history` are lines about the flow itself: they name the person who paused it, and the cause of a risk to its SLA.
    """
    planned = (ticket.status.value for ticket in tickets if ticket.compensates is None)
    counts = Counter(planned) if tally is None else tally
    ended = flow.status in ENDED_FLOWS
    since = flow.ended_at if ended else flow.phase.entered_at
    details = [] if ended or since is None else [f"Since {ago(since, now)}."]
    details += _people(flow, tickets, history)
    details += _progress(flow, counts)
    details += _tickets(flow, tickets, workers, now, rules)
    details += [f"Reason: {said(reason)}." for reason in flow.reasons]
    details += [f"Warning: {said(warning)}." for warning in flow.warnings]
    details += _ending(flow) if ended else _sla(flow, now, rules, history)
    details += about_prospects(flow)
    return Explanation(
        kind="flow",
        subject=flow.flow_id,
        status=flow.status.value,
        headline=_headline(flow, counts),
        waits_for=flow_waits_for(flow),
        since=since,
        next_wakeup_at=flow.next_wakeup_at,
        then=_then(flow, now, rules),
        details=tuple(details),
    )


def flow_waits_for(flow: Flow) -> str | None:
    """Return the thing that a flow waits for, as the end of a sentence; None when it has ended."""
    if flow.status is FlowStatus.GENERATING and over_limit(flow):
        of_key = any(reason.code == CONCURRENCY_LIMIT for reason in flow.reasons)
        return f"another flow {'of its concurrency key ' if of_key else ''}to end, as too many are in flight"
    if flow.status is FlowStatus.VALIDATING and any(one.code == POLICY_UNAVAILABLE for one in flow.reasons):
        return "a verdict of the policy server, without which C1 lets nothing begin"
    if held_until(flow) is not None and flow.budget_verdict is not None:
        return f"an error budget to recover, by admission policy {plain(flow.budget_verdict.policy)}"
    return WAITS_FOR.get(flow.status)


def _headline(flow: Flow, counts: Mapping[str, int]) -> str:
    name = f"Flow {flow.flow_id}" + (f" (plan {plain(flow.plan_id)})" if flow.plan_id else "")
    if flow.ended_at is not None:
        return f"{name} has ended as {flow.status} after {span(flow.ended_at - flow.received_at)}."
    if flow.outcome is not None:
        return f"{name} has the outcome {flow.outcome} and waits for {WAITS_FOR[flow.status]}{_undone(flow, counts)}."
    if flow.status is FlowStatus.EXECUTING:
        open_ones = sum(counts.get(status, 0) for status in LIVE_TICKETS)
        if not open_ones:
            return f"{name} has no open tickets left; its own end is recorded next."
        return f"{name} waits for {open_ones} of its {counted(flow.tickets_generated, 'ticket')} to end."
    paused = "is paused and " if flow.status is FlowStatus.PAUSED else ""
    return f"{name} {paused}waits for {flow_waits_for(flow)}."


def _undone(flow: Flow, counts: Mapping[str, int]) -> str:
    if flow.status is not FlowStatus.COMPENSATING or flow.compensations is None:
        return ""
    return f": {counts.get(TicketStatus.COMPENSATED, 0)} of {counted(flow.compensations, 'ticket')} undone so far"


def _people(flow: Flow, tickets: Sequence[Ticket], history: Sequence[HistoryEntry]) -> list[str]:
    """Return the part of people in the wait, and the commands that they can give."""
    flow_id = flow.flow_id
    if flow.status is FlowStatus.AWAITING_APPROVAL:
        return [f"Nothing is done before. Approve it with `flowc approve {flow_id}`, or `flowc deny {flow_id}`."]
    if flow.status is not FlowStatus.PAUSED:
        return []
    paused = next((entry.detail for entry in reversed(history) if entry.type == "flow.paused"), {})
    by = f"Paused by {plain(str(paused['requested_by']))}: {plain(str(paused.get('reason')))}." if paused else ""
    held = sum(ticket.live and ticket.worker_id is not None for ticket in tickets)
    verb = "goes" if held == 1 else "go"
    at_work = f"{counted(held, 'ticket')} with workers {verb} on; nothing more is handed out." if held else ""
    return [*filter(None, (by, at_work)), f"Let it go on with `flowc resume {flow_id}`."]


def _progress(flow: Flow, counts: Mapping[str, int]) -> list[str]:
    sentences = []
    present = [f"{counts[status]} {status}" for status in TicketStatus if counts.get(status)]
    if present:
        sentences.append(f"Tickets: {', '.join(present)}.")
    if flow.phase.emissions and flow.status not in ENDED_FLOWS:
        times = counted(flow.phase.emissions, "time")
        sentences.append(f"Nothing has come of it so far; its event was sent again {times}.")
    return sentences


def _tickets(
    flow: Flow, tickets: Sequence[Ticket], workers: Sequence[Worker], now: datetime, rules: Rules
) -> list[str]:
    """Return the headlines of the tickets that made a flow fail, and of those that hold it up."""
    sentences = []
    if flow.outcome is not None:
        failed = [t for t in tickets if t.status is TicketStatus.FAILED and t.compensates is None]
        sentences += [explain_ticket(ticket, flow, now, rules).headline for ticket in failed[:NAMED]]
    live = [ticket for ticket in tickets if ticket.live]
    by_id = {ticket.ticket_id: ticket for ticket in live}
    # A ticket that waits for other tickets of the flow tells nothing new: those hold it up.
    blocking = [ticket for ticket in live if ticket.waiting not in FOR_OTHER_TICKETS] or live
    for ticket in sorted(blocking, key=lambda t: (waiting_since(t), t.ticket_id))[:NAMED]:
        upstream = [by_id[one] for one in ticket.dependencies if one in by_id]
        explained = explain_ticket(ticket, flow, now, rules, upstream=upstream, workers=workers)
        since = f" Since {ago(explained.since, now)}." if explained.since else ""
        sentences.append(f"{explained.headline}{since}")
    if len(blocking) > NAMED:
        sentences.append(f"{counted(len(blocking) - NAMED, 'more ticket')} in the same position.")
    late = [plain(ticket.task_id) for ticket in live if slack_state(ticket, now) is not SlackState.ON_TRACK]
    if late and not flow.sla_paused:
        sentences.append(f"Behind schedule: {listed(late)}.")
    return sentences


def _sla(flow: Flow, now: datetime, rules: Rules, history: Sequence[HistoryEntry]) -> list[str]:
    deadline = deadline_at(flow, now)
    total = span(time_given(flow))
    if now >= deadline:
        return [f"The SLA of {total} ran out at {ago(deadline, now)}."]
    if flow.outcome is not None:
        return []  # it has neither met nor missed it, and cannot any more
    left = span(deadline - now)
    if flow.sla_paused and flow.sla_limit is None:
        return [f"Its SLA leaves {left} once it goes on; until then that time does not run."]
    risk = _risk(flow, now, rules, history)
    return [f"The SLA of {total} leaves {left}.", *([f"It is at risk of missing its SLA: {risk}."] if risk else [])]


def _risk(flow: Flow, now: datetime, rules: Rules, history: Sequence[HistoryEntry]) -> str:
    """Return why the flow was announced as at risk; empty when it was not."""
    if flow.announced is SlackState.ON_TRACK or flow.outcome is not None:
        return ""
    told = next((entry.detail.get("reason") for entry in reversed(history) if entry.type == "sla.at_risk"), None)
    if told and told["code"] != IMPOSSIBLE:
        return said(from_json(Reason, told))
    if any(warning.code == IMPOSSIBLE for warning in flow.warnings):
        return "by its estimates it could not be met from the start"
    if now >= at_risk_from(flow, rules):
        return f"{rules.at_risk_share:.0%} of its time is used up"
    return "a ticket has no slack left"


def _ending(flow: Flow) -> list[str]:
    sentences = []
    closed = closed_at(flow)
    if closed is not None and closed > (deadline := deadline_at(flow, closed)):
        sentences.append(f"It ended {span(closed - deadline)} after its deadline.")
        sentences.append(f"`flowc what-changed {flow.flow_id}` tells the likeliest causes.")
    if flow.telemetry_refused:
        lost = counted(len(flow.telemetry_refused), "event")
        sentences.append(f"The sink did not take {lost} of its telemetry: see `flowc dead-letters list`.")
    if flow.telemetry_published is False and (flow.telemetry_waiting or not flow.telemetry_refused):
        sentences.append("Its telemetry waits in the buffer and is sent when the sink takes it.")
    return sentences


def _then(flow: Flow, now: datetime, rules: Rules) -> str | None:
    """Return the effect of the flow's next wake-up."""
    due = flow.next_wakeup_at
    if due is None or flow.status in ENDED_FLOWS:
        return None
    by, limit = ahead(due, now), limit_of(flow, rules)
    too_late = limit is not None and max(due, now) >= limit
    if flow.status is FlowStatus.COMPENSATING and too_late:
        return f"If that has not happened by {by}, undoing is given up, and what is not undone stands."
    if flow.status is FlowStatus.COMPENSATING and flow.compensations is not None:
        return f"At {by} it is looked at again."
    if flow.status is FlowStatus.PUBLISHING:
        return f"If the sink has not taken it by {by}, it is kept in the buffer and the flow ends."
    if too_late and limit is not None:
        deadline = ahead(limit, now)
        return f"If that has not happened by {deadline}, the flow is TIMED_OUT and open tickets are cancelled."
    return _then_in_time(flow, by, now)


def _then_in_time(flow: Flow, by: str, now: datetime) -> str:
    if flow.status is FlowStatus.AWAITING_APPROVAL:
        return f"If nobody has approved it by {by}, it ends as REJECTED."
    if flow.status is FlowStatus.PAUSED:
        return f"If nobody resumes it before, it goes on by itself at {by}."
    if (until := held_until(flow)) is not None:
        return f"At {by} the budget is looked at again; it is held until {ahead(until, now)} at most."
    if flow.status is not FlowStatus.EXECUTING:
        return f"If nothing has happened by {by}, the event is sent again."
    deadline = ahead(flow.sla_deadline, now)
    at_risk = f"If that has not happened by {by}, the flow is announced as at risk. "
    return (
        f"{at_risk if flow.announced is SlackState.ON_TRACK else ''}"
        f"If that has not happened by {deadline}, the flow is TIMED_OUT and open tickets are cancelled."
    )
