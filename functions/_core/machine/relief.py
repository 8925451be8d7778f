"""Slack that a skipped branch gives back: the tickets beside it no longer have to leave time for it.

C2 shares the time out over the longest path. Once a part of it is skipped, the longest path that can still happen is
shorter for the live tickets before the skipped ones, so they may start and end later. Only the step that skips
computes this, and only for the tickets before the skipped ones.
"""

from collections.abc import Mapping
from datetime import datetime

from functions._core.machine.related_tickets import RelatedTickets
from functions._core.machine.releasing import skipped_with
from functions._core.machine.step_builder import StepBuilder
from functions._core.planning.slack import cautious_ms, hopeful_ms
from functions._core.ports import FlowStore
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, add_time, milliseconds, time_span

RELIEVED = 200
"""Tickets whose slack is computed in one step. Where more are before a skipped ticket, they keep what they have."""


async def beside(omitted: Ticket, live: Mapping[str, Ticket], store: FlowStore) -> Mapping[str, Ticket]:
    """Return `omitted` and those skipped with it, the live tickets before them, and all that depend on these, by id.

    `live` are the live tickets that depend on `omitted`, directly or not. It is empty where there are too many.
    """
    skipped, queue = {omitted.ticket_id: omitted}, [omitted]
    while queue:
        after = [live[one] for one in queue.pop().dependants if one in live and one not in skipped]
        queue += (fresh := [one for one in after if skipped_with(one)])
        skipped |= {one.ticket_id: one for one in fresh}
    before: dict[str, Ticket] = {}
    frontier = {one for ticket in skipped.values() for one in ticket.dependencies} - skipped.keys()
    while frontier:
        if len(before) + len(frontier) > RELIEVED:
            return {}
        found = await store.tickets(sorted(frontier), omitted.flow_id)  # in an order that is the same in any process
        fresh_ones = {ticket_id: one for ticket_id, one in found.items() if one.live}
        before |= fresh_ones
        frontier = {one for ticket in fresh_ones.values() for one in ticket.dependencies} - before.keys()
    after_them = {one for ticket in before.values() for one in ticket.dependants} - before.keys() - skipped.keys()
    others = after_them - live.keys()
    if len(others) > RELIEVED:
        return {}
    known = {one: live[one] for one in sorted(after_them & live.keys())}
    return skipped | before | known | dict(await store.tickets(sorted(others), omitted.flow_id) if others else {})


def relieve(builder: StepBuilder, omitted: Ticket, around: RelatedTickets) -> None:
    """Give live tickets before skipped ones the time that these no longer need."""
    if not around.beside or builder.flow.outcome is not None:
        return
    known = {ticket_id: builder.latest(one) for ticket_id, one in around.beside.items()}
    base, end = _outside(builder, omitted, around)
    # The last ones first: the path after a ticket is known when those after it are.
    for ticket in sorted(known.values(), key=lambda one: one.level, reverse=True):
        if not ticket.live or ticket.scope != omitted.scope or not known.keys() >= {*ticket.dependants}:
            continue
        after = (known[one] for one in ticket.dependants if known[one].live)
        tail = max((hopeful_ms(one.estimated_duration_ms, one.prediction) + one.tail_ms for one in after), default=base)
        if tail < ticket.tail_ms:
            known[ticket.ticket_id] = _later(builder, ticket, tail, base, end)


def _outside(builder: StepBuilder, omitted: Ticket, around: RelatedTickets) -> tuple[int, datetime]:
    """Return how long the path after the plan of a ticket is, in milliseconds, and when that plan has to be done."""
    parent = around.parents.get(omitted.parent or "")
    if parent is None:
        return 0, builder.flow.sla_deadline
    related = (omitted, *around.live, *around.beside.values())
    return min(one.tail_ms for one in related if one.scope == omitted.scope), parent.sla.deadline


def _later(builder: StepBuilder, ticket: Ticket, tail_ms: int, base_ms: int, end: datetime) -> Ticket:
    """Let a ticket have a shorter path after it: time stays shared out as it was, in proportion to estimates."""
    before, now = ticket.tail_ms - base_ms, tail_ms - base_ms
    left = milliseconds(end - ticket.sla.deadline)  # that C2 gave to the path after it
    finish = add_time(end, -time_span(left * now // before))
    estimate, prediction = ticket.estimated_duration_ms, ticket.prediction
    hopeful, cautious = hopeful_ms(estimate, prediction), cautious_ms(estimate, prediction)
    share = left * (now + cautious) // before
    start = max(add_time(end, -time_span(share)), add_time(finish, -time_span(cautious)))
    changed = builder.change_ticket(
        ticket,
        tail_ms=tail_ms,
        sla=ticket.sla.but(deadline=max(finish, ticket.sla.deadline)),
        latest_start=max(start, ticket.latest_start),
        late=ticket.late and time_span(hopeful + tail_ms) > builder.flow.sla_deadline - builder.now,
    )
    if changed.status is TicketStatus.WAITING:
        return changed  # it is looked at earlier than it has to be
    return builder.change_ticket(changed, until=changed.until)
