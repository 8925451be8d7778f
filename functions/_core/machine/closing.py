"""How a flow comes to its outcome: all tickets ended, the deadline, nobody's approval; and how it comes at risk."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from functions._core.machine.incidents import raise_incident
from functions._core.machine.releasing import may_fail, tolerate
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import FlowTrigger, TicketTrigger
from functions._core.planning.slack import at_risk_from
from functions._core.records.audits import IncidentType
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import (
    FlowStatus,
    Outcome,
    SlackState,
    TicketStatus,
    Waiting,
    format_time,
    milliseconds,
)


@dataclass(frozen=True, slots=True)
class Settled:
    """C5: no ticket of the flow is live any more."""

    tally: Mapping[str, int]

    def apply(self, builder: StepBuilder) -> None:
        """All tickets have ended: the flow succeeds if none came to nothing; or compensation is over."""
        tally = self.tally
        if builder.flow.status is FlowStatus.COMPENSATING:
            undone(builder, FlowTrigger.COMPENSATED, tally)
        if builder.flow.status is not FlowStatus.EXECUTING:
            return
        tolerated = builder.flow.tolerated
        failed = tally.get(TicketStatus.FAILED, 0) - tolerated.get(TicketStatus.FAILED, 0)
        cancelled = tally.get(TicketStatus.CANCELLED, 0) - builder.flow.dropped
        cancelled -= tolerated.get(TicketStatus.CANCELLED, 0)
        if failed + cancelled == 0:
            builder.end(FlowTrigger.SETTLED, Outcome.COMPLETED, tally=tally)
            return
        if failed == 0:
            message = f"{cancelled} of {builder.flow.tickets_generated} tickets were cancelled"
            why = Reason(code="ticket_cancelled", message=message)
            builder.end(FlowTrigger.SETTLED, Outcome.CANCELLED, why, tally=tally)
            return
        others = f"{cancelled} {'was' if cancelled == 1 else 'were'} cancelled because of that"
        message = f"{failed} of {builder.flow.tickets_generated} tickets failed, {others}"
        builder.end(FlowTrigger.SETTLED, Outcome.FAILED, Reason(code="ticket_failed", message=message), tally=tally)


def undone(builder: StepBuilder, trigger: FlowTrigger, tally: Mapping[str, int]) -> None:
    """Hand a flow to C6 when nothing is left to undo, or when undoing is given up."""
    stands = tally.get(TicketStatus.COMPENSATED, 0), (builder.flow.compensations or 0)
    builder.move_flow(
        trigger,
        "compensation.ended",
        detail={"compensated": stands[0], "planned": stands[1]},
        tally=dict(tally),
        next_wakeup_at=builder.now + builder.context.rules.sink,
    )
    builder.publish()


def risk(builder: StepBuilder, why: Reason) -> None:
    """Announce, once, that the flow may miss its deadline."""
    flow = builder.flow
    if flow.announced is not SlackState.ON_TRACK or flow.outcome is not None:
        return
    builder.change_flow(announced=SlackState.AT_RISK)
    detail = {"sla_deadline": format_time(flow.sla_deadline), "reason": why.told}
    builder.note("sla.at_risk", cause=why.code, detail=detail)


def likely_late(builder: StepBuilder, ended: Ticket) -> None:
    """Announce that the flow may miss its deadline when work on its critical path was slower than its estimate.

    If the path after it is slower in the same way, it has to fit. This is likely long before it is certain.
    """
    flow = builder.flow
    worked = ended.critical and ended.worker_id is not None and ended.actual_duration_ms is not None
    if not worked or not ended.tail_ms or flow.announced is not SlackState.ON_TRACK:
        return
    pace = (ended.actual_duration_ms or 0) / ended.estimated_duration_ms
    left = milliseconds(flow.sla_deadline - builder.now)
    if pace > 1 and pace * ended.tail_ms > left and flow.status is FlowStatus.EXECUTING:
        message = f"task {ended.task_id} took {pace:.1f} times its estimate: at this pace the rest does not fit"
        risk(builder, Reason(code="pace", message=message, where=ended.task_id))
        builder.change_flow(next_wakeup_at=executing_wakeup(builder))


class AtRisk(NamedTuple):
    """SLA: most of the flow's time is used up."""

    def apply(self, builder: StepBuilder) -> None:
        """SLA: most of the time is used up and there is still work to do; from now on only the deadline counts."""
        if builder.flow.status is not FlowStatus.EXECUTING:
            return
        share = builder.context.rules.at_risk_share
        risk(builder, Reason(code="time_used_up", message=f"{share:.0%} of the time to the deadline is used up"))
        builder.change_flow(next_wakeup_at=executing_wakeup(builder))


