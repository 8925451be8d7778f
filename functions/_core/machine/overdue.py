"""The rules for a ticket that has waited as long as it may, or whose slack has gone: one rule for each wait."""

from dataclasses import dataclass
from datetime import datetime

from functions._core.machine.assignment import not_asked_for, own_has_not_come, pulls, schedule_to_start
from functions._core.machine.closing import risk
from functions._core.machine.ending import complete, fail, retry_or_fail, settle
from functions._core.machine.freezing import look_at_freeze
from functions._core.machine.guarding import expire
from functions._core.machine.hedging import other_overdue, silent_since, spared_until
from functions._core.machine.related_tickets import NONE_RELATED, RelatedTickets
from functions._core.machine.releasing import look_again, readied
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.planning.slack import earliest, fits, last_call, worsened
from functions._core.records.attempts import other_of, own_attempt
from functions._core.records.control import OnLapse
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import (
    FlowStatus,
    SecurityLevel,
    SlackState,
    TicketStatus,
    Waiting,
    format_time,
)
from functions._core.records.worker import OWN_WORKER


@dataclass(frozen=True, slots=True)
class TicketOverdue:
    """SLA: a ticket's wake-up has come. `capable` tells whether a living worker offers all that it requires."""

    ticket_id: str
    around: RelatedTickets = NONE_RELATED
    capable: bool = False

    def apply(self, builder: StepBuilder) -> None:
        """Apply the rule for the present wait; a wake-up that fired early is only set again."""
        ticket = builder.context.tickets.get(self.ticket_id)
        if ticket is None or ticket.next_wakeup_at is None:
            return
        if ticket.next_wakeup_at > builder.now:
            builder.change_ticket(ticket)
            return
        builder.look_at_job(ticket)
        if ticket.hedge is not None:
            ticket = other_overdue(builder, ticket)
        if not ticket.live:
            cleared = builder.change_ticket(ticket, next_wakeup_at=None)
            if self.around.tally is not None:
                settle(builder, cleared, self.around)
        elif builder.flow.status is FlowStatus.PAUSED and not runs_out(ticket, builder.now):
            other = other_of(ticket)
            limit = None if ticket.status is TicketStatus.PENDING else ticket.until
            limit = limit if other is None else earliest(limit, other.until)
            # A pause that is over is ended by the flow's own wake-up, however late that comes.
            soonest = builder.now + builder.context.rules.reemit_after(0)
            resumed = max(builder.flow.next_wakeup_at or soonest, soonest)
            look = None if own_attempt(ticket) is None else builder.now + builder.context.rules.job_look
            builder.change_ticket(ticket, next_wakeup_at=earliest(limit, resumed, look))
        else:
            _worsen(builder, ticket)
            _act(builder, builder.latest(ticket), self)


def waited_out(ticket: Ticket, now: datetime) -> bool:
    """Whether the present wait of the ticket has lasted as long as it may; else only its slack is looked at."""
    until = ticket.until or ticket.next_wakeup_at
    return until is not None and until <= now


def runs_out(ticket: Ticket, now: datetime) -> bool:
    """Whether a worker that holds the ticket has had its time; a pause of the flow does not give it more."""
    return ticket.status is not TicketStatus.PENDING and waited_out(ticket, now)


def too_late_to_start(ticket: Ticket, now: datetime) -> bool:
    """Whether the ticket should have got a worker by now, by the limit of its task."""
    limit = schedule_to_start(ticket)
    return ticket.open_dependencies == 0 and limit is not None and limit <= now


def _worsen(builder: StepBuilder, ticket: Ticket) -> None:
    """Announce, once each, that the ticket's share of the SLA is in danger or gone, and that the flow's is."""
    if builder.flow.sla_paused:
        return
    state = worsened(ticket, builder.now)
    if state is not None:
        changed = builder.change_ticket(ticket, announced=state)
        if state is SlackState.BREACHED:
            kind, detail = "sla.violated", {"to_be_done_by": format_time(ticket.sla.deadline)}
        else:
            kind, detail = "sla.at_risk", {"to_be_started_by": format_time(ticket.latest_start)}
        builder.note(kind, ticket=changed, cause=state.value, worker_id=ticket.worker_id, detail=detail)
    called = last_call(ticket, builder.flow)
    if called is not None and called <= builder.now:
        # From here on it waits behind tickets that can still be done in time.
        builder.change_ticket(builder.latest(ticket), late=True)
    if not fits(ticket, builder.flow, builder.now, builder.context.rules):
        message = f"task {ticket.task_id} and what depends on it cannot be done in time any more, by their estimates"
        risk(builder, Reason(code="no_slack", message=message, where=ticket.task_id))


