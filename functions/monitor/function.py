"""C5: take in what workers report and people order, undo what has to be undone, end the flow with its last ticket.

Consumes ticket.reported, ticket.event_arrived, worker.unhealthy, compensation.requested and the orders of people
(flow.cancel_requested and so on). Emits tickets.ready for tickets that can go on, flow.consolidated when all have
ended.
Gives up on a ticket when its retries are used up or no longer fit (FAILED; what depends on it is CANCELLED).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from functions._core.decision.reading import document_in
from functions._core.errors import Rejected, Unreadable
from functions._core.events import commands
from functions._core.events.commands import AnyCommand, Command
from functions._core.events.data import CompensationRequested, EventArrived, WorkerUnhealthy
from functions._core.events.reports import Report
from functions._core.guards.asking import check_claim
from functions._core.machine.arriving import Arrived, waits_for_event
from functions._core.machine.assignment import WorkerLost, may_fail_when_lost
from functions._core.machine.claim import claimable
from functions._core.machine.commands import Commanded
from functions._core.machine.compensation import CompensationPlanned
from functions._core.machine.context import Context
from functions._core.machine.deciding import approval_of
from functions._core.machine.ending import Reported, counted, may_retry, retryable
from functions._core.machine.hedging import why_not_hedged
from functions._core.machine.incidents import LeftOut, incident_of_unreadable
from functions._core.machine.outcomes import AnyOutcome, Duplicate, Heavy, moving, reached
from functions._core.machine.redrive import new_deadline, to_redo, to_retry, work_stands
from functions._core.machine.related_tickets import RelatedTickets, around_ends, around_failure
from functions._core.machine.replanning import check_under_way
from functions._core.machine.tables import ENDED_FLOWS, FLOW_TRANSITIONS, FlowTrigger
from functions._core.placement.foreseen import late_with, model_for
from functions._core.placement.limits import TICKETS, lines_of, place_of, take, tenant_of, told_of, with_place
from functions._core.placement.pheromones import domain_of
from functions._core.placement.ranking import choose, rank
from functions._core.placement.workers import refuse_own
from functions._core.planning.compensation import compensations, parents_of
from functions._core.planning.replan import new_decision, replan
from functions._core.ports import Ports
from functions._core.records.attempts import of_attempt, other_of
from functions._core.records.audits import AuditKind
from functions._core.records.control import OnLapse
from functions._core.records.models import Reason, Ticket
from functions._core.records.set_aside import UnreadableRecord
from functions._core.records.values import FlowStatus, ReportStatus, TicketStatus
from functions._core.rules import LARGE_STEP
from functions._core.slo.blocking import blocked

OFFER_LEASE = timedelta(seconds=5)
"""A waiting ticket that was offered a slot is not offered another one for this long."""

INCIDENTS = 500
"""Incidents of a flow that are looked through for one that was raised before."""

Event = Report | WorkerUnhealthy | CompensationRequested | EventArrived | AnyCommand


async def monitor(event: Event, context: Context, ports: Ports) -> AnyOutcome:
    """Return what the event means for its flow."""
    if isinstance(event, Report):
        return await reported((event,), context, ports)
    if isinstance(event, WorkerUnhealthy):
        return await _lost(event, context, ports)
    if isinstance(event, CompensationRequested):
        return await _to_undo(context, ports)
    if isinstance(event, EventArrived):
        return await _arrived(event, context, ports)
    if event.dry_run:
        return Duplicate()
    return await LOADED.get(type(event), _bare)(event, context, ports)


async def _arrived(event: EventArrived, context: Context, ports: Ports) -> AnyOutcome:
    ticket = context.tickets.get(event.ticket_id)
    if ticket is None or not waits_for_event(ticket):
        return Duplicate()
    around = await around_ends((ticket,), (), ports)
    return moving((*around.touched, *around.clock), Arrived(event.ticket_id, event.event, around))


async def _lost(event: WorkerUnhealthy, context: Context, ports: Ports) -> AnyOutcome:
    failing = [t for t in context.tickets.values() if may_fail_when_lost(t, context)]
    around = {ticket.ticket_id: await around_failure(ticket, ports) for ticket in failing}
    touched = [one for related in around.values() for one in related.touched]
    return moving(touched, WorkerLost(event.worker_id, event.why, event.attempts, around))


async def _to_undo(context: Context, ports: Ports) -> AnyOutcome:
    flow = context.flow
    if flow.status is not FlowStatus.COMPENSATING or flow.compensations is not None:
        return Duplicate()
    tickets = await ports.store.tickets_of(flow.flow_id)

    def planned() -> AnyOutcome:
        # From when the flow began to undo, not from now: a repetition makes the same tickets.
        made, originals = compensations(flow, tickets, flow.phase.entered_at, context.rules.compensation)
        return CompensationPlanned(made, originals, parents_of(originals, tickets))

    return reached(planned, heavy=len(tickets) > LARGE_STEP)


async def _bare(order: AnyCommand, context: Context, _ports: Ports) -> AnyOutcome:
    return Commanded(order, context.cause)


async def _with_live(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    flow_id = context.flow.flow_id
    live = await ports.store.tickets_of(flow_id, live_only=True)
    return moving(live, Commanded(order, context.cause, live, await ports.ticket_counts.by_status(flow_id)))


async def _with_end(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    ticket = context.tickets.get(order.target)
    around = await around_ends((ticket,), (), ports) if ticket is not None else RelatedTickets()
    return moving(around.touched, Commanded(order, context.cause, around=around))


async def _with_decision(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    """Load the surroundings of either end: a denial completes the ticket or lets it fail, as the ticket says."""
    ticket = context.tickets.get(order.target)
    approval = approval_of(ticket) if ticket is not None else None
    fails = approval is not None and approval.on_denied is OnLapse.FAIL
    return await (_with_after if fails else _with_end)(order, context, ports)


async def _with_redone(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    flow = context.flow
    if not isinstance(order, commands.RedriveRequest | commands.RetryRequest) or flow.outcome is None:
        return Commanded(order, context.cause)
    await _take_place(context, ports)
    deadline = new_deadline(flow, getattr(order, "sla_seconds", None), context.now)
    tickets = await ports.store.tickets_of(flow.flow_id)

    def redriven() -> AnyOutcome:
        again = to_redo(tickets, context.now, deadline)
        stand = tuple(filter(work_stands, tickets))
        return Commanded(order, context.cause, redriven=again, not_compensatable=stand, deadline=deadline)

    return reached(redriven, heavy=len(tickets) > LARGE_STEP)


async def _take_place(context: Context, ports: Ports) -> None:
    """Take a place for a flow that begins again; raise `Rejected`, status 409, where there is none."""
    flow = context.flow
    if FlowTrigger.REDRIVEN not in FLOW_TRANSITIONS[flow.status]:
        return
    holder, before = place_of(flow, flow.redrives + 1), place_of(flow)
    for line in lines_of(flow, context.rules.in_flight):
        wanted = {holder: "" if line.of_key else tenant_of(flow)}
        if not await take(line.kind, wanted, line.limits, ports.key_values, context.now, instead_of=before):
            told = await told_of(flow, line, ports.key_values)
            raise commands.refusal(f"{told}; redrive flow {flow.flow_id} later")


async def _with_retried(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    ticket, flow = context.tickets.get(order.target), context.flow
    if ticket is None or ticket.status is not TicketStatus.FAILED:
        return Commanded(order, context.cause)
    if flow.outcome is not None:
        return await _with_redone(order, context, ports)
    tickets = await ports.store.tickets_of(flow.flow_id)
    again = to_retry(ticket, tickets, context.now, flow.sla_deadline)
    needed = {ticket_id for other in again for ticket_id in other.dependencies}
    live = tuple(other for other in tickets if other.live and other.ticket_id in needed)
    return Commanded(order, context.cause, redriven=again, around=RelatedTickets(live=live))


async def _with_plan(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    flow = context.flow
    check_under_way(flow)
    if not isinstance(order, commands.ReplanRequest):
        raise TypeError(order)
    decided = await ports.store.decision(flow.flow_id)
    tickets = [
        ticket
        for ticket in await ports.store.tickets_of(flow.flow_id)
        if ticket.compensates is None and ticket.parent is None
    ]
    tally = await ports.ticket_counts.by_status(flow.flow_id)

    def planned() -> AnyOutcome:
        document = document_in(decided)
        decision = new_decision(document if isinstance(document, dict) else {}, order.cognitive_plan, context.now)
        difference = replan(flow, tickets, decision, context.now, context.rules, force=order.force)
        return Commanded(order, context.cause, tally=tally, replan=difference)

    return Heavy(planned)  # even of a small flow: the new plan may be large


async def _with_after(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    ticket = context.tickets.get(order.target)
    around = await around_failure(ticket, ports) if ticket is not None and ticket.live else RelatedTickets()
    return Commanded(order, context.cause, around=around)


async def _with_second(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    """Look for the best worker that does not have the ticket and has a free slot; freezes and limits hold here, too."""
    ticket, limits = context.tickets.get(order.target), context.rules.in_flight
    if ticket is None or why_not_hedged(ticket, context.flow) is not None:
        return Commanded(order, context.cause)
    frozen = (await blocked((ticket,), ports)).get(ticket.ticket_id)
    if frozen is not None:
        return Commanded(order, context.cause, second=frozen)
    others = [one for one in await ports.registry.workers() if one.worker_id != ticket.worker_id]
    active, trails = await ports.ticket_counts.active(), await ports.pheromones.trails(domain_of(ticket))
    late = late_with(ticket, await model_for([ticket], ports), context.now)
    found = choose(rank(ticket, others, active, context.now, context.rules, trails, late).candidates, active)
    if found is not None and limits and not await with_place([ticket], context.flow, limits, ports, context.now):
        return Commanded(order, context.cause, second=Reason(code="slots_taken", message=limits.told(TICKETS)))
    return Commanded(order, context.cause, second=found)


async def _with_worker(order: AnyCommand, context: Context, ports: Ports) -> AnyOutcome:
    if isinstance(order, commands.ClaimRequest):
        refuse_own(order.worker_id)
    worker = await ports.registry.worker(order.worker_id) if isinstance(order, commands.ClaimRequest) else None
    ticket, limits = context.tickets.get(order.target), context.rules.in_flight
    pending = ticket is not None and ticket.status is TicketStatus.PENDING
    if ticket and pending and (why := (await blocked((ticket,), ports)).get(ticket.ticket_id)):
        raise Rejected(f"ticket {ticket.task_id} cannot begin: {why.message}", code=why.code, status=409)
    if ticket and pending and isinstance(order, commands.ClaimRequest):
        await check_claim(ticket, context.flow, ports)
    if limits and ticket and isinstance(order, commands.ClaimRequest):
        begins = claimable(context.flow, ticket, order, worker)
        if begins and not await with_place([ticket], context.flow, limits, ports, context.now):
            raise commands.refusal(f"{limits.told(TICKETS)}: claim ticket {ticket.task_id} later")
    return Commanded(order, context.cause, worker=worker)


LOADED: Mapping[type[Command], Callable[[AnyCommand, Context, Ports], Awaitable[AnyOutcome]]] = {
    commands.CancelRequest: _with_live,
    commands.PauseRequest: _with_live,
    commands.ResumeRequest: _with_live,
    commands.AdjustRequest: _with_live,
    commands.ReplanRequest: _with_plan,
    commands.SkipRequest: _with_end,
    commands.HedgeRequest: _with_second,
    commands.TicketApproval: _with_end,
    commands.TicketDenial: _with_decision,
    commands.RedriveRequest: _with_redone,
    commands.RetryRequest: _with_retried,
    commands.TicketCancelRequest: _with_after,
    commands.QuarantineDecision: _with_after,
    commands.ClaimRequest: _with_worker,
}
"""What is loaded for an order beside what it names."""


async def reported(reports: Sequence[Report], context: Context, ports: Ports) -> AnyOutcome:
    """Return `Reported`: what workers say of tickets of one flow, of each ticket once."""
    counting = counted(reports, context.tickets)
    if not counting:
        return Duplicate()
    done = [ticket for report, ticket in counting if report.status is ReportStatus.COMPLETED]
    failed = [(report, ticket) for report, ticket in counting if report.status is ReportStatus.FAILED]
    given_up = [ticket for report, ticket in failed if not _will_retry(report, ticket, context)]
    around = await around_ends(done, given_up, ports) if done or given_up else RelatedTickets()
    slots = Counter(who for report, ticket in counting for who in _freed(report, ticket))
    limits = context.rules.in_flight
    if limits is not None and limits.tickets is not None:
        slots.clear()  # a place has to be given back first: then waiting tickets are released
    following = [t for who, n in slots.items() for t in await _next_for(who, n, context, ports)]
    return moving(around.touched, Reported(reports, around, following))


async def left_out(tickets: Sequence[UnreadableRecord], context: Context, ports: Ports) -> AnyOutcome:
    """Return `LeftOut`: those of the flow's tickets that cannot be read and of which no incident tells yet."""
    flow = context.flow
    if flow.status in ENDED_FLOWS:
        return Duplicate()
    raised = await ports.views.audits(flow.flow_id, INCIDENTS, kind=AuditKind.INCIDENT)
    known = {incident.audit_id for incident in raised}
    new = {t.record_id: t.why for t in tickets if incident_of_unreadable(flow.flow_id, t.record_id) not in known}
    return LeftOut(new) if new else Duplicate()


async def _next_for(worker_id: str | None, slots: int, context: Context, ports: Ports) -> Sequence[Ticket]:
    """Return the waiting tickets with the least slack, of any flow, that can use the worker's free slots."""
    try:
        worker = await ports.registry.worker(worker_id) if worker_id else None
    except Unreadable:
        return ()
    if worker is None or not worker.takes_tickets or worker.suspended_until is not None:
        return ()  # one that is suspended is given its next ticket by its verdicts
    return await ports.wakeups.claim_waiting(worker.offers, context.now, slots, OFFER_LEASE)


def _freed(report: Report, ticket: Ticket) -> Iterator[str | None]:
    """Yield the workers that have a free slot by the end of an attempt: that of the other one, too, if it has lost."""
    if report.status is not ReportStatus.RUNNING:
        seen = of_attempt(ticket, report.attempt)
        yield seen.worker_id
        if report.status is ReportStatus.COMPLETED and (other := other_of(seen)) is not None:
            yield other.worker_id


def _will_retry(report: Report, ticket: Ticket, context: Context) -> bool:
    again = retryable(report, ticket)
    return may_retry(ticket, context.flow, context.now, context.rules, retryable=again)
