"""C3: rank the workers for each ready ticket, or say what the ticket waits for and who was left out.

A ticket with a condition is looked at first; one that needs no worker begins here: it waits, or gets its children.

Consumes tickets.ready and worker.recovered. Emits workers.discovered.
A ticket that a freeze holds back waits for its end, and is looked at again every minute.
Guards look at each ticket first (`guard_ticket`): one that they deny fails, one in quarantine waits for a person.
Gives up on a ticket when no capable worker has registered within ten minutes (FAILED, no_worker), or when all
stay busy until the flow's deadline (FAILED, no_capacity).
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

from functions._core.events.data import TicketsReady
from functions._core.guards.asking import of_tickets
from functions._core.guards.gate import ALLOWED, Finding
from functions._core.machine.assignment import Discovered, may_look_for_worker, waits_for_worker
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.placement.foreseen import late_with, model_for
from functions._core.placement.pheromones import domain_of
from functions._core.placement.ranking import half_open, rank
from functions._core.placement.turns import turns_of
from functions._core.ports import Ports
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._core.records.worker import Candidate, Refusal, Worker
from functions._core.slo.blocking import blocked

OF_A_BATCH = timedelta(minutes=1)
"""Longer than C3 takes for one event."""


async def discover(_event: TicketsReady, context: Context, ports: Ports) -> AnyOutcome:
    """Return `Discovered` for tickets that need a worker, with `Begun` for those that something steers."""
    own = steered(context.tickets.values())
    findings = await _found(own, context, ports) if own else {}
    open_ones = {ticket.ticket_id for ticket in own if ticket.status is TicketStatus.WAITING}
    rest = [t for i, t in context.tickets.items() if i not in findings and i not in open_ones]
    discovered = await _discovered(rest, context, ports)
    denied = {i: one.one_reason for i, one in discovered.guarded.items() if one.finding is Finding.DENY}
    if not findings and not denied:
        return discovered
    from functions._core.machine.beginning import Denied  # noqa: PLC0415 see below
    from functions._core.machine.steering import begun  # noqa: PLC0415 see below

    findings |= {ticket_id: Denied(reason) for ticket_id, reason in denied.items()}
    return await begun(findings, discovered, context, ports)


async def _found(own: Sequence[Ticket], context: Context, ports: Ports) -> dict[str, Any]:
    from functions._core.machine.steering import found  # noqa: PLC0415 few plans need it, and it costs time

    return dict(await found(own, context, ports))


def steered(tickets: Iterable[Ticket]) -> Sequence[Ticket]:
    """Return the tickets that something steers, and that could begin or go on."""
    return [
        ticket
        for ticket in tickets
        if ticket.control is not None and (waits_for_worker(ticket) or ticket.waiting is Waiting.CHILDREN)
    ]


async def _discovered(among: Iterable[Ticket], context: Context, ports: Ports) -> Discovered:
    """Rank workers; every ticket placed counts as load for the next, so that a batch is spread."""
    workers = list(await ports.registry.workers())
    active = dict(await ports.ticket_counts.active())
    found: dict[str, tuple[Candidate, ...]] = {}
    waiting: dict[str, Waiting] = {}
    refusals: dict[str, tuple[Refusal, ...]] = {}
    tickets = sorted(filter(may_look_for_worker, among), key=attrgetter("order"))
    frozen = await blocked(tickets, ports)
    open_ones = (ticket for ticket in tickets if ticket.ticket_id not in frozen)
    guarded = await of_tickets(open_ones, context.flow, ports)
    model = await model_for(tickets, ports)
    for ticket in tickets:
        if ticket.ticket_id in frozen or guarded.get(ticket.ticket_id, ALLOWED).stops:
            continue
        trails = await ports.pheromones.trails(domain_of(ticket))
        late = late_with(ticket, model, context.now)
        ranking = rank(ticket, workers, active, context.now, context.rules, trails, late)
        if ranking.candidates:
            found[ticket.ticket_id] = ranking.candidates
            best = ranking.candidates[0].worker_id
            active[best] = active.get(best, 0) + 1
            workers = [_given(worker, ticket, context) if worker.worker_id == best else worker for worker in workers]
        else:
            waiting[ticket.ticket_id] = Waiting.SLOT if ranking.capable else Waiting.WORKER
            refusals[ticket.ticket_id] = ranking.refusals
    turns = await turns_of([context.tickets[ticket_id] for ticket_id in waiting], context, ports)
    return Discovered(found, waiting, refusals, turns, frozen, guarded)


def _given(worker: Worker, ticket: Ticket, context: Context) -> Worker:
    """Return a worker that got a ticket of this batch: one that is tried gets no other."""
    if not half_open(worker, context.now):
        return worker
    return worker.but(trial=ticket.ticket_id, trial_until=context.now + OF_A_BATCH)
