"""C5: take in what workers report and people request, and end the flow when its last ticket has ended.

Consumes ticket.reported, flow.cancel_requested and worker.unhealthy. Emits tickets.ready for tickets that can go
on, flow.consolidated when all have ended.
Gives up on a ticket when its retries are used up or no longer fit (FAILED; what depends on it is CANCELLED).
"""

from datetime import timedelta

from functions._core.ending_steps import may_retry
from functions._core.events import CancelRequest, WorkerUnhealthy
from functions._core.models import Ticket
from functions._core.outcomes import (
    AnyOutcome,
    CancelRequested,
    Duplicate,
    Reported,
    Surroundings,
    WorkerLost,
)
from functions._core.ports import Ports
from functions._core.reports import Report
from functions._core.situation import Situation
from functions._core.surroundings import around_failure, around_success
from functions._core.values import ReportStatus

OFFER_LEASE = timedelta(seconds=5)
"""A waiting ticket that was offered a slot is not offered another one for this long."""


async def monitor(event: Report | CancelRequest | WorkerUnhealthy, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return what the event means for its flow."""
    flow_id = situation.flow.flow_id
    if isinstance(event, Report):
        return await _reported(event, situation, ports)
    if isinstance(event, WorkerUnhealthy):
        around = {i: await around_failure(t, ports) for i, t in situation.tickets.items() if not t.idempotent}
        return WorkerLost(event.worker_id, event.why, event.attempts, around)
    if situation.flow.outcome is not None:
        return Duplicate()
    live = await ports.store.tickets_of(flow_id, live_only=True)
    return CancelRequested(live, await ports.tally.by_status(flow_id), event.requested_by, event.reason)


async def _reported(report: Report, situation: Situation, ports: Ports) -> AnyOutcome:
    ticket = situation.tickets.get(report.ticket_id)
    if ticket is None or not report.counts_for(ticket):
        return Duplicate()
    if report.status is ReportStatus.RUNNING:
        return Reported(report)
    around = Surroundings()
    if report.status is ReportStatus.COMPLETED:
        around = await around_success(ticket, ports)
    elif not _will_retry(report, ticket, situation):
        around = await around_failure(ticket, ports)
    return Reported(report, around, await _next_for(ticket.worker_id, situation, ports))


async def _next_for(worker_id: str | None, situation: Situation, ports: Ports) -> tuple[Ticket, ...]:
    """Return the waiting ticket with the least slack, of any flow, that can use the worker's free slot."""
    worker = await ports.registry.worker(worker_id) if worker_id else None
    if worker is None:
        return ()
    return tuple(await ports.wakeups.claim_waiting(worker.capabilities, situation.now, 1, OFFER_LEASE))


def _will_retry(report: Report, ticket: Ticket, situation: Situation) -> bool:
    retryable = report.error is None or report.error.retryable
    return may_retry(ticket, situation.flow, situation.now, situation.rules, retryable=retryable)
