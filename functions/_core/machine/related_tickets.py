"""Loads the records that the end of a ticket or a flow needs, and no more, so that ends in large plans stay cheap."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from functions._core.events.telemetry import TicketFacts
from functions._core.ports import Ports
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus, Waiting, ticket_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedTickets:
    """The other tickets of the flow that the ends of some tickets touch, as far as they are needed.

    `dependants` of those that succeeded; the `live` ones among all that depend on those that fail for good;
    the counts by status (`tally`) of all tickets unless others are known to continue. `goes_on` says that something
    else is live for certain. `undone` are the tickets whose work compensations among all of these undo, by id.
    `parents` are those whose children are among all of these, by id, and `following` the children, by index, whose turn
    it is next. `clock` are all live tickets of the flow where a wait may stop its clock. `beside` are tickets that may
    get slack back from those that are skipped (see `relief`), by id.
    """

    dependants: Mapping[str, Ticket] = field(default_factory=dict)
    live: Sequence[Ticket] = ()
    tally: Mapping[str, int] | None = None
    goes_on: bool = False
    undone: Mapping[str, Ticket] = field(default_factory=dict)
    parents: Mapping[str, Ticket] = field(default_factory=dict)
    following: Mapping[tuple[str, int], Ticket] = field(default_factory=dict)
    clock: Sequence[Ticket] = ()
    beside: Mapping[str, Ticket] = field(default_factory=dict)

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
    ended = (*tickets, *live.values())
    undone = await undone_by(ended, ports)
    if any(ticket.parent or stops_clock(ticket) for ticket in ended):
        # A parent is live until its children have ended, so this is not the end of the flow.
        found = RelatedTickets(dependants=dependants, live=tuple(live.values()), undone=undone)
        return await _with_parents(found, ended, ports)
    if any(other.status is TicketStatus.PENDING for other in dependants.values() if other.ticket_id not in live):
        return RelatedTickets(dependants=dependants, live=tuple(live.values()), undone=undone)
    ending = len(live) + sum(ticket.live for ticket in tickets)
    last = await ports.ticket_counts.live(flow_id, ending + 1) <= ending
    tally = await ports.ticket_counts.by_status(flow_id) if last else None
    return RelatedTickets(dependants=dependants, live=tuple(live.values()), tally=tally, undone=undone)


async def _with_parents(found: RelatedTickets, ended: Sequence[Ticket], ports: Ports) -> RelatedTickets:
    """Return the related tickets with the parents of those that end, and the children whose turn it is next."""
    flow_id, numbers = ended[0].flow_id, Counter(ticket.parent for ticket in ended if ticket.parent)
    parents = await ports.store.tickets(set(numbers), flow_id) if numbers else {}
    places: dict[str, tuple[str, int]] = {}
    for parent in parents.values():
        if parent.children is not None and parent.control is not None and parent.control.foreach is not None:
            first, made = parent.children.begun, parent.children.made
            for index in range(first, min(first + numbers[parent.ticket_id], made)):
                child = ticket_id_of(flow_id, f"{parent.task_id}[{index}]")
                places[child] = (parent.ticket_id, index)
    following = await ports.store.tickets(places, flow_id) if places else {}
    stops = any(map(stops_clock, ended))
    gone_on = any(parent.live and parent not in ended for parent in parents.values())
    last = not gone_on and await ports.ticket_counts.live(flow_id, len(ended) + 1) <= len(ended)
    return replace(
        found,
        parents=parents,
        following={places[ticket_id]: child for ticket_id, child in following.items()},
        clock=await ports.store.tickets_of(flow_id, live_only=True) if stops else (),
        tally=await ports.ticket_counts.by_status(flow_id) if last else None,
    )


def stops_clock(ticket: Ticket) -> bool:
    """Whether the ticket is a wait that stops the clock of its flow."""
    wait = (ticket.control.wait or ticket.control.approval) if ticket.control else None
    return wait is not None and wait.stops_clock


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
    if any(ticket.status is TicketStatus.WAITING and ticket.waiting is Waiting.CHILDREN for ticket in failing):
        live |= await _live_below({ticket.ticket_id for ticket in failing}, failing[0].flow_id, ports)
    return live


async def _live_below(above: set[str], flow_id: str, ports: Ports) -> dict[str, Ticket]:
    """Return the live children of tickets, and theirs, by id."""
    found: dict[str, Ticket] = {}
    for ticket in sorted(await ports.store.tickets_of(flow_id, live_only=True), key=lambda one: len(one.scope)):
        if ticket.parent in above or ticket.parent in found:
            found[ticket.ticket_id] = ticket
    return found


WHOLE = 500
"""Tickets of a plan that may be in memory at once; of a larger one never all are."""

PAGE = 100
"""Tickets of a larger plan that are read at a time."""


async def all_tickets(flow: Flow, ports: Ports) -> Sequence[Ticket | TicketFacts]:
    """Return a flow's tickets, or of a large plan the facts that telemetry needs, in the order of the plan."""
    if flow.tickets_generated <= WHOLE:
        return await ports.store.tickets_of(flow.flow_id)
    facts: list[TicketFacts] = []
    cursor: str | None = None
    while True:
        page, cursor = await ports.views.find_tickets({"flow_id": flow.flow_id}, cursor, PAGE)
        facts += map(TicketFacts.of, page)
        if cursor is None:
            return facts
