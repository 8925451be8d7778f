"""Where the time of a flow went, along the tickets that it really waited for.

The spells of a flow follow each other without a gap from its arrival to its end, or to now, so that what is said of
them adds up. Pure.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from functions._core.machine.tables import ENDED_FLOWS
from functions._core.planning.slack import closed_at
from functions._core.records.models import STANDING_FLOWS, Flow, Ticket
from functions._core.records.values import TaskType, TicketStatus, Waiting, milliseconds


class SpellKind(StrEnum):
    """What a flow did in a spell."""

    PLANNING = "planning"
    """Its decision was checked, and its tickets were made."""
    PEOPLE = "people"
    """A person was waited for: an approval, a pause."""
    HELD = "held"
    """A freeze or a quarantine held a ticket back."""
    PLANNED = "planned"
    """A wait that its plan asks for: until a moment, for an event."""
    RETRYING = "retrying"
    """Attempts that came to nothing, and the pauses after them."""
    BETWEEN = "between"
    """A ticket was not ready yet: others of its list had their turn, or a step was late."""
    WAITING = "waiting"
    """A ticket waited for a worker."""
    WORKING = "working"
    """A worker had the attempt that counts."""
    CLOSING = "closing"
    """What followed its last ticket: the outcome, the undoing of work."""


class Spell(NamedTuple):
    """A piece of the time of a flow."""

    kind: SpellKind
    since: datetime
    until: datetime
    ticket: Ticket | None = None

    @property
    def ms(self) -> int:
        """How long it was, in milliseconds."""
        return milliseconds(self.until - self.since)


def begun_at(flow: Flow) -> datetime:
    """Return when a flow arrived, or when it was redriven for the last time."""
    redriven = [after.entered_at for phase, after in pairwise(flow.phases) if phase.status in ENDED_FLOWS]
    return redriven[-1] if redriven else flow.received_at


def spells_of(flow: Flow, tickets: Sequence[Ticket], now: datetime, held: Collection[str] = ()) -> tuple[Spell, ...]:
    """Return the spells of a flow from its arrival to the end of its work, or to `now`, none of them empty.

    `held` are ids of tickets that a freeze or a quarantine held back. Their lengths are the time that the flow took.
    """
    begun = begun_at(flow)
    until = max(begun, closed_at(flow) or now)
    spells: list[Spell] = []
    at = begun

    def add(kind: SpellKind, end: datetime, ticket: Ticket | None) -> None:
        nonlocal at
        if (end := min(end, until)) > at:
            spells.append(Spell(kind, at, end, ticket))
            at = end

    path = path_of(tickets, until)
    if path:
        add(SpellKind.PLANNING, path[0].created_at, None)
    for ticket in path:
        ready = ticket.ready_at or ticket.completed_at or until
        add(_before_ready(ticket, held), ready, ticket)
        add(_before_work(ticket), ticket.assigned_at or ticket.completed_at or until, ticket)
        add(SpellKind.WORKING, ticket.completed_at or until, ticket)
    add(SpellKind.CLOSING if path else SpellKind.PLANNING, until, None)
    return tuple(piece for spell in spells for piece in _without_people(spell, _standing(flow, until)))


def path_of(tickets: Sequence[Ticket], until: datetime) -> tuple[Ticket, ...]:
    """Return the tickets that a flow really waited for, one after the other, up to `until`; the first one first.

    Of what a ticket depends on, that which ended last; of a list or a sub-flow, its child that ended last.
    """
    planned = {ticket.ticket_id: ticket for ticket in tickets if ticket.compensates is None}
    children: dict[str, list[Ticket]] = {}
    for ticket in planned.values():
        if ticket.parent is not None and ticket.parent in planned:
            children.setdefault(ticket.parent, []).append(ticket)

    def last(ticket: Ticket) -> tuple[datetime, bool, bool, float]:
        """Return what orders tickets: the end, then what ended the others, then the one with the least slack."""
        failed = ticket.status is TicketStatus.FAILED
        end = ticket.completed_at or until
        return end, failed, ticket.assigned_at is not None, -ticket.latest_start.timestamp()

    leaves = [one for one in planned.values() if one.ticket_id not in children and one.ready_at is not None]
    path: list[Ticket] = []
    at = max(leaves, key=last, default=None)
    seen: set[str] = set()
    while at is not None and at.ticket_id not in seen:
        seen.add(at.ticket_id)
        path.append(at)
        before = _before(at, planned, last)
        while before is not None and before.ticket_id in children and before.ticket_id not in seen:
            seen.add(before.ticket_id)
            before = max(children[before.ticket_id], key=last)
        at = before
    return tuple(reversed(path))


def _before(
    ticket: Ticket, planned: Mapping[str, Ticket], last: Callable[[Ticket], tuple[datetime, bool, bool, float]]
) -> Ticket | None:
    """Return what a ticket waited for: of the first of its list, or of its sub-flow, what its parent waited for."""
    climbed: set[str] = set()
    while True:
        known = [planned[one] for one in ticket.dependencies if one in planned]
        above = ticket.parent
        if known or above is None or above not in planned or above in climbed:
            return max(known, key=last, default=None)
        climbed.add(above)
        ticket = planned[above]


def _before_ready(ticket: Ticket, held: Collection[str]) -> SpellKind:
    if ticket.ticket_id in held:
        return SpellKind.HELD
    return SpellKind.RETRYING if ticket.retry_count or ticket.attempt > 1 else SpellKind.BETWEEN


def _before_work(ticket: Ticket) -> SpellKind:
    if ticket.waiting in {Waiting.FREEZE, Waiting.QUARANTINE}:
        return SpellKind.HELD
    if ticket.task_type is TaskType.APPROVE or ticket.waiting is Waiting.APPROVAL:
        return SpellKind.PEOPLE
    return SpellKind.PLANNED if ticket.task_type is TaskType.WAIT or ticket.skipped else SpellKind.WAITING


def _standing(flow: Flow, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return when the flow itself waited for a person, the earliest first."""
    ends = [phase.entered_at for phase in flow.phases[1:]]
    return [
        (phase.entered_at, min(end, until))
        for phase, end in zip(flow.phases, [*ends, until], strict=True)
        if phase.status in STANDING_FLOWS
    ]


def _without_people(spell: Spell, standing: Sequence[tuple[datetime, datetime]]) -> list[Spell]:
    """Return a spell in pieces: those in which the flow waited for a person are no waiting of its tickets.

    Workers go on with what they have while a flow is paused.
    """
    if spell.kind in {SpellKind.WORKING, SpellKind.PEOPLE}:
        return [spell]
    pieces, at = [], spell.since
    for stood_at, stood_until in standing:
        begin, end = max(stood_at, at), min(stood_until, spell.until)
        if begin >= end:
            continue
        if begin > at:
            pieces.append(spell._replace(since=at, until=begin))
        pieces.append(Spell(SpellKind.PEOPLE, begin, end, spell.ticket))
        at = end
    return [*pieces, spell._replace(since=at)] if at < spell.until else pieces
