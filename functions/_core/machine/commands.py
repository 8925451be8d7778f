"""The commands of people: cancel, approve, deny, pause, resume, redrive a flow; retry, reassign, skip a ticket.

A command whose result is there already changes nothing and is a success; one that is not possible is refused with the
reason before anything is changed. Every command that is carried out is kept, with the person and the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from functions._core.errors import Rejected
from functions._core.events import commands
from functions._core.events.commands import AnyCommand, given_by, refusal, said
from functions._core.machine.assignment import reassign
from functions._core.machine.claim import claim, expected
from functions._core.machine.closing import cancel_all, recount
from functions._core.machine.deciding import decide
from functions._core.machine.ending import cancel, complete
from functions._core.machine.flow import emit_chain
from functions._core.machine.freezing import except_from_freezes
from functions._core.machine.guarding import decide_quarantine
from functions._core.machine.hedging import hedge
from functions._core.machine.pausing import go_on
from functions._core.machine.redrive import redrive, redrive_ticket
from functions._core.machine.related_tickets import NONE_RELATED, RelatedTickets
from functions._core.machine.releasing import readied
from functions._core.machine.replanning import adjust, replan
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import ENDED_FLOWS, ENDED_TICKETS, FLOW_TRANSITIONS, FlowTrigger, TicketTrigger
from functions._core.planning.replan import Replan
from functions._core.planning.slack import deadline_at
from functions._core.records.audits import ActionRecord
from functions._core.records.models import HELD_TICKETS, Reason, Ticket
from functions._core.records.values import (
    FlowStatus,
    Outcome,
    TicketStatus,
    Waiting,
    add_time,
    format_time,
    name_uuid,
)
from functions._core.records.worker import Candidate, Worker

ORDERS_KEPT = 20
"""Commands that a flow remembers, so that one which comes twice counts once; a bound on the row."""


@dataclass(frozen=True, slots=True)
class Commanded:
    """C5: a person has given a command about a flow or one of its tickets.

    `live` are the live tickets of the flow and `tally` the counts by status where it touches them all, `around`
    is loaded for the ticket that it names. `redriven` are the tickets to be done again, with the timings and open
    dependencies that they have then, by the flow's new `deadline`; the work of `not_compensatable` stays done.
    `worker` is the one that claims, if it is registered. `replan` is the difference that another plan makes. `second`
    is the worker for a second attempt, or why there is none.
    """

    command: AnyCommand
    command_id: str
    live: Sequence[Ticket] = ()
    tally: Mapping[str, int] = field(default_factory=dict)
    around: RelatedTickets = NONE_RELATED
    redriven: Sequence[Ticket] = ()
    not_compensatable: Sequence[Ticket] = ()
    deadline: datetime | None = None
    worker: Worker | None = None
    replan: Replan | None = None
    second: Candidate | Reason | None = None

    def apply(self, builder: StepBuilder) -> None:
        """C5: the command of a person; raises `Rejected`, status 409, when it cannot be carried out."""
        command, flow = self.command, builder.flow
        if isinstance(command, commands.ClaimRequest):
            # A worker's, not a person's: the ticket says who has it, and claims do not fight over the flow's row.
            claim(builder, _ticket(builder, self), command, self.worker)
            return
        known_as = audit_id_of(flow.flow_id, command, self.command_id)
        if known_as in flow.orders:
            return
        changed = STEPS[type(command)](builder, self)
        if changed or builder.flow.status not in ENDED_FLOWS:
            # Also a command without effect: sent again after somebody has changed its result back, it must not count.
            builder.change_flow(orders=(*flow.orders, known_as)[-ORDERS_KEPT:])
        if not changed:
            return
        builder.audit(
            ActionRecord(
                audit_id=known_as,
                flow_id=flow.flow_id,
                action=command.verb,
                target=command.target,
                who=command.requested_by,
                why=command.reason,
                at=builder.now,
            )
        )


def audit_id_of(flow_id: str, command: AnyCommand, command_id: str) -> str:
    """Return the id of the audit of a command, by which it counts once.

    It includes verb and target: two senders may count from 1, and a cancel must not pass for a pause.
    """
    return name_uuid(flow_id, f"order/{command.verb}/{command.target}/{command_id}")


def _cancel(builder: StepBuilder, outcome: Commanded) -> bool:
    if builder.flow.outcome is not None:
        return False
    why = Reason(code="cancelled", message=f"cancelled by {said(outcome.command)}")
    cancel_all(builder, outcome.live, why)
    builder.end(FlowTrigger.CANCELLED, Outcome.CANCELLED, why, tally=recount(builder, outcome.tally))
    return True


def _approve(builder: StepBuilder, outcome: Commanded) -> bool:
    flow = builder.flow
    if flow.status is not FlowStatus.AWAITING_APPROVAL:
        return _decided_before(builder, denied=False)
    deadline = deadline_at(builder.flow, builder.now)
    builder.move_flow(
        FlowTrigger.APPROVED,
        "plan.validated",
        detail={**given_by(outcome.command), "sla_deadline": format_time(deadline)},
        reasons=(),
        sla_deadline=deadline,
        next_wakeup_at=min(builder.now + builder.context.rules.reemit_after(0), deadline),
    )
    emit_chain(builder)
    return True


def _deny(builder: StepBuilder, outcome: Commanded) -> bool:
    if builder.flow.status is not FlowStatus.AWAITING_APPROVAL:
        return _decided_before(builder, denied=True)
    why = Reason(code="approval_denied", message=f"denied by {said(outcome.command)}")
    builder.end(FlowTrigger.DENIED, Outcome.REJECTED, why)
    return True


def _decided_before(builder: StepBuilder, *, denied: bool) -> bool:
    """Refuse a decision that nobody waits for, unless it says what has been decided already."""
    flow = builder.flow
    after = {then.status for was, then in pairwise(flow.phases) if was.status is FlowStatus.AWAITING_APPROVAL}
    if after and (flow.outcome is Outcome.REJECTED if denied else FlowStatus.GENERATING in after):
        return False
    raise refusal(f"flow {flow.flow_id} is {flow.status} and does not wait for approval")


def _pause(builder: StepBuilder, outcome: Commanded) -> bool:
    flow = builder.flow
    if flow.status is FlowStatus.PAUSED:
        return False
    if FlowTrigger.PAUSED not in FLOW_TRANSITIONS[flow.status]:
        raise refusal(f"flow {flow.flow_id} is {flow.status}: only a flow that makes or runs its tickets can be paused")
    until = add_time(builder.now, builder.context.rules.pause)
    until = min(until, flow.sla_limit or until)
    builder.move_flow(
        FlowTrigger.PAUSED,
        "flow.paused",
        detail={**given_by(outcome.command), "until": format_time(until)},
        back=flow.status,
        next_wakeup_at=until,
    )
    for ticket in outcome.live:
        if (
            ticket.status is TicketStatus.PENDING
            and not ticket.open_dependencies
            and ticket.waiting not in {Waiting.RETRY, Waiting.TURN}
        ):
            builder.change_ticket(ticket, **readied(builder))
    return True


def _resume(builder: StepBuilder, outcome: Commanded) -> bool:
    flow = builder.flow
    if flow.status is not FlowStatus.PAUSED:
        if flow.status in ENDED_FLOWS or flow.outcome is not None:
            raise refusal(f"flow {flow.flow_id} is {flow.status}: there is nothing to resume")
        return False
    go_on(builder, FlowTrigger.RESUMED, outcome.live, outcome.tally, given_by(outcome.command))
    return True


def _redrive(builder: StepBuilder, outcome: Commanded) -> bool:
    deadline = outcome.deadline or builder.flow.sla_deadline
    command = outcome.command
    if not isinstance(command, commands.RedriveRequest):
        raise TypeError(command)
    return redrive(builder, command, outcome.redriven, outcome.not_compensatable, deadline)


def _replan(builder: StepBuilder, outcome: Commanded) -> bool:
    if not isinstance(outcome.command, commands.ReplanRequest) or outcome.replan is None:
        raise TypeError(outcome.command)
    return replan(builder, outcome.command, outcome.replan, outcome.tally)


def _adjust(builder: StepBuilder, outcome: Commanded) -> bool:
    if not isinstance(outcome.command, commands.AdjustRequest):
        raise TypeError(outcome.command)
    return adjust(builder, outcome.command, outcome.live)


def _retry(builder: StepBuilder, outcome: Commanded) -> bool:
    ticket, command = _ticket(builder, outcome), outcome.command
    if isinstance(command, commands.RetryRequest) and ticket.status is TicketStatus.FAILED:
        return redrive_ticket(
            builder,
            ticket,
            command,
            outcome.redriven,
            outcome.not_compensatable,
            outcome.deadline or builder.flow.sla_deadline,
            outcome.around.live,
        )
    if ticket.status is not TicketStatus.PENDING:
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}: {_instead(ticket)}")
    if ticket.open_dependencies:
        raise refusal(f"ticket {ticket.task_id} waits for {ticket.open_dependencies} of its dependencies")
    _not_in_turn(ticket)
    if builder.flow.status is FlowStatus.PAUSED:
        raise refusal(f"flow {builder.flow.flow_id} is PAUSED: resume it")
    again = builder.change_ticket(
        ticket, emissions=ticket.emissions + 1, refusals=(), refused_by={}, **readied(builder)
    )
    builder.note("ticket.retry_forced", ticket=again, cause=command.verb, detail=given_by(command))
    builder.ready([again])
    return True


def _reassign(builder: StepBuilder, outcome: Commanded) -> bool:
    ticket = _ticket(builder, outcome)
    if ticket.worker_id is None or ticket.status not in HELD_TICKETS:
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}: no worker holds it")
    if not ticket.idempotent and (ticket.acknowledged_at or ticket.perhaps_begun or ticket.asked):
        raise refusal(
            f"task {ticket.task_id} is not idempotent and worker {ticket.worker_id} has it: let it end, skip it, "
            "or cancel the flow"
        )
    reason = Reason(code="reassigned", message=f"taken from worker {ticket.worker_id} by {said(outcome.command)}")
    builder.deliver(ticket, ticket.worker_id, ticket.attempt, cancelled=True)
    reassign(builder, ticket, reason, {**readied(builder), "ready_at": builder.now})
    return True


def _skip(builder: StepBuilder, outcome: Commanded) -> bool:
    ticket = _ticket(builder, outcome)
    if ticket.skipped:
        return False
    if ticket.status in ENDED_TICKETS or ticket.status is TicketStatus.COMPENSATING:
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}: {_instead(ticket)}")
    if ticket.open_dependencies:
        raise refusal(f"ticket {ticket.task_id} waits for {ticket.open_dependencies} of its dependencies")
    _not_in_turn(ticket)
    if ticket.waiting is Waiting.CHILDREN:
        raise refusal(f"ticket {ticket.task_id} has children at work: skip these, or cancel it")
    if ticket.worker_id is not None:
        builder.deliver(ticket, ticket.worker_id, ticket.attempt, cancelled=True)
    output = outcome.command.output if isinstance(outcome.command, commands.SkipRequest) else None
    reason = Reason(code="skipped", message=f"skipped by {said(outcome.command)}")
    freed = complete(builder, ticket, output, outcome.around, trigger=TicketTrigger.SKIP, reason=reason, skipped=True)
    builder.ready(freed)
    return True


def _hedge(builder: StepBuilder, outcome: Commanded) -> bool:
    if not isinstance(outcome.command, commands.HedgeRequest):
        raise TypeError(outcome.command)
    return hedge(builder, _ticket(builder, outcome), outcome.command, outcome.second)


def _except(builder: StepBuilder, outcome: Commanded) -> bool:
    if not isinstance(outcome.command, commands.FreezeException):
        raise TypeError(outcome.command)
    return except_from_freezes(builder, _ticket(builder, outcome), outcome.command)


def _rule(builder: StepBuilder, outcome: Commanded) -> bool:
    if not isinstance(outcome.command, commands.QuarantineDecision):
        raise TypeError(outcome.command)
    return decide_quarantine(builder, _ticket(builder, outcome), outcome.command, outcome.around)


def _cancel_ticket(builder: StepBuilder, outcome: Commanded) -> bool:
    ticket, command = _ticket(builder, outcome), outcome.command
    if ticket.status is TicketStatus.CANCELLED:
        return False
    if isinstance(command, commands.TicketCancelRequest):
        expected(ticket, command.version)
    if not ticket.live or ticket.compensates is not None:
        which = "a compensation" if ticket.compensates is not None else str(ticket.status)
        raise refusal(f"ticket {ticket.task_id} is {which}: it cannot be cancelled")
    _not_in_turn(ticket)
    cancel(builder, ticket, Reason(code="cancelled", message=f"cancelled by {said(command)}"), outcome.around)
    return True


def _not_in_turn(ticket: Ticket) -> None:
    """Raise `Rejected`, status 409, for an item of a list whose turn has not come."""
    if ticket.waiting is Waiting.TURN:
        raise refusal(f"ticket {ticket.task_id} waits for its turn: {_instead(ticket)}")


def _decide(builder: StepBuilder, outcome: Commanded) -> bool:
    if not isinstance(outcome.command, commands.TicketApproval | commands.TicketDenial):
        raise TypeError(outcome.command)
    return decide(builder, _ticket(builder, outcome), outcome.command, outcome.around)


def _ticket(builder: StepBuilder, outcome: Commanded) -> Ticket:
    ticket = builder.context.tickets.get(outcome.command.target)
    if ticket is None or ticket.flow_id != builder.flow.flow_id:
        raise Rejected(
            f"flow {builder.flow.flow_id} has no ticket {outcome.command.target}", code="unknown_ticket", status=404
        )
    return ticket


def _instead(ticket: Ticket) -> str:
    if ticket.status in HELD_TICKETS:
        return "a worker holds it; reassign it to take it away"
    if ticket.status in {TicketStatus.FAILED, TicketStatus.CANCELLED, TicketStatus.COMPENSATED}:
        return "it has ended; redrive its flow once that has ended, too"
    if ticket.status is TicketStatus.COMPENSATING:
        return "its work is being undone"
    if ticket.status is TicketStatus.WAITING:
        return "approve, deny, signal, skip or cancel it"
    if ticket.waiting is Waiting.TURN:
        return "the items before it come first"
    return "it is done"


STEPS: Mapping[type[commands.Command], Callable[[StepBuilder, Commanded], bool]] = {
    commands.CancelRequest: _cancel,
    commands.ApprovalGrant: _approve,
    commands.ApprovalDenial: _deny,
    commands.PauseRequest: _pause,
    commands.ResumeRequest: _resume,
    commands.RedriveRequest: _redrive,
    commands.AdjustRequest: _adjust,
    commands.ReplanRequest: _replan,
    commands.RetryRequest: _retry,
    commands.ReassignRequest: _reassign,
    commands.SkipRequest: _skip,
    commands.HedgeRequest: _hedge,
    commands.TicketCancelRequest: _cancel_ticket,
    commands.FreezeException: _except,
    commands.QuarantineDecision: _rule,
    commands.TicketApproval: _decide,
    commands.TicketDenial: _decide,
}
"""Each step tells whether it has changed anything."""
