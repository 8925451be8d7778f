"""Act on a flow or a ticket whose wake-up has come: lost events, time limits, lost slack, the deadline.

Consumes clock.ticked, one record that is due at a time. Emits what the record's status asks for: the lost event
again, tickets.ready for another try, flow.consolidated at the deadline.
Gives up never: a record stays due until it has ended.
"""

from functions._core.events.telemetry import telemetry_of
from functions._core.machine.context import Situation
from functions._core.machine.ending import may_retry
from functions._core.machine.integrity import findings_of
from functions._core.machine.outcomes import (
    AnyOutcome,
    AtRisk,
    CompensationOverdue,
    DeadlinePassed,
    Duplicate,
    NobodyDecided,
    NothingHappened,
    PauseOver,
    Settled,
    Surroundings,
    TelemetryKept,
    TicketOverdue,
    WokenEarly,
)
from functions._core.machine.overdue import too_late_to_start, waited_out
from functions._core.machine.related_tickets import all_tickets, around_failure, undone_by
from functions._core.placement.ranking import rank
from functions._core.planning.slack import limit_of
from functions._core.ports import Due, Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, TicketStatus, Waiting

WORKING = frozenset({FlowStatus.EXECUTING, FlowStatus.COMPENSATING})


async def enforce_sla(due: Due, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return what the passing of time means for the record."""
    flow = situation.flow
    if flow.outcome is None and flow.deadline is not None and situation.now >= flow.deadline:
        live = await ports.store.tickets_of(flow.flow_id, live_only=True)
        return DeadlinePassed(live, await ports.tally.by_status(flow.flow_id))
    if due.kind == "ticket":
        return await _ticket_due(due, situation, ports)
    return await _flow_due(situation, ports)


async def _flow_due(situation: Situation, ports: Ports) -> AnyOutcome:
    flow = situation.flow
    if flow.next_wakeup_at is None:
        return Duplicate()
    begun = flow.status is FlowStatus.EXECUTING or flow.compensations is not None
    if flow.status in WORKING and begun and await ports.tally.live(flow.flow_id, 1) == 0:
        return Settled(await ports.tally.by_status(flow.flow_id))
    if flow.next_wakeup_at > situation.now:
        return WokenEarly()
    return await _waited_out(situation, ports)


async def _waited_out(situation: Situation, ports: Ports) -> AnyOutcome:
    """Return what it means that a flow has waited as long as its status may."""
    flow, flow_id = situation.flow, situation.flow.flow_id
    if flow.status is FlowStatus.PUBLISHING:
        tickets = await all_tickets(flow, ports)
        return TelemetryKept(telemetry_of(flow, tickets, situation.now), findings_of(flow, tickets))
    if flow.status is FlowStatus.AWAITING_APPROVAL:
        return NobodyDecided()
    if flow.status is FlowStatus.PAUSED:
        live = await ports.store.tickets_of(flow_id, live_only=True)
        return PauseOver(live, await ports.tally.by_status(flow_id))
    if flow.status is FlowStatus.COMPENSATING and _undoing_overdue(flow, situation):
        live = await ports.store.tickets_of(flow_id, live_only=True)
        return CompensationOverdue(live, await ports.tally.by_status(flow_id), await undone_by(live, ports))
    if flow.status is FlowStatus.EXECUTING:
        return AtRisk()
    return NothingHappened()


def _undoing_overdue(flow: Flow, situation: Situation) -> bool:
    limit = limit_of(flow, situation.rules)
    return limit is not None and situation.now >= limit


async def _ticket_due(due: Due, situation: Situation, ports: Ports) -> AnyOutcome:
    ticket = situation.tickets.get(due.record_id)
    if ticket is None:
        return Duplicate()
    if not ticket.live:
        last = await ports.tally.live(ticket.flow_id, 1) == 0
        tally = await ports.tally.by_status(ticket.flow_id) if last else None
        return TicketOverdue(ticket.ticket_id, Surroundings(tally=tally))
    if not _may_fail(ticket, situation):
        return TicketOverdue(ticket.ticket_id)
    if ticket.waiting is Waiting.WORKER and await _somebody_can(ticket, situation, ports):
        return TicketOverdue(ticket.ticket_id, capable=True)
    return TicketOverdue(ticket.ticket_id, await around_failure(ticket, ports))


async def _somebody_can(ticket: Ticket, situation: Situation, ports: Ports) -> bool:
    """Tell whether a capable worker has registered while the ticket waited for one."""
    workers = await ports.registry.workers()
    known = rank(ticket, workers, {}, situation.now, situation.rules).capable
    return known and not too_late_to_start(ticket, situation.now)


def _may_fail(ticket: Ticket, situation: Situation) -> bool:
    """Whether this wake-up can be the ticket's last, so that what depends on it has to be loaded."""
    if ticket.status is TicketStatus.PENDING:
        return too_late_to_start(ticket, situation.now) or (
            ticket.waiting is Waiting.WORKER and waited_out(ticket, situation.now)
        )
    over = ticket.acknowledged_at is not None and waited_out(ticket, situation.now)
    return over and not may_retry(ticket, situation.flow, situation.now, situation.rules)
