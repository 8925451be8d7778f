"""Why a flow or a ticket is where it is: the explanation of the core with the last lines of the history."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from functions._core.decision.vocabulary import UNPRINTABLE, shown
from functions._core.errors import Unavailable, Unreadable
from functions._core.explain.flow import NAMED, explain_flow, explain_ticket
from functions._core.explain.freezes import told_of_freezes
from functions._core.explain.healing import with_healing
from functions._core.explain.jobs import with_jobs
from functions._core.explain.policies import with_policies
from functions._core.explain.ticket import Explanation
from functions._core.explain.unreadable import explain_unreadable, with_unreadable
from functions._core.healing.stored import runs_of
from functions._core.jobs.records import jobs_of
from functions._core.placement.foreseen import late_with, model_for
from functions._core.placement.limits import TICKETS, begins, lines_of, places, room_for, tenant_of
from functions._core.placement.pheromones import domain_of
from functions._core.placement.ranking import rank
from functions._core.placement.weights import weight_of
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._core.records.worker import Worker
from functions._core.slo import stored
from functions._core.slo.blocking import named
from functions._core.slo.gate import freeze_of, namespaces_for
from functions.api.documents import problems
from functions.api.refused_reports import last_refused
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.tickets import ticket_named
from functions.api.views import WhyView, why_view

router = Routes(prefix="/api/v1/why", tags=["why"])

LAST_EVENTS = 10
PAGE = 500

FAILED_READ = 4 * NAMED
"""Failed tickets that are read of a flow: compensations among them are not named."""

LINE_SHOWN = 100
"""Flows in a line of which one is told its place; further behind it changes often enough."""

TELLING = frozenset({"flow.paused", "sla.at_risk"})
"""Transitions of a flow that say what its row does not: who paused it and why, what put its SLA at risk."""


@router.get("/{record_id}", responses=problems(404))
async def why(services: Services, record_id: str) -> WhyView:
    """Return why a flow or a ticket is where it is, since when, and what happens next."""
    now = services.ports.clock.now()
    try:
        flow = None if UNPRINTABLE.search(record_id) else await services.ports.store.flow(record_id)
    except Unreadable as unreadable:
        last, _ = await _history(services, record_id, None)
        return why_view(explain_unreadable(RecordKind.FLOW, record_id, unreadable), None, now, last)
    if flow is not None:
        return await _why_flow(services, flow)
    try:
        return await _why_ticket(services, await ticket_named(services, record_id))
    except Unreadable as unreadable:
        return why_view(explain_unreadable(RecordKind.TICKET, record_id, unreadable), None, now, ())


async def _why_flow(services: ApiServices, flow: Flow) -> WhyView:
    ports = services.ports
    tickets: list[Ticket] = []
    if flow.outcome is None or flow.status is FlowStatus.COMPENSATING:
        tickets += await ports.store.tickets_of(flow.flow_id, live_only=True)
    if flow.outcome is not None:
        failed = {"flow_id": flow.flow_id, "status": TicketStatus.FAILED.value}
        tickets += (await ports.views.find_tickets(failed, None, FAILED_READ))[0]
    tally = await ports.ticket_counts.by_status(flow.flow_id) if flow.ended_at is None else flow.tally
    last, about_flow = await _history(services, flow.flow_id, None)
    now = ports.clock.now()
    workers = await ports.registry.workers() if any(ticket.waiting is Waiting.SLOT for ticket in tickets) else ()
    explanation = explain_flow(flow, tickets, now, services.rules, tally=tally, workers=workers, history=about_flow)
    explanation = await _with_place_in_line(services, explanation, flow)
    explanation = with_policies(explanation, await services.engine.policies_applied(flow.flow_id), now)
    explanation = with_healing(explanation, await runs_of(ports.key_values, flow.flow_id), now)
    explanation = await _with_refused(services, explanation, flow.flow_id)
    return why_view(with_unreadable(explanation, ports.set_aside.records(flow_id=flow.flow_id)), None, now, last)


async def _why_ticket(services: ApiServices, ticket: Ticket) -> WhyView:
    ports = services.ports
    flow = await ports.store.flow(ticket.flow_id)
    if flow is None:
        raise Unavailable(f"the flow of ticket {ticket.ticket_id} is not visible")
    upstream = tuple((await ports.store.tickets(_waited_for(ticket), ticket.flow_id)).values())
    last, _ = await _history(services, ticket.flow_id, ticket.ticket_id)
    now, trails = ports.clock.now(), await ports.pheromones.trails(domain_of(ticket))
    workers: Sequence[Worker] = ()
    if ticket.status is TicketStatus.PENDING:
        workers = await ports.registry.workers()
        late = late_with(ticket, await model_for([ticket], ports), now)
        ranking = rank(ticket, workers, await ports.ticket_counts.active(), now, services.rules, trails, late)
        ticket = ticket.but(candidates=ranking.candidates, refusals=ranking.refusals)
    elif ticket.worker_id is not None:
        with suppress(Unreadable):
            holder = await ports.registry.worker(ticket.worker_id)
            workers = (holder,) if holder else ()
    explanation = explain_ticket(
        ticket,
        flow,
        now,
        services.rules,
        upstream=upstream,
        workers=workers,
        trails=trails,
        up_since=services.up_since(),
    )
    explanation = await _with_freeze(services, explanation, ticket)
    explanation = await _with_limit(services, explanation, ticket, flow)
    explanation = await _with_weight(services, explanation, ticket, flow)
    explanation = await _with_refused(services, explanation, ticket.flow_id)
    jobs = await jobs_of(ports.key_values, ticket.ticket_id, ticket.flow_id)
    explanation = with_jobs(explanation, [job for job, _ in jobs], now)
    left_out = ports.set_aside.records(RecordKind.WORKER)
    about = [one for one in left_out if ticket.status is TicketStatus.PENDING or one.record_id == ticket.worker_id]
    needs = ports.set_aside.records(RecordKind.REQUIREMENT, flow_id=ticket.flow_id)
    about += [one for one in needs if one.record_id == ticket.ticket_id]
    return why_view(with_unreadable(explanation, about), ticket, now, last)


async def _with_freeze(services: ApiServices, explanation: Explanation, ticket: Ticket) -> Explanation:
    """Return the explanation with the freeze that holds the ticket back, its policy, and what ends it."""
    if ticket.waiting is not Waiting.FREEZE:
        return explanation
    entries = services.ports.key_values
    freezes = await stored.active_freezes(entries)
    ticket = await named(ticket, services.ports.store) if freezes else ticket
    of_services = await namespaces_for([ticket], freezes, services.ports.budget_gate)
    holding = [one for one in freezes if freeze_of(ticket, [one], of_services) is not None]
    policy = await stored.policy(entries, holding[0].policy_id) if holding else None
    told = told_of_freezes(holding, policy, services.ports.clock.now())
    return explanation.but(details=(*explanation.details, *told))


async def _with_limit(services: ApiServices, explanation: Explanation, ticket: Ticket, flow: Flow) -> Explanation:
    """Return the explanation with the limit of tickets in flight, where the ticket waits for that."""
    limits = services.rules.in_flight
    if limits is None or limits.tickets is None or ticket.waiting is not Waiting.SLOT:
        return explanation
    held, _ = await places(TICKETS, services.ports.key_values)
    if room_for({ticket.ticket_id: tenant_of(flow)}, held, limits.of(TICKETS)):
        return explanation
    text = limits.told(TICKETS)
    return explanation.but(details=(*explanation.details, f"{text[0].upper()}{text[1:]}."))


async def _with_weight(services: ApiServices, explanation: Explanation, ticket: Ticket, flow: Flow) -> Explanation:
    """Return the explanation with the turn of a ticket that waits for a slot, where tenants have weights."""
    weights = services.rules.tenant_weights
    if not weights or ticket.waiting is not Waiting.SLOT or ticket.turn is None:
        return explanation
    current = (await services.ports.wakeups.line(ticket.flow_id, ticket.requirement)).current
    own, most = weight_of(flow.tenant_id, weights), max(*weights.values(), 1)
    tenant = f"Its tenant {shown(flow.tenant_id)}" if flow.tenant_id else "Work without a tenant"
    text = (
        f"{tenant} has the weight {own}, the heaviest {most}; it waits in turn {ticket.turn}, and {current} is served."
    )
    return explanation.but(details=(*explanation.details, text))


async def _with_place_in_line(services: ApiServices, explanation: Explanation, flow: Flow) -> Explanation:
    """Return the explanation with the place of a flow among those that wait for their concurrency key."""
    line = next((one for one in lines_of(flow, None) if one.waits(flow)), None)
    if line is None or not begins(flow):
        return explanation
    first = await line.waiting(services.ports.key_values, None, LINE_SHOWN)
    number = next((at for at, entry in enumerate(first, 1) if entry.key == line.waiting_key(flow)), None)
    place = f"number {number}" if number else f"behind the first {LINE_SHOWN}"
    return explanation.but(details=(*explanation.details, f"It is {place} of those that wait for this key."))


async def _with_refused(services: ApiServices, explanation: Explanation, flow_id: str) -> Explanation:
    """Return the explanation with the last report about its subject that was refused, if one was."""
    refused = await last_refused(services, flow_id, explanation.subject)
    return explanation.but(details=(*explanation.details, refused)) if refused else explanation


def _waited_for(ticket: Ticket) -> Sequence[str]:
    """Return the ids of the tickets that a ticket waits for."""
    if ticket.status is TicketStatus.COMPENSATING and ticket.compensation_ticket_id:
        return (ticket.compensation_ticket_id,)
    return ticket.dependencies if ticket.waiting is Waiting.DEPENDENCIES else ()


async def _history(
    services: ApiServices, flow_id: str, ticket_id: str | None
) -> tuple[Sequence[HistoryEntry], Sequence[HistoryEntry]]:
    """Return the last lines of a flow's history, or of one of its tickets, and those of the flow that explain it.

    Histories are read from their start.
    """
    last: deque[HistoryEntry] = deque(maxlen=LAST_EVENTS)
    about_flow: dict[str, HistoryEntry] = {}
    after = 0
    while True:
        entries = await services.ports.views.history(flow_id, after, PAGE)
        last.extend(entry for entry in entries if ticket_id in {None, entry.ticket_id})
        about_flow |= {entry.type: entry for entry in entries if entry.type in TELLING and entry.ticket_id is None}
        if len(entries) < PAGE:
            return tuple(last), tuple(about_flow.values())
        after = entries[-1].seq