def executing_wakeup(builder: StepBuilder) -> datetime:
    """Return when a flow whose tickets are at work has to be looked at: at its deadline, or when it comes at risk."""
    flow = builder.flow
    if flow.announced is SlackState.ON_TRACK:
        return max(builder.now, min(at_risk_from(flow, builder.context.rules), flow.sla_deadline))
    return flow.sla_deadline


class NobodyDecided(NamedTuple):
    """SLA: nobody has approved the flow in time."""

    def apply(self, builder: StepBuilder) -> None:
        """SLA: a flow that nobody has approved in time is not carried out."""
        if builder.flow.status is not FlowStatus.AWAITING_APPROVAL:
            return
        hours = builder.context.rules.approval.total_seconds() / 3600
        why = Reason(code="approval_expired", message=f"nobody has approved or denied it within {hours:g} hours")
        builder.end(FlowTrigger.UNDECIDED, Outcome.REJECTED, why)


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """SLA: the flow's deadline is here."""

    live: Sequence[Ticket]
    tally: Mapping[str, int]

    def apply(self, builder: StepBuilder) -> None:
        """The SLA is broken: the flow ends TIMED_OUT, its live tickets are cancelled."""
        flow = builder.flow
        if flow.outcome is not None:
            return
        builder.change_flow(announced=SlackState.BREACHED)
        builder.note("sla.violated", cause=FlowTrigger.EXPIRED, detail={"sla_deadline": format_time(flow.sla_deadline)})
        why = Reason(
            code="sla_timeout",
            message=f"the deadline passed while the flow was {flow.status} with {len(self.live)} tickets not ended",
        )
        cancel_all(builder, self.live, why, late=True)
        raise_incident(builder, IncidentType.SLA_VIOLATION, [why.message], [ticket.ticket_id for ticket in self.live])
        builder.end(FlowTrigger.EXPIRED, Outcome.TIMED_OUT, why, tally=recount(builder, self.tally))


def cancel_all(builder: StepBuilder, live: Iterable[Ticket], why: Reason, *, late: bool = False) -> None:
    """Cancel tickets, telling their workers; when it is `late`, one that only lacked a slot has failed for that."""
    for ticket in live:
        trigger, kind, reason = TicketTrigger.CANCEL, "ticket.cancelled", why
        if late and ticket.waiting is Waiting.SLOT:
            message = "every capable worker was busy until the flow ended"
            trigger, kind = TicketTrigger.FAIL, "ticket.failed"
            reason = Reason(code="no_capacity", message=message)
        ended = builder.move_ticket(ticket, trigger, kind, cause=reason.code, **ending(builder.now, reason))
        failed_as_may_be = ended.status is TicketStatus.FAILED and may_fail(ended)
        if ended.compensates is None and (ended.parent is not None or failed_as_may_be):
            tolerate(builder, ended.status)
        if ticket.worker_id is not None:
            builder.deliver(ended, ticket.worker_id, ticket.attempt, cancelled=True)


def ending(now: datetime, reason: Reason | None = None) -> dict[str, Any]:
    """Return the changes of every ticket at its end."""
    changes: dict[str, Any] = {
        "completed_at": now,
        "waiting": None,
        "waiting_since": None,
        "until": None,
    }
    if reason is not None:
        changes |= {"reason": reason, "error_message": reason.message}
    return changes


def recount(builder: StepBuilder, before: Mapping[str, int]) -> dict[str, int]:
    """Return the counts by status with this step's changes, given those of all tickets `before` it."""
    tally = Counter(before)
    for was, now in builder.moves():
        tally[was] -= 1
        tally[now] += 1
    return {status: number for status, number in tally.items() if number}
