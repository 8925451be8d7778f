"""C3: rank the workers for each ready ticket, or say what the ticket waits for and who was left out.

Consumes tickets.ready and worker.recovered. Emits workers.discovered.
Gives up on a ticket when no capable worker has registered within ten minutes (FAILED, no_worker), or when all
stay busy until the flow's deadline (FAILED, no_capacity).
"""

from datetime import timedelta
from operator import attrgetter

from functions._core.events.data import TicketsReady
from functions._core.machine.assignment import Discovered, waits_for_worker
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.placement.pheromones import domain_of
from functions._core.placement.ranking import half_open, rank
from functions._core.placement.turns import turns_of
from functions._core.ports import Ports
from functions._core.records.models import Ticket
from functions._core.records.values import Waiting
from functions._core.records.worker import Candidate, Refusal, Worker

OF_A_BATCH = timedelta(minutes=1)
"""Longer than C3 takes for one event."""


async def discover(_event: TicketsReady, context: Context, ports: Ports) -> AnyOutcome:
    """Return `Discovered`; every ticket placed counts as load for the next, so that a batch is spread."""
    workers = list(await ports.registry.workers())
    active = dict(await ports.ticket_counts.active())
    found: dict[str, tuple[Candidate, ...]] = {}
    waiting: dict[str, Waiting] = {}
    refusals: dict[str, tuple[Refusal, ...]] = {}
    tickets = sorted(context.tickets.values(), key=attrgetter("order"))
    for ticket in filter(waits_for_worker, tickets):
        trails = await ports.pheromones.trails(domain_of(ticket))
        ranking = rank(ticket, workers, active, context.now, context.rules, trails)
        if ranking.candidates:
            found[ticket.ticket_id] = ranking.candidates
            best = ranking.candidates[0].worker_id
            active[best] = active.get(best, 0) + 1
            workers = [_given(worker, ticket, context) if worker.worker_id == best else worker for worker in workers]
        else:
            waiting[ticket.ticket_id] = Waiting.SLOT if ranking.capable else Waiting.WORKER
            refusals[ticket.ticket_id] = ranking.refusals
    turns = await turns_of([context.tickets[ticket_id] for ticket_id in waiting], context, ports)
    return Discovered(found, waiting, refusals, turns)


def _given(worker: Worker, ticket: Ticket, context: Context) -> Worker:
    """Return a worker that got a ticket of this batch: one that is tried gets no other."""
    if not half_open(worker, context.now):
        return worker
    return worker.but(trial=ticket.ticket_id, trial_until=context.now + OF_A_BATCH)
