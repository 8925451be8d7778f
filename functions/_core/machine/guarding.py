"""How guards hold tickets back, and people let them go on, or not: see `_core.guards.judging`."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from functions._core.events.commands import QuarantineDecision, QuarantineRuling, given_by, refusal, said
from functions._core.guards.gate import (
    POLICY_DENIED,
    POLICY_UNAVAILABLE,
    QUARANTINE_EXPIRED,
    QUARANTINE_REJECTED,
    Finding,
    GuardVerdict,
)
from functions._core.machine.ending import fail
from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.releasing import readied
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.planning.slack import earliest, limit_of
from functions._core.records.audits import ActionRecord
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import FlowStatus, Waiting, add_time, format_time, name_uuid

VERDICT = "guard.verdict"
"""The transition that tells what a guard has found, or what a person has decided after it."""

GUARD = "a guard"
"""Who has acted, in the audit of a verdict."""


class Unjudged(NamedTuple):
    """C1: the policy server is away, and without it the flow must not go on; its event is sent again."""

    reason: Reason

    def apply(self, builder: StepBuilder) -> None:
        """Say so, once: the wake-up of the flow brings C1 here again."""
        flow = builder.flow
        known = any(reason.code == POLICY_UNAVAILABLE for reason in flow.reasons)
        if flow.status is FlowStatus.VALIDATING and not known:
            builder.change_flow(reasons=(self.reason,))
            tell(builder, Finding.UNAVAILABLE, (self.reason,))


def tell(
    builder: StepBuilder,
    finding: Finding,
    reasons: Iterable[Reason],
    ticket: Ticket | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Add a verdict to the history, of the flow or of one of its tickets; subscribers get it as an event."""
    told = [reason.told for reason in reasons]
    stage = "plan" if ticket is None else "ticket"
    because: dict[str, Any] = {"reasons": told} if ticket is None else {"reason": told[0]} if told else {}
    detail = {"finding": finding.value, "stage": stage, **because, **(more or {})}
    status = ticket.status if ticket is not None else None
    cause = told[0]["code"] if told else finding.value
    builder.note(VERDICT, ticket=ticket, cause=cause, from_status=status, to_status=status, detail=detail)


def tell_of_plan(builder: StepBuilder, reasons: Iterable[Reason]) -> None:
    """Add what guards have found of a plan, if they have found anything."""
    denied = [reason for reason in reasons if reason.code == POLICY_DENIED]
    away = [reason for reason in reasons if reason.code == POLICY_UNAVAILABLE]
    if denied or away:
        tell(builder, Finding.DENY if denied else Finding.UNAVAILABLE, denied or away)


def deny(builder: StepBuilder, ticket: Ticket, reason: Reason, around: RelatedTickets) -> None:
    """Let a ticket fail that a guard denies; it is not tried again."""
    _audit(builder, ticket, reason)
    tell(builder, Finding.DENY, (reason,), ticket)
    fail(builder, ticket, reason, around)


def hold(builder: StepBuilder, ticket: Ticket, verdict: GuardVerdict, reason: Reason) -> None:
    """Let a ticket wait for a person, or for a policy server that is away; or note that it goes on without one."""
    if verdict.finding is Finding.QUARANTINE:
        _quarantine(builder, ticket, reason)
    elif verdict.stops:
        _look_again(builder, ticket, reason)
    elif not ticket.emissions:  # else it was said before
        tell(builder, verdict.finding, (reason,), ticket)


def _quarantine(builder: StepBuilder, ticket: Ticket, reason: Reason) -> None:
    rules = builder.context.rules
    until = earliest(limit_of(builder.flow, rules), add_time(builder.now, rules.approval))
    held = _held(builder, ticket.but(reason=reason), Waiting.QUARANTINE, until=until)
    _audit(builder, held, reason)
    tell(builder, Finding.QUARANTINE, (reason,), held)


def _look_again(builder: StepBuilder, ticket: Ticket, reason: Reason) -> None:
    """Let a ticket be looked at again: after a while, and then after twice as long."""
    known = ticket.reason is not None and ticket.reason.code == reason.code
    until = builder.now + builder.context.rules.reemit_after(ticket.emissions)
    emissions = ticket.emissions + 1
    held = _held(builder, ticket.but(reason=reason), Waiting.RETRY, until=until, emissions=emissions)
    if not known:
        tell(builder, Finding.UNAVAILABLE, (reason,), held)


def _held(builder: StepBuilder, ticket: Ticket, waiting: Waiting, **changes: Any) -> Ticket:  # noqa: ANN401 fields
    return builder.move_ticket(
        ticket,
        TicketTrigger.GUARD,
        waiting=waiting,
        waiting_since=builder.now,
        candidates=(),
        refusals=(),
        turn=None,
        **changes,
    )


def expire(builder: StepBuilder, ticket: Ticket, around: RelatedTickets) -> None:
    """Let a ticket fail about which nobody has decided in time."""
    message = f"nobody has released or rejected it by {format_time(ticket.until or builder.now)}"
    because = f": {ticket.reason.message}" if ticket.reason is not None else ""
    fail(builder, ticket, Reason(code=QUARANTINE_EXPIRED, message=f"{message}{because}"), around)


def decide_quarantine(
    builder: StepBuilder, ticket: Ticket, command: QuarantineDecision, around: RelatedTickets
) -> bool:
    """Let a ticket in quarantine go on, or fail; False where the same was decided before.

    Raises `Rejected`, status 409, for a ticket that is in no quarantine, and for the opposite of what was decided.
    """
    released = command.ruling is QuarantineRuling.RELEASE
    if ticket.waiting is not Waiting.QUARANTINE or not ticket.live:
        if ticket.guard_release if released else _rejected_before(ticket):
            return False
        raise refusal(f"ticket {ticket.task_id} is {ticket.status} and in no quarantine")
    more = {"ruling": command.ruling.value, **given_by(command)}
    because = (ticket.reason,) if ticket.reason is not None else ()
    if not released:
        tell(builder, Finding.DENY, because, ticket, more)
        reason = Reason(code=QUARANTINE_REJECTED, message=f"rejected by {said(command)}")
        fail(builder, ticket, reason, around)
        return True
    free = builder.change_ticket(
        ticket,
        guard_release=True,
        reason=None,
        ready_at=builder.now,
        emissions=ticket.emissions + 1,
        **readied(builder),
    )
    tell(builder, Finding.ALLOW, because, free, more)
    if free.waiting is Waiting.DISCOVERY:
        builder.ready([free])
    return True


def _rejected_before(ticket: Ticket) -> bool:
    return ticket.reason is not None and ticket.reason.code == QUARANTINE_REJECTED


def _audit(builder: StepBuilder, ticket: Ticket, reason: Reason) -> None:
    flow_id = builder.flow.flow_id
    builder.audit(
        ActionRecord(
            audit_id=name_uuid(flow_id, f"guard/{ticket.ticket_id}/{reason.code}/{builder.context.cause}"),
            flow_id=flow_id,
            action="deny_ticket_by_guard" if reason.code == POLICY_DENIED else "quarantine_ticket",
            target=ticket.ticket_id,
            who=GUARD,
            why=reason.message,
            at=builder.now,
        )
    )