def _act(builder: StepBuilder, ticket: Ticket, outcome: TicketOverdue) -> None:
    if ticket.status is TicketStatus.PENDING and too_late_to_start(ticket, builder.now):
        waited = (ticket.schedule_to_start_ms or 0) / 1000
        message = f"no worker has taken it within the {waited:g} s that its task allows"
        fail(builder, ticket, Reason(code="schedule_to_start", message=message), outcome.around)
    elif not waited_out(ticket, builder.now):
        kept = builder.change_ticket(ticket, until=ticket.until)
        if ticket.waiting is Waiting.EVENT:
            look_again(builder, kept)
    elif ticket.status is TicketStatus.PENDING:
        _pending(builder, ticket, outcome)
    elif ticket.status is TicketStatus.WAITING:
        _waited(builder, ticket, outcome.around)
    elif ticket.acknowledged_at is None and (pulls(ticket) or own_has_not_come(ticket, builder)):
        not_asked_for(builder, ticket)
    elif ticket.acknowledged_at is None:
        # The same attempt to the same worker, which knows it by ticket and attempt; its answer decides what follows.
        # An answer that never came, the platform may have died with it, leaves open whether the worker has begun.
        again = builder.change_ticket(
            ticket,
            perhaps_begun=ticket.perhaps_begun or ticket.asked,
            asked=not ticket.idempotent and ticket.worker_id != OWN_WORKER,
            until=builder.now + builder.context.rules.redeliver,
        )
        builder.deliver(again, again.worker_id or "", again.attempt)
    else:
        _timed_out(builder, ticket, outcome)


def _pending(builder: StepBuilder, ticket: Ticket, outcome: TicketOverdue) -> None:
    if ticket.waiting is Waiting.WORKER and not outcome.capable:
        waited = builder.context.rules.no_worker.total_seconds()
        asked = ", ".join(ticket.required_capabilities) or "any capability"
        if not SecurityLevel.INTERNAL.covers(ticket.security_level):
            asked += f" and is cleared for {ticket.security_level}"
        message = f"no worker that offers {asked} has registered within {waited:g} s"
        fail(builder, ticket, Reason(code="no_worker", message=message), outcome.around)
        return
    if ticket.waiting is Waiting.TURN:
        builder.change_ticket(ticket, until=builder.now + builder.context.rules.reemit_most)
        return
    if ticket.waiting is Waiting.FREEZE:
        look_at_freeze(builder, ticket)
        return
    if ticket.waiting is Waiting.QUARANTINE:
        expire(builder, ticket, outcome.around)
        return
    # The rest is driven by something that may have been lost; the flow's own wake-up ends it at the deadline.
    emissions = ticket.emissions + 1
    after = builder.context.rules.reemit_after(emissions)
    changes = readied(builder, after=after)
    if ticket.open_dependencies:
        changes |= {"waiting": Waiting.DEPENDENCIES, "waiting_since": ticket.waiting_since}
    changed = builder.change_ticket(ticket, emissions=emissions, **changes)
    if changed.waiting is Waiting.DISCOVERY:
        builder.ready([changed])


def ends_well(ticket: Ticket) -> bool:
    """Whether a WAITING ticket whose wait is over is COMPLETED by that, and not FAILED."""
    control = ticket.control
    if control is None or ticket.waiting is Waiting.MOMENT:
        return True
    rule = control.approval.on_timeout if control.approval else control.wait.on_timeout if control.wait else None
    return rule is OnLapse.CONTINUE


def _waited(builder: StepBuilder, ticket: Ticket, around: RelatedTickets) -> None:
    """End a wait that is over, or let a ticket with children go on, in case that its event was lost."""
    if ticket.waiting is Waiting.CHILDREN:
        emissions = ticket.emissions + 1
        until = builder.now + builder.context.rules.reemit_after(emissions)
        builder.ready([builder.change_ticket(ticket, emissions=emissions, until=until)])
        return
    if ends_well(ticket):
        output = {"approved": None} if ticket.waiting is Waiting.APPROVAL else None
        builder.ready(complete(builder, ticket, output, around, trigger=TicketTrigger.ARRIVE))
        return
    code, missed = "event_missing", "the event that it waits for has not come"
    if ticket.waiting is Waiting.APPROVAL:
        code, missed = "approval_expired", "nobody has approved or denied it"
    message = f"{missed} by {format_time(ticket.until or builder.now)}"
    fail(builder, ticket, Reason(code=code, message=message), around)


def _timed_out(builder: StepBuilder, ticket: Ticket, outcome: TicketOverdue) -> None:
    spared = spared_until(builder)
    if spared is not None:
        builder.change_ticket(ticket, until=spared)
        return
    builder.deliver(ticket, ticket.worker_id or "", ticket.attempt, cancelled=True)
    retry_or_fail(builder, ticket, silent_since(ticket, builder.now), outcome.around)
