"""How a worker takes a ticket by itself, instead of being given it; and the statuses that a client may ask for.

A claim is an assignment that the worker makes: the attempt grows, and the same rules hold. A worker that is registered
has to offer what the ticket requires. One that is not has said nothing of itself: its capabilities are its own word,
but it is cleared for no more than a worker that registers without saying so.
"""

from collections.abc import Mapping

from functions._core.errors import Rejected
from functions._core.events.commands import ClaimRequest, refusal
from functions._core.machine.assignment import waits_for_worker
from functions._core.machine.ending import start
from functions._core.machine.step_builder import StepBuilder
from functions._core.machine.tables import TicketTrigger
from functions._core.planning.tickets import intact
from functions._core.records.attempts import attempt_limit
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import CLEARANCES, FlowStatus, SecurityLevel, TicketStatus, Waiting
from functions._core.records.worker import Worker

CLEARED_UNREGISTERED = SecurityLevel.INTERNAL
"""The clearance of a worker that is not registered: the default of a registration."""

AT_WORK = frozenset({FlowStatus.EXECUTING, FlowStatus.COMPENSATING})
"""Statuses of a flow whose tickets may be begun."""

ALLOWED: Mapping[TicketStatus, tuple[TicketStatus, ...]] = {
    TicketStatus.PENDING: (TicketStatus.RUNNING, TicketStatus.CANCELLED),
    TicketStatus.ASSIGNED: (
        TicketStatus.RUNNING,
        TicketStatus.COMPLETED,
        TicketStatus.FAILED,
        TicketStatus.CANCELLED,
    ),
    TicketStatus.RUNNING: (TicketStatus.COMPLETED, TicketStatus.FAILED, TicketStatus.CANCELLED),
}
"""The statuses that a client may ask for, by that of the ticket; a ticket that has ended has none."""


def allowed(ticket: Ticket, flow: Flow | None) -> tuple[TicketStatus, ...]:
    """Return the statuses that a client may ask for now; a ticket that is not ready cannot be RUNNING."""
    ready = flow is not None and flow.status in AT_WORK and claims_possible(ticket)
    hidden = set() if ready or ticket.status is not TicketStatus.PENDING else {TicketStatus.RUNNING}
    if ticket.compensates is not None:
        hidden.add(TicketStatus.CANCELLED)
    return tuple(status for status in ALLOWED.get(ticket.status, ()) if status not in hidden)


def claims_possible(ticket: Ticket) -> bool:
    """Whether a worker may take the ticket by itself; one that something steers only after C3 has looked at it."""
    free = ticket.control is None or ticket.waiting in {Waiting.WORKER, Waiting.SLOT}
    return free and waits_for_worker(ticket)


def claim(builder: StepBuilder, ticket: Ticket, command: ClaimRequest, worker: Worker | None) -> bool:
    """Let a worker begin a ticket that it holds, or that no worker holds; `worker` is its row, if it is registered.

    False when it has begun already. Raises `Rejected`: 403 for a worker that may not have the ticket, 409 and 412.
    """
    if not claimable(builder.flow, ticket, command, worker):
        if ticket.status is TicketStatus.ASSIGNED:
            start(builder, ticket, None)
            return True
        return False
    builder.move_ticket(
        ticket.but(attempt=ticket.attempt + 1, worker_id=command.worker_id, hedge=None),
        TicketTrigger.CLAIM,
        "ticket.started",
        candidates=(),
        refusals=(),
        reason=None,
        assigned_at=builder.now,
        acknowledged_at=builder.now,
        started_at=builder.now,
        perhaps_begun=False,
        asked=False,
        waiting=None,
        waiting_since=None,
        turn=None,
        emissions=0,
        until=attempt_limit(ticket, builder.now, builder.now),
    )
    return True


def claimable(flow: Flow, ticket: Ticket, command: ClaimRequest, worker: Worker | None) -> bool:
    """Whether a claim begins an attempt; False when the worker holds the ticket already. Raises as `claim` does."""
    mine = ticket.worker_id == command.worker_id
    if mine and ticket.status is TicketStatus.RUNNING:
        return False
    expected(ticket, command.version)
    if mine and ticket.status is TicketStatus.ASSIGNED:
        return False
    _check_open(flow, ticket)
    _check_suitable(ticket, command.worker_id, worker)
    return True


def expected(ticket: Ticket, version: int | None) -> None:
    """Raise `Rejected`, status 412, when the ticket is not in the version that a command names."""
    if version not in {None, ticket.version}:
        message = f"ticket {ticket.ticket_id} is in version {ticket.version}, not {version}: read it again"
        raise Rejected(message, code="version_moved", status=412)


def _check_open(flow: Flow, ticket: Ticket) -> None:
    if ticket.status is not TicketStatus.PENDING:
        held = f" and held by worker {ticket.worker_id}" if ticket.worker_id and ticket.live else ""
        raise refusal(f"ticket {ticket.task_id} is {ticket.status}{held}: only one that no worker holds can be claimed")
    if flow.status not in AT_WORK:
        raise refusal(f"flow {flow.flow_id} is {flow.status}: none of its tickets can be begun")
    if ticket.open_dependencies:
        raise refusal(f"ticket {ticket.task_id} waits for {ticket.open_dependencies} of its dependencies")
    if not waits_for_worker(ticket):
        what = {Waiting.FREEZE: "the end of a freeze", Waiting.QUARANTINE: "a person to release it from quarantine"}
        waits_for = what.get(ticket.waiting or Waiting.RETRY, "its next attempt")
        raise refusal(f"ticket {ticket.task_id} waits for {waits_for}")
    if not intact(ticket):
        raise refusal(f"ticket {ticket.task_id} was changed in what must not change: its hash is another one")


def _check_suitable(ticket: Ticket, worker_id: str, worker: Worker | None) -> None:
    offers = ticket.requirement - CLEARANCES[ticket.security_level] | CLEARANCES[CLEARED_UNREGISTERED]
    missing = ticket.requirement - (offers if worker is None else worker.offers)
    if missing:
        named = ", ".join(name.removeprefix("CLEARANCE:").lower() for name in sorted(missing))
        message = f"worker {worker_id} may not have ticket {ticket.task_id}: it does not offer {named}"
        raise Rejected(message, code="unsuitable_worker", status=403)
