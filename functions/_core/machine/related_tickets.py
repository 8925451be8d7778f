"""Loads the records that the end of a ticket or a flow needs, and no more, so that ends in large plans stay cheap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from functions._core.decision.references import Resolution
from functions._core.events.telemetry import TicketFacts
from functions._core.ports import FlowStore, Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import JsonObject, TicketStatus, ticket_id_of

OUTPUTS_AT_ONCE = 8
"""Upstream tickets in memory at once while their outputs are filled in: of each only what is referred to is kept."""


async def resolved_parameters(ticket: Ticket, store: FlowStore, most: int) -> JsonObject:
    """Return a ticket's parameters with every reference replaced by the upstream output.

    `most` is how many bytes the references may stand for. Raises `Undeliverable` for one that stands for nothing.
    """
    resolution = Resolution(ticket.parameters, most)
    task_ids = {ticket_id_of(ticket.flow_id, task_id): task_id for task_id in resolution.task_ids}
    ids = list(task_ids)
    for start in range(0, len(ids), OUTPUTS_AT_ONCE):
        upstream = await store.tickets(ids[start : start + OUTPUTS_AT_ONCE], ticket.flow_id)
        for ticket_id, other in upstream.items():
            resolution.add(task_ids[ticket_id], other.output)
    return resolution.parameters()


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedTickets:
    """The other tickets of the flow that the ends of some tickets touch, as far as they are needed.

    `dependants` of those that succeeded; the `live` ones among all that depend on those that fail for good;
    the counts by status (`tally`) of all tickets unless others are known to continue. `goes_on` says that something
    else is live for certain. `undone` are the tickets whose work compensations among all of these undo, by id.
    """

    dependants: Mapping[str, Ticket] = field(default_factory=dict)
    live: Sequence[Ticket] = ()
    tally: Mapping[str, int] | None = None
    goes_on: bool = False
    undone: Mapping[str, Ticket] = field(default_factory=dict)

    @property
    def touched(self) -> Sequence[Ticket]:
        """The tickets that may change."""
        return (*self.dependants.values(), *self.live)


NONE_RELATED = RelatedTickets()
"""No related tickets: for an outcome that ends no ticket."""


async def around_ends(succeeding: Sequence[Ticket], failing: Sequence[Ticket], ports: Ports) -> RelatedTickets:
    """Return the tickets that are touched when these tickets of one flow end in one step.

    That is the dependants of those that succeed, all live tickets that depend on those that fail, directly or not,
    and the counts by status unless others continue.
    """
    ids = {ticket_id for ticket in succeeding for ticket_id in ticket.dependants}
    flow_id = (*succeeding, *failing)[0].flow_id
    dependants = await ports.store.tickets(ids, flow_id) if ids else {}
    live = await _live_after(failing, ports)
    tickets = (*succeeding, *failing)
    undone = await undone_by((*tickets, *live.values()), ports)
    if any(other.status is TicketStatus.PENDING for other in dependants.values() if other.ticket_id not in live):
        return RelatedTickets(dependants=dependants, live=tuple(live.values()), undone=undone)
    ending = len(live) + sum(ticket.live for ticket in tickets)
    last = await ports.ticket_counts.live(flow_id, ending + 1) <= ending
    tally = await ports.ticket_counts.by_status(flow_id) if last else None
    return RelatedTickets(dependants=dependants, live=tuple(live.values()), tally=tally, undone=undone)


async def undone_by(tickets: Iterable[Ticket], ports: Ports) -> Mapping[str, Ticket]:
    """Return the tickets whose work the compensations among `tickets`, of one flow, undo, by ticket id."""
    ids = {ticket.compensates: ticket.flow_id for ticket in tickets if ticket.compensates}
    return await ports.store.tickets(ids, next(iter(ids.values()))) if ids else {}


async def around_failure(ticket: Ticket, ports: Ports) -> RelatedTickets:
    """Return the tickets that are touched when this one fails for good."""
    return await around_ends((), (ticket,), ports)


async def _live_after(failing: Sequence[Ticket], ports: Ports) -> Mapping[str, Ticket]:
    live: dict[str, Ticket] = {}
    frontier = {ticket_id for ticket in failing for ticket_id in ticket.dependants}
    while frontier:
        found = await ports.store.tickets(frontier, failing[0].flow_id)
        fresh = {ticket_id: other for ticket_id, other in found.items() if other.live and ticket_id not in live}
        live.update(fresh)
        frontier = {after for other in fresh.values() for after in other.dependants} - live.keys()
    return live


PAGE = 500
"""Tickets read at a time; a plan with more is never in memory as a whole."""


async def all_tickets(flow: Flow, ports: Ports) -> Sequence[Ticket | TicketFacts]:
    """Return a flow's tickets, or of a large plan the facts that telemetry needs, in the order of the plan."""
    if flow.tickets_generated <= PAGE:
        return await ports.store.tickets_of(flow.flow_id)
    facts: list[TicketFacts] = []
    cursor: str | None = None
    while True:
        page, cursor = await ports.views.find_tickets({"flow_id": flow.flow_id}, cursor, PAGE)
        facts += map(TicketFacts.of, page)
        if cursor is None:
            return facts
