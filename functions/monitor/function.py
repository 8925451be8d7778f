"""C5: take in what workers report and people order, undo what has to be undone, end the flow with its last ticket.

Consumes ticket.reported, worker.unhealthy, compensation.requested and the orders of people (flow.cancel_requested and
so on). Emits tickets.ready for tickets that can go on, flow.consolidated when all have ended.
Gives up on a ticket when its retries are used up or no longer fit (FAILED; what depends on it is CANCELLED).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from functions._core.errors import Unreadable
from functions._core.events import commands
from functions._core.events.commands import AnyOrder, Order
from functions._core.events.data import CompensationRequested, WorkerUnhealthy
from functions._core.events.reports import Report
from functions._core.machine.assignment import may_fail_when_lost
from functions._core.machine.context import Situation
from functions._core.machine.ending import counted, may_retry, retryable
from functions._core.machine.outcomes import (
    AnyOutcome,
    CompensationPlanned,
    Duplicate,
    Ordered,
    Reported,
    Surroundings,
    WorkerLost,
)
from functions._core.machine.redrive import new_deadline, to_redo, work_stands
from functions._core.machine.related_tickets import around_ends, around_failure
from functions._core.planning.compensation import compensations
from functions._core.ports import Ports
from functions._core.records.models import Ticket
from functions._core.records.values import FlowStatus, ReportStatus

OFFER_LEASE = timedelta(seconds=5)
"""A waiting ticket that was offered a slot is not offered another one for this long."""

Event = Report | WorkerUnhealthy | CompensationRequested | AnyOrder


async def monitor(event: Event, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return what the event means for its flow."""
    if isinstance(event, Report):
        return await reported((event,), situation, ports)
    if isinstance(event, WorkerUnhealthy):
        return await _lost(event, situation, ports)
    if isinstance(event, CompensationRequested):
        return await _to_undo(situation, ports)
    if event.dry_run:
        return Duplicate()
    return await LOADED.get(type(event), _bare)(event, situation, ports)


async def _lost(event: WorkerUnhealthy, situation: Situation, ports: Ports) -> AnyOutcome:
    failing = [t for t in situation.tickets.values() if may_fail_when_lost(t, situation)]
    around = {ticket.ticket_id: await around_failure(ticket, ports) for ticket in failing}
    return WorkerLost(event.worker_id, event.why, event.attempts, around)


async def _to_undo(situation: Situation, ports: Ports) -> AnyOutcome:
    flow = situation.flow
    if flow.status is not FlowStatus.COMPENSATING or flow.compensations is not None:
        return Duplicate()
    tickets = await ports.store.tickets_of(flow.flow_id)
    # From when the flow began to undo, not from now: a repetition makes the same tickets.
    made, originals = compensations(flow, tickets, flow.phase.entered_at, situation.rules.compensation)
    return CompensationPlanned(made, originals)


async def _bare(order: AnyOrder, situation: Situation, _ports: Ports) -> AnyOutcome:
    return Ordered(order, situation.cause)


async def _with_live(order: AnyOrder, situation: Situation, ports: Ports) -> AnyOutcome:
    flow_id = situation.flow.flow_id
    live = await ports.store.tickets_of(flow_id, live_only=True)
    return Ordered(order, situation.cause, live, await ports.tally.by_status(flow_id))


async def _with_end(order: AnyOrder, situation: Situation, ports: Ports) -> AnyOutcome:
    ticket = situation.tickets.get(order.target)
    around = await around_ends((ticket,), (), ports) if ticket is not None else Surroundings()
    return Ordered(order, situation.cause, around=around)


async def _with_redone(order: AnyOrder, situation: Situation, ports: Ports) -> AnyOutcome:
    flow = situation.flow
    if not isinstance(order, commands.RedriveRequest) or flow.outcome is None:
        return Ordered(order, situation.cause)
    deadline = new_deadline(flow, order, situation.now)
    tickets = await ports.store.tickets_of(flow.flow_id)
    again = to_redo(tickets, situation.now, deadline)
    standing = tuple(filter(work_stands, tickets))
    return Ordered(order, situation.cause, redriven=again, standing=standing, deadline=deadline)


LOADED: Mapping[type[Order], Callable[[AnyOrder, Situation, Ports], Awaitable[AnyOutcome]]] = {
    commands.CancelRequest: _with_live,
    commands.PauseRequest: _with_live,
    commands.ResumeRequest: _with_live,
    commands.SkipRequest: _with_end,
    commands.RedriveRequest: _with_redone,
}
"""What is loaded for an order beside what it names."""


async def reported(reports: Sequence[Report], situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `Reported`: what workers say of tickets of one flow, of each ticket once."""
    counting = counted(reports, situation.tickets)
    if not counting:
        return Duplicate()
    done = [ticket for report, ticket in counting if report.status is ReportStatus.COMPLETED]
    failed = [(report, ticket) for report, ticket in counting if report.status is ReportStatus.FAILED]
    given_up = [ticket for report, ticket in failed if not _will_retry(report, ticket, situation)]
    around = await around_ends(done, given_up, ports) if done or given_up else Surroundings()
    slots = Counter(ticket.worker_id for ticket in (*done, *(ticket for _, ticket in failed)))
    return Reported(reports, around, [t for who, n in slots.items() for t in await _next_for(who, n, situation, ports)])


async def _next_for(worker_id: str | None, slots: int, situation: Situation, ports: Ports) -> Sequence[Ticket]:
    """Return the waiting tickets with the least slack, of any flow, that can use the worker's free slots."""
    try:
        worker = await ports.registry.worker(worker_id) if worker_id else None
    except Unreadable:
        return ()
    if worker is None or worker.suspended_until is not None:  # such a worker is given its next ticket by its verdicts
        return ()
    return await ports.wakeups.claim_waiting(worker.offers, situation.now, slots, OFFER_LEASE)


def _will_retry(report: Report, ticket: Ticket, situation: Situation) -> bool:
    again = retryable(report, ticket)
    return may_retry(ticket, situation.flow, situation.now, situation.rules, retryable=again)
