"""C3: rank the workers for each ready ticket, or say what the ticket waits for and who was left out.

Consumes tickets.ready and worker.recovered. Emits workers.discovered.
Gives up on a ticket when no capable worker has registered within ten minutes (FAILED, no_worker), or when all
stay busy until the flow's deadline (FAILED, no_capacity).
"""

from operator import attrgetter

from functions._core.assignment_steps import waits_for_worker
from functions._core.event_data import TicketsReady
from functions._core.models import Candidate, Refusal
from functions._core.outcomes import AnyOutcome, Discovered
from functions._core.ports import Ports
from functions._core.ranking import rank
from functions._core.situation import Situation
from functions._core.turns import Turns
from functions._core.values import Waiting


async def discover(_event: TicketsReady, situation: Situation, ports: Ports) -> AnyOutcome:
    """Return `Discovered`; every ticket placed counts as load for the next, so that a batch is spread."""
    workers = await ports.registry.workers()
    active = dict(await ports.tally.active())
    found: dict[str, tuple[Candidate, ...]] = {}
    waiting: dict[str, Waiting] = {}
    refusals: dict[str, tuple[Refusal, ...]] = {}
    turns, given = Turns(ports.wakeups.line), dict[str, int]()
    tickets = sorted(situation.tickets.values(), key=attrgetter("order"))
    for ticket in filter(waits_for_worker, tickets):
        ranking = rank(ticket, workers, active, situation.now, situation.rules)
        if ranking.candidates:
            found[ticket.ticket_id] = ranking.candidates
            best = ranking.candidates[0].worker_id
            active[best] = active.get(best, 0) + 1
        else:
            waiting[ticket.ticket_id] = Waiting.SLOT if ranking.capable else Waiting.WORKER
            refusals[ticket.ticket_id] = ranking.refusals
            given[ticket.ticket_id] = await turns.of(ticket)
    return Discovered(found, waiting, refusals, given)
