"""What people's orders do: cancel, approve, deny, pause, resume, redrive a flow; retry, reassign, skip a ticket.

An order that asks for what is so already changes nothing and is a success; one that cannot be carried out is refused
with the reason before anything is changed. Every order that is carried out is kept, with who gave it and why.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

from functions._core.errors import Rejected
from functions._core.events import commands
from functions._core.events.commands import given_by, refusal, said
from functions._core.machine.assignment import reassign
from functions._core.machine.closing import cancel_all, executing_wakeup, recount, settled
from functions._core.machine.ending import complete, readied
from functions._core.machine.flow import CHAIN, emit_again, emit_chain
from functions._core.machine.outcomes import Ordered, PauseOver, Settled
from functions._core.machine.redrive import redrive
from functions._core.machine.step_builder import Draft
from functions._core.machine.tables import ENDED_FLOWS, ENDED_TICKETS, FLOW_TRANSITIONS, FlowTrigger, TicketTrigger
from functions._core.planning.slack import deadline_at
from functions._core.records.audits import ActionRecord
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting, add_time, format_time, name_uuid

ORDERS_KEPT = 20
"""Orders that a flow remembers, so that one which comes twice counts once."""


def ordered(draft: Draft, outcome: Ordered) -> None:
    """C5: a person's order; raises `Rejected`, status 409, when it cannot be carried out."""
    order, flow = outcome.order, draft.flow
    # What is ordered belongs to it: two senders may count from 1, and a cancel must not pass for a pause.
    known_as = name_uuid(flow.flow_id, f"order/{order.verb}/{order.target}/{outcome.order_id}")
    if known_as in flow.orders:
        return
    changed = STEPS[type(order)](draft, outcome)
    if changed or draft.flow.status not in ENDED_FLOWS:
        # Also what was so already: sent again after somebody has changed it back, it must not count.
        draft.change_flow(orders=(*flow.orders, known_as)[-ORDERS_KEPT:])
    if not changed:
        return
    draft.audit(
        ActionRecord(
            audit_id=known_as,
            flow_id=flow.flow_id,
            action=order.verb,
            target=order.target,
            who=order.requested_by,
            why=order.reason,
            at=draft.now,
        )
    )


def pause_over(draft: Draft, outcome: PauseOver) -> None:
    """SLA: a pause has lasted as long as it may; the flow goes on by itself."""
    if draft.flow.status is FlowStatus.PAUSED:
        _go_on(draft, FlowTrigger.LAPSED, outcome.live, outcome.tally, {})


def _cancel(draft: Draft, outcome: Ordered) -> bool:
    if draft.flow.outcome is not None:
        return False
    why = Reason(code="cancelled", message=f"cancelled by {said(outcome.order)}")
    cancel_all(draft, outcome.live, why)
    draft.end(FlowTrigger.CANCELLED, Outcome.CANCELLED, why, tally=recount(draft, outcome.tally))
    return True


def _approve(draft: Draft, outcome: Ordered) -> bool:
    flow = draft.flow
    if flow.status is not FlowStatus.AWAITING_APPROVAL:
        return _decided_before(draft, denied=False)
    deadline = deadline_at(draft.flow, draft.now)
    draft.move_flow(
        FlowTrigger.APPROVED,
        "plan.validated",
        detail={**given_by(outcome.order), "sla_deadline": format_time(deadline)},
        reasons=(),
        sla_deadline=deadline,
        next_wakeup_at=min(draft.now + draft.situation.rules.reemit_after(0), deadline),
    )
    emit_chain(draft)
    return True


def _deny(draft: Draft, outcome: Ordered) -> bool:
    if draft.flow.status is not FlowStatus.AWAITING_APPROVAL:
        return _decided_before(draft, denied=True)
    why = Reason(code="approval_denied", message=f"denied by {said(outcome.order)}")
    draft.end(FlowTrigger.DENIED, Outcome.REJECTED, why)
    return True


def _decided_before(draft: Draft, *, denied: bool) -> bool:
    """Refuse a decision that nobody waits for, unless it says what has been decided already."""
    flow = draft.flow
    after = {then.status for was, then in pairwise(flow.phases) if was.status is FlowStatus.AWAITING_APPROVAL}
    if after and (flow.outcome is Outcome.REJECTED if denied else FlowStatus.GENERATING in after):
        return False
    raise refusal(f"flow {flow.flow_id} is {flow.status} and does not wait for approval")


def _pause(draft: Draft, outcome: Ordered) -> bool:
    flow = draft.flow
    if flow.status is FlowStatus.PAUSED:
        return False
    if FlowTrigger.PAUSED not in FLOW_TRANSITIONS[flow.status]:
        raise refusal(f"flow {flow.flow_id} is {flow.status}: only a flow that makes or runs its tickets can be paused")
    until = add_time(draft.now, draft.situation.rules.pause)
    until = min(until, flow.sla_limit or until)
    draft.move_flow(
        FlowTrigger.PAUSED,
        "flow.paused",
        detail={**given_by(outcome.order), "until": format_time(until)},
        back=flow.status,
        next_wakeup_at=until,
    )
    for ticket in outcome.live:
        if (
            ticket.status is TicketStatus.PENDING
            and not ticket.open_dependencies
            and ticket.waiting is not Waiting.RETRY
        ):
            draft.change_ticket(ticket, **readied(draft))
    return True


def _resume(draft: Draft, outcome: Ordered) -> bool:
    flow = draft.flow
    if flow.status is not FlowStatus.PAUSED:
        if flow.status in ENDED_FLOWS or flow.outcome is not None:
            raise refusal(f"flow {flow.flow_id} is {flow.status}: there is nothing to resume")
        return False
    _go_on(draft, FlowTrigger.RESUMED, outcome.live, outcome.tally, given_by(outcome.order))
    return True


