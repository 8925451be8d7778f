"""C4: choose a worker for each ticket; the assignment itself is POSTed once the choice is committed.

Consumes workers.discovered. Emits ticket.assigned to the chosen worker, over HTTP.
Gives up on a worker that refuses, has no free slot, or does not acknowledge within 30 s: the next candidate's turn.
"""

from collections.abc import Mapping

from functions._core.assignment_steps import may_fail_when_lost, waits_for_worker
from functions._core.event_data import WorkersDiscovered
from functions._core.outcomes import AnyOutcome, Assigned, Delivered
from functions._core.ports import Answer, Ports
from functions._core.ranking import choose
from functions._core.situation import Situation
from functions._core.surroundings import around_failure
from functions._core.turns import Turns


async def assign(event: WorkersDiscovered, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `Assigned`: the best candidate that still has a free slot, for the least slack first."""
    taken = dict(await ports.tally.active())
    chosen: dict[str, str] = {}
    turns, crowded = Turns(ports.wakeups.line), dict[str, int]()
    for ticket_id, candidates in event.candidates.items():
        ticket = situation.tickets.get(ticket_id)
        if ticket is None or not waits_for_worker(ticket):
            continue
        known = [candidate.but(active=taken.get(candidate.worker_id, 0)) for candidate in candidates]
        choice = choose(known, taken)
        if choice is None:
            crowded[ticket_id] = await turns.of(ticket)
            continue
        chosen[ticket_id] = choice.worker_id
        taken[choice.worker_id] = taken.get(choice.worker_id, 0) + 1
    return Assigned(chosen, event.candidates, crowded)


async def answered(answers: Mapping[str, tuple[int, Answer]], situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `Delivered`: what workers said to the assignments of these attempts, by ticket id."""
    lost = [t for t in situation.tickets.values() if not answers[t.ticket_id][1].accepted]
    failing = [ticket for ticket in lost if may_fail_when_lost(ticket, situation)]
    return Delivered(answers, {ticket.ticket_id: await around_failure(ticket, ports) for ticket in failing})
