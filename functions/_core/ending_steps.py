"""How a ticket's attempt ends: reports, retries, final failure, and what that means for the rest of the flow."""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from functions._core.draft import Draft
from functions._core.flow_steps import ending, recount, settled
from functions._core.machine import ENDED_TICKETS, TicketTrigger
from functions._core.models import Flow, Reason, Ticket
from functions._core.outcomes import Reported, Settled, Surroundings
from functions._core.reports import Report
from functions._core.rules import Rules
from functions._core.values import ReportStatus, TicketStatus, Waiting, milliseconds

EXCLUDED_KEPT = 16
"""Workers remembered as tried; a bound on the row, and on the pause that grows with it."""


def reported(draft: Draft, outcome: Reported) -> None:
    """C5: a worker's report counts for its own attempt only, and never after the ticket's end."""
    report = outcome.report
    ticket = draft.situation.tickets.get(report.ticket_id)
    if ticket is None or not report.counts_for(ticket):
        return
    if report.status is ReportStatus.RUNNING:
        _start(draft, ticket, report.progress)
        return
    if report.status is ReportStatus.COMPLETED:
        _complete(draft, ticket, report.output, outcome.around)
    else:
        retry = report.error is None or report.error.retryable
        retry_or_fail(draft, ticket, failure_of(report), outcome.around, retryable=retry)
    draft.ready(outcome.released)


def failure_of(report: Report) -> Reason:
    """Return the worker's error as a reason."""
    if report.error is None:
        return Reason(code="failed", message="the worker reported FAILED without an error")
    return Reason(code=report.error.type, message=report.error.message or f"the worker reported {report.error.type}")


def may_retry(ticket: Ticket, flow: Flow, now: datetime, rules: Rules, *, retryable: bool = True) -> bool:
    """Whether another attempt is allowed and can still start before the flow's deadline."""
    fits = now + rules.retry_after(ticket.ticket_id, ticket.retry_count) < flow.sla_deadline
    return retryable and ticket.idempotent and ticket.retry_count < ticket.sla.max_retries and fits


def retry_or_fail(
    draft: Draft, ticket: Ticket, reason: Reason, around: Surroundings, *, retryable: bool = True
) -> None:
    """Try the ticket again after a pause, with another worker preferred, or let it fail with what depends on it."""
    rules = draft.situation.rules
    if not may_retry(ticket, draft.flow, draft.now, rules, retryable=retryable):
        fail(draft, ticket, reason, around)
        return
    draft.move_ticket(
        ticket.but(reason=reason),
        TicketTrigger.RETRY,
        "ticket.retried",
        cause=reason.code,
        retry_count=ticket.retry_count + 1,
        error_message=reason.message,
        waiting=Waiting.RETRY,
        waiting_since=draft.now,
        next_wakeup_at=draft.now + rules.retry_after(ticket.ticket_id, ticket.retry_count),
        **taken_back(ticket),
    )


def fail(draft: Draft, ticket: Ticket, reason: Reason, around: Surroundings) -> None:
    """End the ticket as FAILED and cancel what can never run now, with the cause named."""
    ended = draft.move_ticket(
        ticket, TicketTrigger.FAIL, "ticket.failed", cause=reason.code, **ending(draft.now, reason)
    )
    message = f"task {ticket.task_id} failed: {reason.message}"
    because = Reason(code="dependency_failed", message=message, where=ticket.task_id)
    for other in descendants(ticket, around.live):
        latest = draft.latest(other)
        if latest.status is TicketStatus.PENDING:
            draft.move_ticket(
                latest,
                TicketTrigger.CANCEL,
                "ticket.cancelled",
                cause=because.code,
                **ending(draft.now, because),
            )
    settle(draft, ended, around)


def settle(draft: Draft, ended: Ticket, around: Surroundings, *, goes_on: bool = False) -> None:
    """End the flow when no ticket is live any more; otherwise look again soon if this may have been a last one.

    Two last tickets that end at the same time each see the other one live. The wake-up left on them sees to it
    that one of them looks again. `goes_on` says that something else is live for certain.
    """
    if draft.flow.outcome is not None or goes_on:
        return
    if around.tally is not None:
        tally = recount(draft, around.tally)
        if not any(number for status, number in tally.items() if TicketStatus(status) not in ENDED_TICKETS):
            settled(draft, Settled(tally))
            return
    draft.change_ticket(draft.latest(ended), next_wakeup_at=draft.now + draft.situation.rules.settle)


def descendants(ticket: Ticket, live: Iterable[Ticket]) -> Sequence[Ticket]:
    """Return the tickets among `live` that depend on `ticket`, directly or not, the nearest first."""
    by_id = {other.ticket_id: other for other in live}
    found: dict[str, Ticket] = {}
    queue = deque(ticket.dependants)
    while queue:
        ticket_id = queue.popleft()
        if ticket_id in by_id and ticket_id not in found:
            found[ticket_id] = by_id[ticket_id]
            queue.extend(by_id[ticket_id].dependants)
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


def _start(draft: Draft, ticket: Ticket, progress: float | None) -> None:
    acknowledged = ticket.acknowledged_at or draft.now
    draft.move_ticket(
        ticket,
        TicketTrigger.START,
        "ticket.started" if ticket.started_at is None else None,
        started_at=ticket.started_at or draft.now,
        acknowledged_at=acknowledged,
        progress=ticket.progress if progress is None else progress,
        next_wakeup_at=acknowledged + ticket.timeout,
    )


def _complete(draft: Draft, ticket: Ticket, output: object, around: Surroundings) -> None:
    started = ticket.started_at or ticket.acknowledged_at or ticket.assigned_at or draft.now
    ended = draft.move_ticket(
        ticket,
        TicketTrigger.COMPLETE,
        "ticket.completed",
        **ending(draft.now),
        started_at=started,
        actual_duration_ms=milliseconds(draft.now - started),
        output=output,
        error_message=None,
        reason=None,
        progress=None,
    )
    waiting = [draft.latest(dependant) for dependant in around.dependants.values()]
    freed = [_without_dependency(draft, other) for other in waiting if other.status is TicketStatus.PENDING]
    draft.ready(other for other in freed if other.open_dependencies == 0)
    settle(draft, ended, around, goes_on=bool(freed))


def _without_dependency(draft: Draft, dependant: Ticket) -> Ticket:
    left = dependant.open_dependencies - 1
    if left:
        return draft.change_ticket(dependant, open_dependencies=left)
    wakeup = draft.now + draft.situation.rules.reemit_after(0)
    return draft.change_ticket(dependant, open_dependencies=0, waiting=Waiting.DISCOVERY, next_wakeup_at=wakeup)
