"""What happens when a ticket has waited as long as it may: one rule for each thing it can wait for."""

from functions._core.draft import Draft
from functions._core.ending_steps import fail, retry_or_fail, settle
from functions._core.models import Reason, Ticket
from functions._core.outcomes import TicketOverdue
from functions._core.values import TicketStatus, Waiting, format_time


def ticket_overdue(draft: Draft, outcome: TicketOverdue) -> None:
    """Act on what the ticket has waited for; a wake-up that fired early is only set again."""
    ticket = draft.situation.tickets.get(outcome.ticket_id)
    if ticket is None or ticket.next_wakeup_at is None:
        return
    if ticket.next_wakeup_at > draft.now:
        draft.change_ticket(ticket)
    elif not ticket.live:
        cleared = draft.change_ticket(ticket, next_wakeup_at=None)
        if outcome.around.tally is not None:
            settle(draft, cleared, outcome.around)
    elif ticket.status is TicketStatus.PENDING:
        _pending(draft, ticket, outcome)
    elif ticket.acknowledged_at is None:
        # The same attempt to the same worker, which knows it by ticket and attempt; its answer decides what follows.
        again = draft.change_ticket(ticket, next_wakeup_at=draft.now + draft.situation.rules.redeliver)
        draft.deliver(again, again.worker_id or "", again.attempt)
    else:
        _timed_out(draft, ticket, outcome)


def _pending(draft: Draft, ticket: Ticket, outcome: TicketOverdue) -> None:
    if ticket.waiting is Waiting.WORKER and not outcome.capable:
        waited = draft.situation.rules.no_worker.total_seconds()
        asked = ", ".join(ticket.required_capabilities) or "any capability"
        message = f"no worker that offers {asked} has registered within {waited:g} s"
        fail(draft, ticket, Reason(code="no_worker", message=message), outcome.around)
        return
    # The rest is driven by something that may have been lost; the flow's own wake-up ends it at the deadline.
    emissions = ticket.emissions + 1
    changed = draft.change_ticket(
        ticket,
        waiting=Waiting.DEPENDENCIES if ticket.open_dependencies else Waiting.DISCOVERY,
        emissions=emissions,
        next_wakeup_at=draft.now + draft.situation.rules.reemit_after(emissions),
    )
    if not changed.open_dependencies:
        draft.ready([changed])


def _timed_out(draft: Draft, ticket: Ticket, outcome: TicketOverdue) -> None:
    situation = draft.situation
    if situation.up_since is not None and draft.now < situation.up_since + situation.rules.grace:
        draft.change_ticket(ticket, next_wakeup_at=situation.up_since + situation.rules.grace)
        return
    since = format_time(ticket.acknowledged_at or draft.now)
    message = f"worker {ticket.worker_id} has not reported the end within {ticket.sla.timeout_ms} ms of {since}"
    draft.deliver(ticket, ticket.worker_id or "", ticket.attempt, cancelled=True)
    retry_or_fail(draft, ticket, Reason(code="timed_out", message=message), outcome.around)
