"""Faults in the records of a flow that is about to end: facts that no sequence of correct steps leads to."""

from collections.abc import Iterator, Sequence

from functions._core.events.telemetry import TicketFacts, of_plan
from functions._core.planning.tickets import CORRUPTED, intact
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus

FINDINGS_KEPT = 20
"""Findings that an incident names: enough to see the pattern of a damage."""


def findings_of(flow: Flow, tickets: Sequence[Ticket | TicketFacts]) -> tuple[str, ...]:
    """Return the faults, a sentence each, at most `FINDINGS_KEPT`; of a very large plan only its size is checked."""
    whole = [ticket for ticket in tickets if isinstance(ticket, Ticket)]
    findings = list(_missing(flow, tickets))
    by_id = {ticket.ticket_id: ticket for ticket in whole}
    for ticket in whole:
        findings += _of_ticket(ticket, forced=bool(flow.orders))
        if not flow.redrives:
            # A ticket that is done again ends after its dependants of the first run.
            findings += _of_order(ticket, [by_id[i] for i in ticket.dependencies if i in by_id])
    return tuple(findings[:FINDINGS_KEPT])


def _missing(flow: Flow, tickets: Sequence[Ticket | TicketFacts]) -> Iterator[str]:
    found = len(of_plan(tickets))
    if found != flow.tickets_generated:
        yield f"C2 made {flow.tickets_generated} tickets, {found} are there"


def _of_ticket(ticket: Ticket, *, forced: bool) -> Iterator[str]:
    """Yield the faults of a ticket; in a flow that was given commands a retry may have been `forced`."""
    name = ticket.task_id
    if not ticket.live and ticket.completed_at is None:
        yield f"ticket {name} is {ticket.status} and has no time of its end"
    if ticket.started_at and ticket.completed_at and ticket.completed_at < ticket.started_at:
        yield f"ticket {name} ended before it began"
    if ticket.retry_count > ticket.sla.max_retries and not forced:
        yield f"ticket {name} was tried again {ticket.retry_count} times, {ticket.sla.max_retries} are allowed"
    told = ticket.reason is not None and ticket.reason.code == CORRUPTED
    if not told and not intact(ticket):
        yield f"ticket {name} was changed in what must not change: its hash is another one"


def _of_order(ticket: Ticket, dependencies: Sequence[Ticket]) -> Iterator[str]:
    for other in dependencies:
        if ticket.started_at is None:
            continue
        if other.completed_at is None or ticket.started_at < other.completed_at:
            yield f"ticket {ticket.task_id} began before {other.task_id}, which it depends on, had ended"
        elif ticket.status is TicketStatus.COMPLETED and other.status is TicketStatus.CANCELLED:
            yield f"ticket {ticket.task_id} was done although {other.task_id}, which it depends on, was cancelled"
