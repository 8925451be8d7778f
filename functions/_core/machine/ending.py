"""How a ticket's attempt ends: reports, retries, final failure, and the effect on the rest of the flow."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from functions._core.events.reports import Report
from functions._core.machine.clock_waits import start_clock
from functions._core.machine.closing import Settled, ending, likely_late, recount
from functions._core.machine.compensation import compensated, not_compensated
from functions._core.machine.hedging import EXCLUDED_KEPT, give_up, other_heard
from functions._core.machine.incidents import CAUSES, raise_incident
from functions._core.machine.related_tickets import NONE_RELATED, RelatedTickets
from functions._core.machine.releasing import child_ended, may_fail, released, skipped_with, tolerate
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import ENDED_TICKETS, TicketTrigger
from functions._core.planning.slack import fits
from functions._core.planning.tickets import CORRUPTED
from functions._core.records.attempts import attempt_limit, other_of, turned
from functions._core.records.audits import IncidentType, Severity
from functions._core.records.models import Flow, Reason, TaskLog, Ticket
from functions._core.records.simulated import SIMULATED, is_simulated, warned_of, was_simulated
from functions._core.records.values import (
    FlowStatus,
    ReportStatus,
    TicketStatus,
    Waiting,
    add_time,
    milliseconds,
)
from functions._core.rules import Rules, retry_after

DECIDED = frozenset({"denied", "policy_denied", "quarantine_rejected"})
"""Codes of failures that people, or their policies, have decided on: nobody has to look at these."""


@dataclass(frozen=True, slots=True)
class Reported:
    """C5: the reports of workers on tickets of one flow, one for each ticket.

    `released` are tickets, perhaps of other flows, that can use the slots that became free.
    """

    reports: Sequence[Report]
    around: RelatedTickets = NONE_RELATED
    released: Sequence[Ticket] = ()

    def apply(self, builder: StepBuilder) -> None:
        """C5: a worker's report counts for its own attempt only, while that runs, and never after the ticket's end."""
        counting = counted(self.reports, builder.context.tickets)
        freed: list[Ticket] = []
        for place, (report, found) in enumerate(counting, 1):
            ticket = builder.latest(found)
            # Only the last of several ends may be the flow's: until then the tickets of the reports to come are live.
            around = replace(self.around, goes_on=True) if place < len(counting) else self.around
            if other_of(ticket) is not None and report.attempt != ticket.attempt:
                if report.status is ReportStatus.RUNNING:
                    other_heard(builder, ticket, report.progress)
                    continue
                ticket = turned(ticket)
            if report.status is ReportStatus.RUNNING:
                start(builder, _logged(ticket, report), report.progress)
            elif report.status is ReportStatus.COMPLETED:
                freed += complete(builder, _logged(ticket, report), report.output, around)
            else:
                retry_or_fail(
                    builder, _logged(ticket, report), failure_of(report), around, retryable=retryable(report, ticket)
                )
        builder.ready((*freed, *self.released))


def _logged(ticket: Ticket, report: Report) -> Ticket:
    """Return the ticket with the log of its task; a report without one keeps that of the attempt before."""
    return ticket.but(log=TaskLog(attempt=report.attempt, text=report.log)) if report.log else ticket


def counted(reports: Iterable[Report], tickets: Mapping[str, Ticket]) -> Sequence[tuple[Report, Ticket]]:
    """Return the reports that count, with their tickets."""
    return [
        (report, ticket)
        for report in reports
        if (ticket := tickets.get(report.ticket_id)) is not None and report.counts_for(ticket)
    ]


def failure_of(report: Report) -> Reason:
    """Return the worker's error as a reason."""
    if report.error is None:
        return Reason(code="failed", message="the worker reported FAILED without an error")
    return Reason(code=report.error.type, message=report.error.message or f"the worker reported {report.error.type}")


def retryable(report: Report, ticket: Ticket) -> bool:
    """Whether a failure is one after which the ticket may be tried again, by the worker's word and by the policy."""
    return report.error is None or (report.error.retryable and report.error.type not in ticket.retry.non_retryable)


def may_retry(ticket: Ticket, flow: Flow, now: datetime, rules: Rules, *, retryable: bool = True) -> bool:
    """Whether another attempt is allowed and can, with all that depends on it, be done in time."""
    allowed = retryable and ticket.idempotent and ticket.retry_count < ticket.sla.max_retries
    pause = retry_after(ticket.retry, ticket.ticket_id, ticket.retry_count)
    return allowed and fits(ticket, flow, add_time(now, pause), rules)


def retry_or_fail(
    builder: StepBuilder, ticket: Ticket, reason: Reason, around: RelatedTickets, *, retryable: bool = True
) -> None:
    """Try the ticket again after a pause, with another worker preferred, or let it fail with its dependants.

    While another attempt at it runs, neither: that one goes on.
    """
    if give_up(builder, ticket, reason):
        return
    if not may_retry(ticket, builder.flow, builder.now, builder.context.rules, retryable=retryable):
        fail(builder, ticket, reason, around)
        return
    again_at = add_time(builder.now, retry_after(ticket.retry, ticket.ticket_id, ticket.retry_count))
    builder.move_ticket(
        ticket.but(reason=reason),
        TicketTrigger.RETRY,
        "ticket.retried",
        cause=reason.code,
        retry_count=ticket.retry_count + 1,
        error_message=reason.message,
        waiting=Waiting.RETRY,
        waiting_since=builder.now,
        ready_at=again_at,
        until=again_at,
        **taken_back(ticket),
    )


