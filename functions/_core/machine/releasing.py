"""How tickets become ready: their dependencies are done, their turn has come, or those before them do not count.

Each ticket counts its open dependencies. Each ticket with children counts these on its own row, and is looked at again
when they have ended. A failure or a cancellation that does not decide the outcome of the flow is counted on the flow.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.step_builder import StepBuilder
from functions._core.records.control import Children, OnSkipped
from functions._core.records.models import Ticket
from functions._core.records.values import LATEST, FlowStatus, TicketStatus, Waiting

CAME_TO_NOTHING = frozenset({TicketStatus.FAILED, TicketStatus.CANCELLED})
"""Statuses of a ticket that make its flow fail, unless they are tolerated."""


def readied(builder: StepBuilder, *, after: timedelta | None = None) -> dict[str, Any]:
    """Return the changes of a ticket that could be assigned now, or once its paused flow is resumed.

    `after` is when it is looked at again, in case the event that starts its discovery is lost.
    """
    if builder.flow.status is FlowStatus.PAUSED:
        return {"waiting": Waiting.RESUME, "waiting_since": builder.now, "until": builder.flow.next_wakeup_at}
    until = builder.now + (after or builder.context.rules.reemit_after(0))
    return {"waiting": Waiting.DISCOVERY, "waiting_since": builder.now, "until": until}


def released(builder: StepBuilder, dependants: Iterable[Ticket]) -> Sequence[Ticket]:
    """Take an open dependency from tickets that still wait for some; return all of them that still can begin."""
    waiting = (other for other in map(builder.latest, dependants) if other.status is TicketStatus.PENDING)
    return [_without_dependency(builder, other) for other in waiting]


def _without_dependency(builder: StepBuilder, dependant: Ticket) -> Ticket:
    left = dependant.open_dependencies - 1
    if left:
        return builder.change_ticket(dependant, open_dependencies=left)
    return builder.change_ticket(dependant, open_dependencies=0, ready_at=builder.now, **readied(builder))


def skipped_with(ticket: Ticket) -> bool:
    """Whether the ticket is skipped with any of its dependencies."""
    return ticket.control is None or ticket.control.on_skipped is OnSkipped.SKIP


def may_fail(ticket: Ticket) -> bool:
    """Whether the failure of the ticket counts as done."""
    return ticket.control is not None and ticket.control.allow_failure


def tolerate(builder: StepBuilder, status: TicketStatus, number: int = 1) -> None:
    """Count an end that does not decide the outcome of the flow; -1 when the ticket is done again."""
    counts = dict(builder.flow.tolerated)
    counts[status] = counts.get(status, 0) + number
    builder.change_flow(tolerated={status: count for status, count in counts.items() if count})


def child_ended(builder: StepBuilder, child: Ticket, around: RelatedTickets) -> None:
    """Count the end of a child on its parent, let the next of its list begin, or let the parent go on."""
    if child.parent is None or child.compensates is not None:
        return
    if child.status in CAME_TO_NOTHING:
        tolerate(builder, child.status)
    known = around.parents.get(child.parent)
    if known is None:
        return
    parent = builder.latest(known)
    if parent.status is not TicketStatus.WAITING or parent.children is None:
        return
    counts = _counted(parent.children, child)
    following = around.following.get((parent.ticket_id, counts.begun))
    if not decided(parent, counts) and following is not None and following.waiting is Waiting.TURN:
        begun = builder.change_ticket(builder.latest(following), ready_at=builder.now, **readied(builder))
        builder.ready([begun] if begun.waiting is Waiting.DISCOVERY else [])
        counts = counts.but(begun=counts.begun + 1)
    if decided(parent, counts) or more_may_begin(parent, counts):
        go_on(builder, parent.but(children=counts))
    else:
        builder.change_ticket(parent, children=counts)


def decided(parent: Ticket, counts: Children) -> bool:
    """Whether nothing that its children still do can change how the parent ends."""
    foreach = parent.control.foreach if parent.control else None
    return counts.ended >= counts.total or (foreach is not None and counts.failed > foreach.max_failures)


def more_may_begin(parent: Ticket, counts: Children) -> bool:
    """Whether children that are there may begin: the next one was done in a run before, and does not count yet."""
    foreach = parent.control.foreach if parent.control else None
    return foreach is not None and counts.begun < counts.made and counts.begun - counts.ended < foreach.limit


def go_on(builder: StepBuilder, parent: Ticket) -> None:
    """Let C3 go on with a ticket that has children: to make more of them, or to end with them."""
    until = builder.now + builder.context.rules.reemit_after(0)
    again = builder.change_ticket(parent, children=parent.children, emissions=parent.emissions + 1, until=until)
    builder.ready([again])


def look_again(builder: StepBuilder, ticket: Ticket) -> None:
    """Let a ticket that waits for an event be committed again from time to time: each commit enters its wait.

    The process that let it wait may have died before the wait was entered.
    """
    after = builder.context.rules.reemit_after(ticket.emissions)
    at = min(builder.now + after, ticket.next_wakeup_at or LATEST)
    builder.change_ticket(ticket, emissions=ticket.emissions + 1, next_wakeup_at=at)


def _counted(counts: Children, child: Ticket) -> Children:
    if child.status is TicketStatus.COMPLETED:
        return counts.but(completed=counts.completed + 1)
    if child.status is TicketStatus.SKIPPED or (child.status is TicketStatus.FAILED and may_fail(child)):
        return counts.but(skipped=counts.skipped + 1)
    return counts.but(failed=counts.failed + 1)