def _go_on(
    draft: Draft, trigger: FlowTrigger, live: Sequence[Ticket], tally: Mapping[str, int], detail: Mapping[str, Any]
) -> None:
    """End a pause: what the flow has left of its time is what it had; what could not be assigned is ready."""
    deadline = deadline_at(draft.flow, draft.now)
    shift = deadline - draft.flow.sla_deadline
    told = {**detail, "sla_deadline": format_time(deadline)}
    draft.move_flow(trigger, "flow.resumed", detail=told, back=None, sla_deadline=deadline)
    if draft.flow.status in CHAIN:
        emit_again(draft)
        return
    draft.change_flow(next_wakeup_at=executing_wakeup(draft))
    shifted = [_later(draft, ticket, shift) for ticket in live]
    draft.ready(ticket for ticket in shifted if ticket.waiting is Waiting.DISCOVERY)
    if not live:
        settled(draft, Settled(tally))


def _later(draft: Draft, ticket: Ticket, shift: timedelta) -> Ticket:
    """Move a ticket's share of the SLA by the time for which the flow stood."""
    changes: dict[str, Any] = {
        "sla": ticket.sla.but(deadline=add_time(ticket.sla.deadline, shift)),
        "latest_start": add_time(ticket.latest_start, shift),
        "late": False,
        "until": ticket.until,
    }
    if ticket.status is TicketStatus.PENDING:
        if ticket.open_dependencies:
            changes["until"] = draft.flow.sla_deadline
        elif ticket.waiting is not Waiting.RETRY or (ticket.until or draft.now) <= draft.now:
            changes |= {"emissions": ticket.emissions + 1, "ready_at": draft.now, **readied(draft)}
    return draft.change_ticket(ticket, **changes)


def _retry(draft: Draft, outcome: Ordered) -> bool:
    ticket = _ticket(draft, outcome)
    if ticket.status is not TicketStatus.PENDING:
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}: {_instead(ticket)}")
    if ticket.open_dependencies:
        raise refusal(f"ticket {ticket.task_id} waits for {ticket.open_dependencies} of its dependencies")
    if draft.flow.status is FlowStatus.PAUSED:
        raise refusal(f"flow {draft.flow.flow_id} is PAUSED: resume it")
    again = draft.change_ticket(ticket, emissions=ticket.emissions + 1, refusals=(), refused_by={}, **readied(draft))
    draft.note("ticket.retry_forced", ticket=again, cause=outcome.order.verb, detail=given_by(outcome.order))
    draft.ready([again])
    return True


def _reassign(draft: Draft, outcome: Ordered) -> bool:
    ticket = _ticket(draft, outcome)
    if ticket.worker_id is None or ticket.status not in {TicketStatus.ASSIGNED, TicketStatus.RUNNING}:
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}: no worker holds it")
    if not ticket.idempotent and (ticket.acknowledged_at or ticket.perhaps_begun or ticket.asked):
        raise refusal(
            f"task {ticket.task_id} is not idempotent and worker {ticket.worker_id} has it: let it end, skip it, "
            "or cancel the flow"
        )
    reason = Reason(code="reassigned", message=f"taken from worker {ticket.worker_id} by {said(outcome.order)}")
    draft.deliver(ticket, ticket.worker_id, ticket.attempt, cancelled=True)
    reassign(draft, ticket, reason, {**readied(draft), "ready_at": draft.now})
    return True


def _skip(draft: Draft, outcome: Ordered) -> bool:
    ticket = _ticket(draft, outcome)
    if ticket.skipped:
        return False
    if ticket.status in ENDED_TICKETS or ticket.status is TicketStatus.COMPENSATING:
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}: {_instead(ticket)}")
    if ticket.open_dependencies:
        raise refusal(f"ticket {ticket.task_id} waits for {ticket.open_dependencies} of its dependencies")
    if ticket.worker_id is not None:
        draft.deliver(ticket, ticket.worker_id, ticket.attempt, cancelled=True)
    output = outcome.order.output if isinstance(outcome.order, commands.SkipRequest) else None
    reason = Reason(code="skipped", message=f"skipped by {said(outcome.order)}")
    freed = complete(draft, ticket, output, outcome.around, trigger=TicketTrigger.SKIP, reason=reason, skipped=True)
    draft.ready(freed)
    return True


def _ticket(draft: Draft, outcome: Ordered) -> Ticket:
    ticket = draft.situation.tickets.get(outcome.order.target)
    if ticket is None or ticket.flow_id != draft.flow.flow_id:
        raise Rejected(
            f"flow {draft.flow.flow_id} has no ticket {outcome.order.target}", code="unknown_ticket", status=404
        )
    return ticket


def _instead(ticket: Ticket) -> str:
    if ticket.status in {TicketStatus.ASSIGNED, TicketStatus.RUNNING}:
        return "a worker holds it; reassign it to take it away"
    if ticket.status in {TicketStatus.FAILED, TicketStatus.CANCELLED, TicketStatus.COMPENSATED}:
        return "it has ended; redrive its flow once that has ended, too"
    return "it is done"


STEPS: Mapping[type[commands.Order], Callable[[Draft, Ordered], bool]] = {
    commands.CancelRequest: _cancel,
    commands.ApprovalGrant: _approve,
    commands.ApprovalDenial: _deny,
    commands.PauseRequest: _pause,
    commands.ResumeRequest: _resume,
    commands.RedriveRequest: redrive,
    commands.RetryRequest: _retry,
    commands.ReassignRequest: _reassign,
    commands.SkipRequest: _skip,
}
"""Each step tells whether it has changed anything."""
