"""How tickets without a worker begin and go on: conditions, waits, and tickets with children. C3 concludes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from functions._core.learning.guard import Guarded
from functions._core.machine.clock_waits import stop_clock
from functions._core.machine.closing import risk
from functions._core.machine.ending import complete, fail, omit, settle
from functions._core.machine.guarding import deny
from functions._core.machine.outcomes import AnyOutcome, Duplicate
from functions._core.machine.redrive import blank
from functions._core.machine.related_tickets import NONE_RELATED, RelatedTickets, stops_clock
from functions._core.machine.releasing import (
    CAME_TO_NOTHING,
    decided,
    go_on,
    look_again,
    more_may_begin,
    readied,
    tolerate,
)
from functions._core.machine.relief import relieve
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.planning.children import expected_ms, item_tickets, subflow_tickets
from functions._core.records.control import Children
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import TicketStatus, Waiting, add_time, format_time, time_span

TO_DO_AGAIN = CAME_TO_NOTHING | {TicketStatus.COMPENSATED, TicketStatus.SKIPPED}
"""Statuses of children that are done again with their parent."""


class Omitted(NamedTuple):
    """Its condition is false, or all that it depends on was skipped."""

    reason: Reason


class Hopeless(NamedTuple):
    """It cannot begin, or go on."""

    reason: Reason


class Denied(NamedTuple):
    """A guard denies it."""

    reason: Reason


class Waits(NamedTuple):
    """It begins to wait."""

    waiting: Waiting
    until: datetime


class Listed(NamedTuple):
    """The list of a ticket is known, or a part of it: `items` are those from number `first` on of `total`.

    `existing` are those of their children that a run before has made, by number, and `window` the children from
    `Children.begun` on that exist, in order.
    """

    total: int
    first: int
    items: Sequence[Any]
    existing: Mapping[int, Ticket]
    window: Sequence[Ticket]


class SubflowRead(NamedTuple):
    """The plan within a ticket is to begin: `decision` is the text that it is in, `existing` what a run before made.

    `guarded` says how long its tasks take, None where their estimates count.
    """

    decision: bytes
    existing: Mapping[str, Ticket]
    guarded: Guarded | None = None


class Joined(NamedTuple):
    """All children have ended well enough; `apart`: their outputs stay with them."""

    output: Any
    apart: bool = False


Finding = Omitted | Hopeless | Denied | Waits | Listed | SubflowRead | Joined
"""What is found about a ticket that C3 is told of."""

ENDS = (Omitted, Hopeless, Denied, Joined)
"""Findings that end the ticket."""


@dataclass(frozen=True, slots=True)
class Begun:
    """C3: findings about tickets that need no worker, or no longer, by ticket id; `others` is about the rest."""

    found: Mapping[str, Finding]
    around: RelatedTickets = NONE_RELATED
    others: AnyOutcome = field(default_factory=Duplicate)

    def apply(self, builder: StepBuilder) -> None:
        """C3: tickets wait, get children, are skipped, or end; the others go on to workers."""
        ends = [ticket_id for ticket_id, finding in self.found.items() if isinstance(finding, ENDS)]
        for ticket_id, finding in self.found.items():
            ticket = builder.latest(builder.context.tickets[ticket_id])
            # Only the last of several ends may be the flow's: until then the tickets of those to come are live.
            around = replace(self.around, goes_on=True) if ends and ticket_id != ends[-1] else self.around
            if ticket.live:
                _apply(builder, ticket, finding, around)
            elif ends and ticket_id == ends[-1]:  # it has ended with one before it
                settle(builder, ticket, around)
        self.others.apply(builder)


def _apply(builder: StepBuilder, ticket: Ticket, finding: Finding, around: RelatedTickets) -> None:
    match finding:
        case Omitted(reason):
            omit(builder, ticket, reason, around)
            relieve(builder, ticket, around)
        case Hopeless(reason):
            fail(builder, ticket, reason, around)
        case Denied(reason):
            deny(builder, ticket, reason, around)
        case Waits():
            _wait(builder, ticket, finding, around)
        case Listed():
            _list(builder, ticket, finding)
        case SubflowRead():
            _plan(builder, ticket, finding)
        case Joined(output, apart):
            counts = ticket.children.but(apart=apart) if ticket.children else None
            begun = _begin(builder, ticket, Waiting.CHILDREN, children=counts)
            freed = complete(builder, begun, output, around, trigger=TicketTrigger.ARRIVE)
            builder.ready(freed)


def _begin(builder: StepBuilder, ticket: Ticket, waiting: Waiting, **changes: Any) -> Ticket:  # noqa: ANN401 fields
    """Let a ticket be WAITING, if it is not."""
    if ticket.status is TicketStatus.WAITING:
        return builder.change_ticket(ticket, **changes)
    told = {"until": format_time(changes["until"])} if changes.get("until") else {}
    moved = builder.move_ticket(
        ticket,
        TicketTrigger.BEGIN,
        waiting=waiting,
        waiting_since=builder.now,
        **{"started_at": builder.now, **changes},
    )
    builder.note(
        "ticket.waiting",
        ticket=moved,
        from_status=ticket.status,
        to_status=moved.status,
        cause=TicketTrigger.BEGIN,
        detail={"waiting": waiting.value, **told},
    )
    return moved


def _wait(builder: StepBuilder, ticket: Ticket, finding: Waits, around: RelatedTickets) -> None:
    if stops_clock(ticket):
        stop_clock(builder, ticket, finding.until, around.clock)
        ticket = builder.latest(ticket)
    begun = _begin(builder, ticket, finding.waiting, until=finding.until)
    if finding.waiting is Waiting.EVENT:
        look_again(builder, begun)
    left = add_time(builder.flow.sla_deadline, -time_span(begun.tail_ms))
    if finding.waiting is Waiting.MOMENT and finding.until > left:
        message = f"task {begun.task_id} waits until {format_time(finding.until)}, and the rest does not fit after that"
        risk(builder, Reason(code="waits_too_long", message=message, where=begun.task_id))


def _list(builder: StepBuilder, ticket: Ticket, found: Listed) -> None:
    """Make children of a part of the list, and let as many begin as may be worked on at once."""
    first_time = ticket.status is not TicketStatus.WAITING
    counts = Children(total=found.total) if first_time or ticket.children is None else ticket.children
    since, deadline = ticket.started_at or builder.now, builder.flow.sla_deadline
    parent = _begin(builder, ticket, Waiting.CHILDREN, started_at=since) if first_time else ticket
    if first_time:
        _warn(builder, parent, found.total)
    made = {
        child.index: child
        for child in item_tickets(parent, found.items, found.first, since, deadline)
        if child.index not in found.existing
    }
    _add(builder, parent, list(made.values()))
    again = {
        child.index: _again(builder, child.but(item=found.items[number - found.first]), Waiting.TURN)
        for number, child in found.existing.items()
        if child.status in TO_DO_AGAIN
    }
    counts = counts.but(made=max(counts.made, found.first + len(found.items)))
    known = {child.index: child for child in found.window} | dict(found.existing) | made | again
    counts = _begin_next(builder, parent, counts, known)
    if counts.made < counts.total or decided(parent, counts) or more_may_begin(parent, counts):
        go_on(builder, parent.but(children=counts))
    else:
        builder.change_ticket(builder.latest(parent), children=counts, until=deadline)


def _begin_next(builder: StepBuilder, parent: Ticket, counts: Children, known: Mapping[int | None, Ticket]) -> Children:
    """Let children begin, in their order, until as many are at work as may be."""
    limit = parent.control.foreach.limit if parent.control and parent.control.foreach else 1
    ready: list[Ticket] = []
    while counts.begun - counts.ended < limit and (child := known.get(counts.begun)) is not None:
        child = builder.latest(child)
        counts = counts.but(begun=counts.begun + 1)
        if child.status is TicketStatus.COMPLETED:  # in a run before
            counts = counts.but(completed=counts.completed + 1)
        elif child.waiting is Waiting.TURN:
            ready.append(builder.change_ticket(child, ready_at=builder.now, **readied(builder)))
    builder.ready(child for child in ready if child.waiting is Waiting.DISCOVERY)
    return counts


def _warn(builder: StepBuilder, parent: Ticket, total: int) -> None:
    """Say that the flow is at risk when a list is longer than the time for it."""
    needed = time_span(expected_ms(parent, total) + parent.tail_ms)
    if needed > builder.flow.sla_deadline - builder.now:
        message = f"the {total} items of task {parent.task_id}, and what depends on it, do not fit by their estimates"
        risk(builder, Reason(code="list_too_long", message=message, where=parent.task_id))


def _plan(builder: StepBuilder, ticket: Ticket, found: SubflowRead) -> None:
    """Make the tickets of the plan within a ticket; those of a run before stay where they are COMPLETED."""
    since = ticket.started_at or builder.now
    tickets = subflow_tickets(ticket, found.decision, builder.flow, since, builder.context.rules, found.guarded)
    made = [one for one in tickets if one.ticket_id not in found.existing]
    done = {i for i, one in found.existing.items() if one.status is TicketStatus.COMPLETED}
    again = []
    for one in tickets:
        known = found.existing.get(one.ticket_id)
        if known is not None and known.status in TO_DO_AGAIN:
            open_ones = sum(i not in done for i in one.dependencies)
            shares = {"latest_start": one.latest_start, "tail_ms": one.tail_ms, "sla": one.sla}
            again.append(_again(builder, known.but(open_dependencies=open_ones, **shares)))
    total = len(tickets)
    counts = Children(total=total, made=total, begun=total, completed=len(done))
    parent = _begin(
        builder, ticket, Waiting.CHILDREN, started_at=since, children=counts, until=builder.flow.sla_deadline
    )
    _add(builder, parent, made)
    builder.ready(one for one in (*made, *again) if one.waiting is Waiting.DISCOVERY and not one.open_dependencies)
    if decided(parent, counts):
        go_on(builder, parent)


def _add(builder: StepBuilder, parent: Ticket, made: Sequence[Ticket]) -> None:
    """Add children to the flow, and tell how many they are."""
    if not made:
        return
    builder.add_tickets(made)
    flow, undone = builder.flow, sum(one.undo is not None for one in made)
    builder.change_flow(tickets_generated=flow.tickets_generated + len(made), compensable=flow.compensable + undone)
    builder.note("ticket.expanded", ticket=parent, cause=TicketTrigger.BEGIN, detail={"tickets": len(made)})


def _again(builder: StepBuilder, child: Ticket, waiting: Waiting | None = None) -> Ticket:
    """Let a child of a run before be PENDING again."""
    if child.status in CAME_TO_NOTHING:
        tolerate(builder, child.status, -1)
    changes = blank(child, builder, retry_count=0)
    if waiting is not None:
        changes |= {"waiting": waiting, "waiting_since": builder.now, "until": builder.flow.sla_deadline}
        builder.rewrite([child.ticket_id])
    return builder.move_ticket(child, TicketTrigger.REDRIVE, "ticket.redriven", **changes)
