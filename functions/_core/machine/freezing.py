"""How a freeze holds tickets back, and lets them go on: see `_core.slo.gate`."""

from functions._core.events.commands import FreezeException, given_by, refusal
from functions._core.guards.gate import POLICY_UNAVAILABLE, QUARANTINED
from functions._core.machine.releasing import readied
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.planning.slack import earliest, limit_of
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import TaskType, TicketStatus, Waiting
from functions._core.slo.gate import BLOCKED_BY_FREEZE

PASSING = frozenset({BLOCKED_BY_FREEZE, POLICY_UNAVAILABLE, QUARANTINED})
"""Codes of reasons that a ticket has while a freeze or a guard holds it back, and no longer."""


def block(builder: StepBuilder, ticket: Ticket, reason: Reason) -> None:
    """Let a ticket wait for the end of a freeze, and say so once for each freeze; its SLA's time runs on."""
    known = ticket.waiting is Waiting.FREEZE and ticket.reason == reason
    if known and ticket.until is not None and ticket.until > builder.now:
        return
    until = earliest(limit_of(builder.flow, builder.context.rules), builder.now + builder.context.rules.freeze_look)
    builder.move_ticket(
        ticket.but(reason=reason),
        TicketTrigger.BLOCK,
        None if known else "ticket.held_back",
        cause=reason.code,
        waiting=Waiting.FREEZE,
        waiting_since=ticket.waiting_since if ticket.waiting is Waiting.FREEZE else builder.now,
        candidates=(),
        refusals=(),
        turn=None,
        until=until,
    )


def passed(builder: StepBuilder, ticket: Ticket) -> Ticket:
    """Return a ticket that nothing holds back any more; after a freeze it has waited for a worker from now on."""
    if ticket.waiting is not Waiting.FREEZE:  # its flow was paused meanwhile, or none held it back
        blocked = ticket.reason is not None and ticket.reason.code in PASSING
        return builder.change_ticket(ticket, reason=None) if blocked else ticket
    return builder.change_ticket(ticket, reason=None, ready_at=builder.now, **readied(builder))


def look_at_freeze(builder: StepBuilder, ticket: Ticket) -> None:
    """Have C3 look whether the freeze still lasts."""
    until = builder.now + builder.context.rules.freeze_look
    builder.ready([builder.change_ticket(ticket, emissions=ticket.emissions + 1, until=until)])


def except_from_freezes(builder: StepBuilder, ticket: Ticket, command: FreezeException) -> bool:
    """Let a ticket pass every freeze; False when it may already. Raises `Rejected`, status 409."""
    if ticket.task_type is not TaskType.DEPLOY:
        raise refusal(f"ticket {ticket.task_id} is of type {ticket.task_type}: freezes hold back DEPLOY tickets alone")
    if not ticket.live:
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}: no freeze holds it back")
    if ticket.freeze_exception:
        return False
    excepted = builder.change_ticket(ticket, freeze_exception=True)
    if ticket.status is TicketStatus.PENDING and ticket.waiting is Waiting.FREEZE:
        excepted = passed(builder, excepted.but(emissions=ticket.emissions + 1))
        builder.ready([excepted])
    builder.note("ticket.freeze_excepted", ticket=excepted, cause=command.verb, detail=given_by(command))
    return True