def fail(builder: StepBuilder, ticket: Ticket, reason: Reason, around: RelatedTickets) -> None:
    """End the ticket as FAILED and cancel the tickets that can never run now, with the cause named."""
    ended = builder.move_ticket(
        ticket, TicketTrigger.FAIL, "ticket.failed", cause=reason.code, **ending(builder.now, reason)
    )
    not_compensated(builder, ticket, around, reason)
    start_clock(builder, ticket, around.clock)
    if may_fail(ticket):
        _failed_as_may_be(builder, ended, around)
        return
    after = descendants(ticket, around.live)
    grave = ticket.compensates is not None or reason.code == CORRUPTED
    kind, severity = CAUSES.get(reason.code, IncidentType.INCONSISTENCY), Severity.CRITICAL if grave else None
    if reason.code not in DECIDED and ticket.parent is None:  # a child's failure is told by its parent, if it is one
        affected = [t.ticket_id for t in (ticket, *after)]
        raise_incident(builder, kind, [_told(ticket, reason)], affected, severity=severity)
    message = f"task {ticket.task_id} failed: {reason.message}"
    _cancel_after(builder, after, Reason(code="dependency_failed", message=message, where=ticket.task_id), around)
    child_ended(builder, ended, around)
    settle(builder, ended, around)


def _failed_as_may_be(builder: StepBuilder, ended: Ticket, around: RelatedTickets) -> None:
    """Let what depends on a ticket that may fail begin, as if it were done."""
    if ended.parent is None:
        tolerate(builder, TicketStatus.FAILED)
    _below(builder, ended, around)
    child_ended(builder, ended, around)
    dependants = [other for other in around.live if other.ticket_id in ended.dependants]
    _ready_or_settle(builder, ended, released(builder, dependants), around)


def _below(builder: StepBuilder, ended: Ticket, around: RelatedTickets) -> None:
    """Cancel the children of a ticket that has ended without them."""
    below = [other for other in around.live if other.parent == ended.ticket_id]
    if below:
        because = Reason(code="parent_ended", message=f"task {ended.task_id} has ended", where=ended.task_id)
        found = {one.ticket_id: one for child in below for one in (child, *descendants(child, around.live))}
        _cancel_after(builder, found.values(), because, around)


def _ready_or_settle(builder: StepBuilder, ended: Ticket, waiting: Sequence[Ticket], around: RelatedTickets) -> None:
    builder.ready(other for other in waiting if other.waiting is Waiting.DISCOVERY)
    if not waiting:
        settle(builder, ended, around)


def omit(builder: StepBuilder, ticket: Ticket, reason: Reason, around: RelatedTickets) -> None:
    """End a PENDING ticket as SKIPPED, and those that are skipped with it; others go on without it."""
    because = Reason(code="dependency_skipped", message=f"task {ticket.task_id} was skipped", where=ticket.task_id)
    by_id = {other.ticket_id: other for other in around.live}
    waiting: dict[str, Ticket] = {}
    queue, why, last = deque([ticket]), reason, ticket
    while queue:
        latest = builder.latest(queue.popleft())
        if latest.status is not TicketStatus.PENDING:
            continue
        last = builder.move_ticket(
            latest, TicketTrigger.OMIT, "ticket.skipped", cause=why.code, **ending(builder.now, why)
        )
        why = because
        child_ended(builder, last, around)
        waiting.pop(last.ticket_id, None)
        after = [by_id[one] for one in last.dependants if one in by_id]
        queue.extend(other for other in after if skipped_with(other))
        freed = released(builder, [other for other in after if not skipped_with(other)])
        waiting |= {other.ticket_id: other for other in freed}
    _ready_or_settle(builder, last, list(waiting.values()), around)


def cancel(builder: StepBuilder, ticket: Ticket, reason: Reason, around: RelatedTickets) -> None:
    """End a live ticket as CANCELLED, tell its worker, and cancel the tickets that can never run now."""
    ended = builder.move_ticket(
        ticket, TicketTrigger.CANCEL, "ticket.cancelled", cause=reason.code, **ending(builder.now, reason)
    )
    if ticket.worker_id is not None:
        builder.deliver(ended, ticket.worker_id, ticket.attempt, cancelled=True)
    message = f"task {ticket.task_id} was cancelled: {reason.message}"
    because = Reason(code="dependency_cancelled", message=message, where=ticket.task_id)
    start_clock(builder, ticket, around.clock)
    _cancel_after(builder, descendants(ticket, around.live), because, around)
    child_ended(builder, ended, around)
    settle(builder, ended, around)


