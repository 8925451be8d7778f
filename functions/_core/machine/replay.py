"""The state of a flow and its tickets rebuilt from its history alone, and where the stored records say otherwise."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import Outcome, TicketStatus

MAKING = frozenset({"tickets.generated", "compensation.planned", "flow.replanned"})
"""Lines that say how many new tickets there are; these begin PENDING, and have no line of their own until they move."""


class TicketState(Record):
    """What the history tells of a ticket: where it is, which attempt that is, and who holds or held it."""

    ticket_id: str
    task_id: str
    status: str = TicketStatus.PENDING
    attempt: int = 0
    worker_id: str | None = None


class StoredState(TicketState):
    """The same of a stored ticket."""

    is_child: bool = False
    """Whether it is a part of another ticket; no line tells how many of those were made."""

    @classmethod
    def of(cls, ticket: Ticket) -> Self:
        """Return what the history should tell of a stored ticket."""
        return cls(
            ticket_id=ticket.ticket_id,
            task_id=ticket.task_id,
            status=ticket.status,
            attempt=ticket.attempt,
            worker_id=ticket.worker_id,
            is_child=ticket.parent is not None and ticket.compensates is None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """The state that a history has led to so far.

    `tickets` are those that have moved, by id; `made` is how many there are in all. `gaps` are lines that do not
    begin where the line before has ended. `lines` were read, the last of them is `seq`.
    """

    status: str | None = None
    outcome: Outcome | None = None
    tickets: Mapping[str, TicketState] = field(default_factory=dict)
    made: int = 0
    gaps: tuple[str, ...] = ()
    lines: int = 0
    seq: int = 0


def fold(entries: Iterable[HistoryEntry], upon: Folded | None = None) -> Folded:
    """Return the state that the lines of one flow, in order, lead to from `upon`: pages may be folded in turn."""
    start = upon or Folded()
    status, outcome, made = start.status, start.outcome, start.made
    tickets, gaps, lines, seq = dict(start.tickets), list(start.gaps), start.lines, start.seq
    for entry in entries:
        lines, seq = lines + 1, entry.seq
        if entry.type in MAKING:
            made += int(entry.detail.get("tickets", 0))
        if entry.type == "flow.consolidated":
            outcome = Outcome(entry.detail["outcome"])
        elif entry.type == "flow.redriven":
            outcome = None
        if entry.to_status is None:
            continue
        if entry.ticket_id is None:
            gaps += _gap(entry, status)
            status = entry.to_status
        else:
            known = tickets.get(entry.ticket_id)
            gaps += _gap(entry, known.status if known else TicketStatus.PENDING)
            tickets[entry.ticket_id] = _moved(entry, entry.ticket_id, entry.to_status)
    return Folded(status=status, outcome=outcome, tickets=tickets, made=made, gaps=tuple(gaps), lines=lines, seq=seq)


def differences(folded: Folded, flow: Flow, tickets: Iterable[TicketState]) -> tuple[str, ...]:
    """Return, a sentence each, where a flow and its `tickets` are not as their history says; none when they are."""
    return (*folded.gaps, *_of_flow(folded, flow), *_of_tickets(folded, tickets))


def _moved(entry: HistoryEntry, ticket_id: str, status: str) -> TicketState:
    # A line that takes a ticket from its worker names that worker.
    return TicketState(
        ticket_id=ticket_id,
        task_id=entry.task_id or "",
        status=status,
        attempt=entry.attempt or 0,
        worker_id=None if status == TicketStatus.PENDING else entry.worker_id,
    )


def _gap(entry: HistoryEntry, before: str | None) -> Iterator[str]:
    if entry.from_status != before:
        name = f"ticket {entry.task_id}" if entry.ticket_id else "the flow"
        yield f"line {entry.seq} ({entry.type}) moves {name} from {entry.from_status}, but it was {before}"


def _of_flow(folded: Folded, flow: Flow) -> Iterator[str]:
    if folded.status != flow.status:
        yield f"the flow is {flow.status}, by its history {folded.status}"
    if folded.outcome != flow.outcome:
        yield f"the outcome of the flow is {flow.outcome}, by its history {folded.outcome}"


def _of_tickets(folded: Folded, tickets: Iterable[TicketState]) -> Iterator[str]:
    found: set[str] = set()
    children = 0
    for ticket in tickets:
        found.add(ticket.ticket_id)
        children += isinstance(ticket, StoredState) and ticket.is_child
        told = folded.tickets.get(ticket.ticket_id) or TicketState(ticket_id=ticket.ticket_id, task_id=ticket.task_id)
        if _facts(told) != _facts(ticket):
            yield f"ticket {ticket.task_id} is {_stand(ticket)}, by its history {_stand(told)}"
    if len(found) - children != folded.made:
        yield f"there are {len(found) - children} tickets, by the history {folded.made}"
    for ticket_id, told in folded.tickets.items():
        if ticket_id not in found:
            yield f"ticket {told.task_id} is {_stand(told)} by its history, and is not there"


def _facts(ticket: TicketState) -> tuple[object, ...]:
    return ticket.ticket_id, ticket.task_id, ticket.status, ticket.attempt, ticket.worker_id


def _stand(ticket: TicketState) -> str:
    return f"{ticket.status} (attempt {ticket.attempt}, worker {ticket.worker_id or 'none'})"
