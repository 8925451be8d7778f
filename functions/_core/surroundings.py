"""Loads what the end of a ticket or a flow needs: no more than it has to, so that ends in large plans stay cheap."""

from collections.abc import Sequence

from functions._core.models import Flow, Ticket
from functions._core.outcomes import Surroundings
from functions._core.ports import Ports
from functions._core.telemetry import TicketFacts
from functions._core.values import TicketStatus


async def around_success(ticket: Ticket, ports: Ports, *, ending: int = 1) -> Surroundings:
    """Return the dependants, and the counts by status unless others go on.

    `ending` is how many live tickets end in the same step, this one among them.
    """
    dependants = await ports.store.tickets(ticket.dependants) if ticket.dependants else {}
    if any(dependant.status is TicketStatus.PENDING for dependant in dependants.values()):
        return Surroundings(dependants=dependants)
    last = await ports.tally.live(ticket.flow_id, ending + 1) <= ending
    tally = await ports.tally.by_status(ticket.flow_id) if last else None
    return Surroundings(dependants=dependants, tally=tally)


async def around_failure(ticket: Ticket, ports: Ports) -> Surroundings:
    """Return all live tickets that depend on this one, directly or not, and the counts unless others go on."""
    live: dict[str, Ticket] = {}
    frontier = set(ticket.dependants)
    while frontier:
        found = await ports.store.tickets(frontier)
        fresh = {ticket_id: other for ticket_id, other in found.items() if other.live and ticket_id not in live}
        live.update(fresh)
        frontier = {after for other in fresh.values() for after in other.dependants} - live.keys()
    ending = len(live) + (1 if ticket.live else 0)
    last = await ports.tally.live(ticket.flow_id, ending + 1) <= ending
    return Surroundings(live=tuple(live.values()), tally=await ports.tally.by_status(ticket.flow_id) if last else None)


PAGE = 500
"""Tickets read at a time; a plan with more is never in memory as a whole."""


async def all_tickets(flow: Flow, ports: Ports) -> Sequence[Ticket | TicketFacts]:
    """Return what telemetry tells of a flow's tickets, in the order of the plan."""
    if flow.tickets_generated <= PAGE:
        return await ports.store.tickets_of(flow.flow_id)
    facts: list[TicketFacts] = []
    cursor: str | None = None
    while True:
        page, cursor = await ports.views.find_tickets({"flow_id": flow.flow_id}, cursor, PAGE)
        facts += map(TicketFacts.of, page)
        if cursor is None:
            return facts
