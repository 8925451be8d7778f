"""The decision of a person about a ticket that asks for one: approved or denied, once and for all."""

from typing import Any

from functions._core.events.commands import TicketApproval, TicketDenial, refusal, said
from functions._core.machine.ending import complete, fail
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.records.control import Approval, OnLapse
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import TicketStatus, Waiting, format_time

APPROVED, DENIED = "approved", "denied"
"""Codes of the reasons of a ticket that a person has decided about."""

Decision = TicketApproval | TicketDenial


def decide(builder: StepBuilder, ticket: Ticket, command: Decision, around: RelatedTickets) -> bool:
    """End a ticket that waits for a person by the decision; False when the same was decided before.

    A denial completes the ticket too where its `on_denied` says so. Raises `Rejected`, status 409, for a ticket that
    waits for no decision, and for the opposite of what was decided.
    """
    approval, approved = approval_of(ticket), isinstance(command, TicketApproval)
    if approval is None or not waits_for_person(ticket):
        return _decided_before(ticket, approved=approved)
    code = APPROVED if approved else DENIED
    reason = Reason(code=code, message=f"{code} by {said(command)}")
    if approved or approval.on_denied is OnLapse.CONTINUE:
        output = decided(command, format_time(builder.now))
        builder.ready(complete(builder, ticket, output, around, trigger=TicketTrigger.ARRIVE, reason=reason))
    else:
        fail(builder, ticket, reason, around)
    return True


def approval_of(ticket: Ticket) -> Approval | None:
    """Return the question that a ticket asks people; None when it asks none."""
    return ticket.control.approval if ticket.control is not None else None


def waits_for_person(ticket: Ticket) -> bool:
    """Whether a ticket waits for the decision of a person now."""
    return ticket.status is TicketStatus.WAITING and ticket.waiting is Waiting.APPROVAL


def decided(command: Decision, at: str) -> dict[str, Any]:
    """Return the output of a ticket that a person has decided about at the moment `at`."""
    return {
        "approved": isinstance(command, TicketApproval),
        "by": command.requested_by,
        "at": at,
        "reason": command.reason,
        "data": command.data,
    }


def _decided_before(ticket: Ticket, *, approved: bool) -> bool:
    """Refuse a decision that nobody waits for, unless it says what has been decided already."""
    known = ticket.reason.code if ticket.reason is not None and approval_of(ticket) is not None else None
    if known == (APPROVED if approved else DENIED):
        return False
    asks = "waits for no decision of a person" if approval_of(ticket) is not None else "asks nobody for a decision"
    raise refusal(f"ticket {ticket.task_id} is {ticket.status} and {asks}")
