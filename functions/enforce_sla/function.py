"""Act on a flow or a ticket whose wake-up has come: lost events, time limits, the deadline.

Consumes clock.ticked, one record that is due at a time. Emits what the record's status asks for: the lost event
again, tickets.ready for another try, flow.consolidated at the deadline.
Gives up never: a record stays due until it has ended.
"""

from functions._core.ending_steps import may_retry
from functions._core.models import Ticket
from functions._core.outcomes import (
    AnyOutcome,
    DeadlinePassed,
    Duplicate,
    NothingHappened,
    Settled,
    Surroundings,
    TelemetryKept,
    TicketOverdue,
    WokenEarly,
)
from functions._core.ports import Due, Ports
from functions._core.ranking import rank
from functions._core.situation import Situation
from functions._core.surroundings import all_tickets, around_failure
from functions._core.telemetry import telemetry_of
from functions._core.values import FlowStatus, TicketStatus, Waiting


async def enforce_sla(due: Due, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return what the passing of time means for the record."""
    flow = situation.flow
    if flow.outcome is None and situation.now >= flow.sla_deadline:
        live = await ports.store.tickets_of(flow.flow_id, live_only=True)
        return DeadlinePassed(live, await ports.tally.by_status(flow.flow_id))
    if due.kind == "ticket":
        return await _ticket_due(due, situation, ports)
    return await _flow_due(situation, ports)


async def _flow_due(situation: Situation, ports: Ports) -> AnyOutcome:
    flow = situation.flow
    if flow.next_wakeup_at is None:
        return Duplicate()
    if flow.status is FlowStatus.EXECUTING and await ports.tally.live(flow.flow_id, 1) == 0:
        return Settled(await ports.tally.by_status(flow.flow_id))
    if flow.next_wakeup_at > situation.now:
        return WokenEarly()
    if flow.status is FlowStatus.PUBLISHING:
        tickets = await all_tickets(flow, ports)
        return TelemetryKept(telemetry_of(flow, tickets, situation.now))
    return NothingHappened()


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
    return rank(ticket, workers, {}, situation.now, situation.rules).capable


def _may_fail(ticket: Ticket, situation: Situation) -> bool:
    """Whether this wake-up can be the ticket's last, so that what depends on it has to be loaded."""
    if ticket.status is TicketStatus.PENDING:
        return ticket.waiting is Waiting.WORKER
    return ticket.acknowledged_at is not None and not may_retry(ticket, situation.flow, situation.now, situation.rules)
