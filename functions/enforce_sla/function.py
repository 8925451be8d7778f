"""Act on a flow or a ticket whose wake-up has come: lost events, time limits, lost slack, the deadline.

Consumes clock.ticked, one record that is due at a time. Emits what the record's status asks for: the lost event
again, tickets.ready for another try, flow.consolidated at the deadline.
Gives up never: a record stays due until it has ended.
"""

from functions._core.events.telemetry import telemetry_of
from functions._core.machine.closing import AtRisk, DeadlinePassed, NobodyDecided, Settled
from functions._core.machine.compensation import CompensationOverdue
from functions._core.machine.context import Context
from functions._core.machine.ending import may_retry
from functions._core.machine.flow import NothingHappened, TelemetryKept, WokenEarly
from functions._core.machine.integrity import findings_of
from functions._core.machine.outcomes import AnyOutcome, Duplicate, moving
from functions._core.machine.overdue import TicketOverdue, ends_well, too_late_to_start, waited_out
from functions._core.machine.pausing import PauseOver
from functions._core.machine.related_tickets import (
    RelatedTickets,
    all_tickets,
    around_ends,
    around_failure,
    undone_by,
)
from functions._core.placement.ranking import rank
from functions._core.planning.slack import limit_of
from functions._core.ports import Due, Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, TicketStatus, Waiting

WORKING = frozenset({FlowStatus.EXECUTING, FlowStatus.COMPENSATING})


async def enforce_sla(due: Due, context: Context, ports: Ports) -> AnyOutcome:
    """Return what the passing of time means for the record."""
    flow = context.flow
    if flow.outcome is None and flow.deadline is not None and context.now >= flow.deadline:
        live = await ports.store.tickets_of(flow.flow_id, live_only=True)
        return moving(live, DeadlinePassed(live, await ports.ticket_counts.by_status(flow.flow_id)))
    if due.kind == "ticket":
        return await _ticket_due(due, context, ports)
    return await _flow_due(context, ports)


async def _flow_due(context: Context, ports: Ports) -> AnyOutcome:
    flow = context.flow
    if flow.next_wakeup_at is None:
        return Duplicate()
    begun = flow.status is FlowStatus.EXECUTING or flow.compensations is not None
    if flow.status in WORKING and begun and await ports.ticket_counts.live(flow.flow_id, 1) == 0:
        return Settled(await ports.ticket_counts.by_status(flow.flow_id))
    if flow.next_wakeup_at > context.now:
        return WokenEarly()
    return await _waited_out(context, ports)


async def _waited_out(context: Context, ports: Ports) -> AnyOutcome:
    """Return what it means that a flow has waited as long as its status may."""
    flow, flow_id = context.flow, context.flow.flow_id
    if flow.status is FlowStatus.PUBLISHING:
        tickets = await all_tickets(flow, ports)
        return TelemetryKept(telemetry_of(flow, tickets, context.now), findings_of(flow, tickets))
    if flow.status is FlowStatus.AWAITING_APPROVAL:
        return NobodyDecided()
    if flow.status is FlowStatus.PAUSED:
        live = await ports.store.tickets_of(flow_id, live_only=True)
        return moving(live, PauseOver(live, await ports.ticket_counts.by_status(flow_id)))
    if flow.status is FlowStatus.COMPENSATING and _undoing_overdue(flow, context):
        live = await ports.store.tickets_of(flow_id, live_only=True)
        counts = await ports.ticket_counts.by_status(flow_id)
        return moving(live, CompensationOverdue(live, counts, await undone_by(live, ports)))
    if flow.status is FlowStatus.EXECUTING:
        return AtRisk()
    return NothingHappened()


def _undoing_overdue(flow: Flow, context: Context) -> bool:
    limit = limit_of(flow, context.rules)
    return limit is not None and context.now >= limit


async def _ticket_due(due: Due, context: Context, ports: Ports) -> AnyOutcome:
    ticket = context.tickets.get(due.record_id)
    if ticket is None:
        return Duplicate()
    if not ticket.live:
        last = await ports.ticket_counts.live(ticket.flow_id, 1) == 0
        tally = await ports.ticket_counts.by_status(ticket.flow_id) if last else None
        return TicketOverdue(ticket.ticket_id, RelatedTickets(tally=tally))
    if ticket.status is TicketStatus.WAITING and waited_out(ticket, context.now):
        return await _waited_for(ticket, ports)
    if not _may_fail(ticket, context):
        return TicketOverdue(ticket.ticket_id)
    if ticket.waiting is Waiting.WORKER and await _somebody_can(ticket, context, ports):
        return TicketOverdue(ticket.ticket_id, capable=True)
    around = await around_failure(ticket, ports)
    return moving(around.touched, TicketOverdue(ticket.ticket_id, around))


async def _waited_for(ticket: Ticket, ports: Ports) -> AnyOutcome:
    """Return what it means that the wait of a WAITING ticket is over."""
    if ticket.waiting is Waiting.CHILDREN:
        return TicketOverdue(ticket.ticket_id)
    well = ends_well(ticket)
    around = await around_ends((ticket,) if well else (), () if well else (ticket,), ports)
    return moving((*around.touched, *around.clock), TicketOverdue(ticket.ticket_id, around))


async def _somebody_can(ticket: Ticket, context: Context, ports: Ports) -> bool:
    """Tell whether a capable worker has registered while the ticket waited for one."""
    workers = await ports.registry.workers()
    known = rank(ticket, workers, {}, context.now, context.rules).capable
    return known and not too_late_to_start(ticket, context.now)


def _may_fail(ticket: Ticket, context: Context) -> bool:
    """Whether this wake-up can be the ticket's last, so that what depends on it has to be loaded."""
    if ticket.status is TicketStatus.PENDING:
        return too_late_to_start(ticket, context.now) or (
            ticket.waiting in {Waiting.WORKER, Waiting.QUARANTINE} and waited_out(ticket, context.now)
        )
    if ticket.status is TicketStatus.WAITING:
        return False
    over = ticket.acknowledged_at is not None and waited_out(ticket, context.now)
    return over and not may_retry(ticket, context.flow, context.now, context.rules)
