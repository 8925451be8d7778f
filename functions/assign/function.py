"""C4: choose a worker for each ticket; the assignment itself is POSTed once the choice is committed.

Consumes workers.discovered. Emits ticket.assigned to the chosen worker, over HTTP.
Gives up on a worker that refuses, has no free slot, or does not acknowledge within 30 s: the next candidate's turn.
"""

from collections.abc import Mapping
from operator import attrgetter

from functions._core.events.data import WorkersDiscovered
from functions._core.guards.asking import denied_since
from functions._core.machine.assignment import Assigned, Delivered, may_fail_when_lost, waits_for_worker
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.machine.related_tickets import around_failure
from functions._core.placement.limits import with_place
from functions._core.placement.ranking import choose
from functions._core.placement.turns import turns_of
from functions._core.ports import Ports
from functions._core.records.models import Ticket
from functions._core.records.worker import Answer
from functions._core.slo.blocking import blocked


async def assign(event: WorkersDiscovered, context: Context, ports: Ports) -> AnyOutcome:
    """Return `Assigned`: the best candidate that still has a free slot, by slack and priority score."""
    taken = dict(await ports.ticket_counts.active())
    chosen: dict[str, str] = {}
    crowded: list[Ticket] = []
    named = (ticket for ticket_id, ticket in context.tickets.items() if ticket_id in event.candidates)
    tickets = sorted(filter(waits_for_worker, named), key=attrgetter("order"))
    frozen = await blocked(tickets, ports)
    stopped = await denied_since(tickets, context.flow, ports)
    for ticket in tickets:
        ticket_id = ticket.ticket_id
        if ticket_id in frozen or ticket_id in stopped:
            continue
        known = [candidate.but(active=taken.get(candidate.worker_id, 0)) for candidate in event.candidates[ticket_id]]
        choice = choose(known, taken)
        if choice is None:
            crowded.append(ticket)
            continue
        chosen[ticket_id] = choice.worker_id
        taken[choice.worker_id] = taken.get(choice.worker_id, 0) + 1
    begin = [context.tickets[ticket_id] for ticket_id in chosen]
    allowed = await with_place(begin, context.flow, context.rules.in_flight, ports, context.now)
    for ticket_id in [one for one in chosen if one not in allowed]:
        del chosen[ticket_id]
        crowded.append(context.tickets[ticket_id])
    return Assigned(chosen, event.candidates, await turns_of(crowded, context, ports), frozen, stopped - frozen.keys())


async def answered(answers: Mapping[str, tuple[int, Answer]], context: Context, ports: Ports) -> AnyOutcome:
    """Return `Delivered`: what workers said to the assignments of these attempts, by ticket id."""
    lost = [t for t in context.tickets.values() if not answers[t.ticket_id][1].accepted]
    failing = [ticket for ticket in lost if may_fail_when_lost(ticket, context)]
    return Delivered(answers, {ticket.ticket_id: await around_failure(ticket, ports) for ticket in failing})