def _cancel_after(builder: StepBuilder, after: Iterable[Ticket], because: Reason, around: RelatedTickets) -> None:
    """Cancel the tickets that wait for one that will never be done."""
    for other in after:
        latest = builder.latest(other)
        if latest.live:
            ended = builder.move_ticket(
                latest,
                TicketTrigger.CANCEL,
                "ticket.cancelled",
                cause=because.code,
                **ending(builder.now, because),
            )
            if latest.worker_id is not None:  # a child of a ticket that has ended
                builder.deliver(ended, latest.worker_id, latest.attempt, cancelled=True)
            not_compensated(builder, latest, around, because)
            start_clock(builder, latest, around.clock)
            child_ended(builder, ended, around)


def _told(ticket: Ticket, reason: Reason) -> str:
    tried = f"after {ticket.attempt} attempts" if ticket.attempt > 1 else f"after {ticket.attempt} attempt"
    return f"ticket {ticket.task_id} failed {tried}: {reason.message} ({reason.code})"


def settle(builder: StepBuilder, ended: Ticket, around: RelatedTickets) -> None:
    """End the flow when no ticket is live any more; otherwise look again soon if this may have been a last one.

    Two last tickets that end at the same time each see the other one live. The wake-up left on them sees to it
    that one of them looks again.
    """
    if builder.flow.status not in {FlowStatus.EXECUTING, FlowStatus.COMPENSATING} or around.goes_on:
        return
    parent = around.parents.get(ended.parent or "")
    if parent is not None and builder.latest(parent).live:
        return  # its own wake-up sees to it that the flow goes on
    if around.tally is not None:
        tally = recount(builder, around.tally)
        if not any(number for status, number in tally.items() if TicketStatus(status) not in ENDED_TICKETS):
            Settled(tally).apply(builder)
            return
    builder.change_ticket(builder.latest(ended), next_wakeup_at=builder.now + builder.context.rules.settle)


def descendants(ticket: Ticket, live: Iterable[Ticket]) -> Sequence[Ticket]:
    """Return the tickets among `live` that depend on `ticket`, directly or not, or are below it, the nearest first."""
    by_id = {other.ticket_id: other for other in live}
    below: dict[str, list[str]] = {}
    for other in by_id.values():
        if other.parent is not None:
            below.setdefault(other.parent, []).append(other.ticket_id)
    found: dict[str, Ticket] = {}
    queue = deque([*ticket.dependants, *below.get(ticket.ticket_id, ())])
    while queue:
        ticket_id = queue.popleft()
        if ticket_id in by_id and ticket_id not in found:
            found[ticket_id] = by_id[ticket_id]
            queue.extend(by_id[ticket_id].dependants)
            queue.extend(below.get(ticket_id, ()))
    return tuple(found.values())


def taken_back(ticket: Ticket) -> dict[str, Any]:
    """Return the changes of a ticket that its worker has no longer."""
    return {
        "worker_id": None,
        "excluded_workers": (*ticket.excluded_workers, ticket.worker_id)[-EXCLUDED_KEPT:],
        "assigned_at": None,
        "acknowledged_at": None,
        "started_at": None,
        "progress": None,
    }


def start(builder: StepBuilder, ticket: Ticket, progress: float | None) -> None:
    """Note that the worker which has the ticket works on it: its lease is renewed."""
    acknowledged = ticket.acknowledged_at or builder.now
    builder.move_ticket(
        ticket,
        TicketTrigger.START,
        "ticket.started" if ticket.started_at is None else None,
        started_at=ticket.started_at or builder.now,
        acknowledged_at=acknowledged,
        progress=ticket.progress if progress is None else progress,
        until=attempt_limit(ticket, acknowledged, builder.now),
    )


def complete(
    builder: StepBuilder,
    ticket: Ticket,
    output: object,
    around: RelatedTickets,
    *,
    trigger: TicketTrigger = TicketTrigger.COMPLETE,
    reason: Reason | None = None,
    skipped: bool = False,
) -> Sequence[Ticket]:
    """End the ticket as COMPLETED and return those of its dependants that wait for no other."""
    started = ticket.started_at or ticket.acknowledged_at or ticket.assigned_at or builder.now
    simulated = is_simulated(output)
    ended = builder.move_ticket(
        ticket,
        trigger,
        "ticket.completed",
        cause=SIMULATED if simulated else "",
        **ending(builder.now),
        started_at=started,
        actual_duration_ms=milliseconds(builder.now - started),
        output=output,
        error_message=None,
        reason=reason,
        skipped=skipped,
        progress=None,
    )
    if simulated and not was_simulated(builder.flow):
        builder.change_flow(warnings=warned_of(builder.flow, ticket))
    compensated(builder, ticket, around)
    start_clock(builder, ticket, around.clock)
    child_ended(builder, ended, around)
    likely_late(builder, ended)
    waiting = released(builder, [around.dependants[i] for i in ticket.dependants if i in around.dependants])
    if not waiting:
        settle(builder, ended, around)
    return [other for other in waiting if other.waiting is Waiting.DISCOVERY]
