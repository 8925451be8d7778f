"""What the worker of a ticket needs: its assignment, a token to act for it, and the keys that verify tokens."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from fastapi import Request, Response

from functions._core.errors import Rejected, Undeliverable
from functions._core.events.assignment import TOKEN_GRACE, TaskAssignment, assignment_data
from functions._core.machine.resolved_values import resolved_parameters
from functions._core.machine.step_builder import derived_id
from functions._core.planning.tickets import check_hash
from functions._core.records.attempts import held_as, of_attempt
from functions._core.records.models import HELD_TICKETS, Ticket
from functions._core.records.record import Record
from functions._core.records.values import Timestamp, add_time
from functions.api.access import acting, check_attempt, principal_of
from functions.api.actions import NOBODY, record
from functions.api.documents import problems
from functions.api.roles import check_worker
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.tickets import ticket_named

router = Routes(tags=["tickets"])

LIFETIME = timedelta(hours=1)
ISSUER = "execution-ticket-service"
SCOPES = ("ticket:read", "ticket:update")
"""What every token is good for, at its own ticket alone."""


class TicketToken(Record):
    """A token for the present attempt at a ticket. It is shown this once."""

    access_token: str
    """The token."""
    token_type: Literal["Bearer"]
    """How it is sent: `authorization: Bearer <token>`."""
    expires_in: int
    """How long it holds, in seconds."""
    expires_at: Timestamp
    """When it stops to hold."""
    ticket_id: str
    """Id of the ticket, which it opens alone."""
    scopes: tuple[str, ...]
    """Names of what it is good for."""


class Keys(Record):
    """Public keys, as RFC 7517 has them."""

    keys: tuple[Mapping[str, str], ...]
    """Keys that verify tokens; the first of them signs. Empty where the key is a secret."""


@router.get("/api/v1/tickets/{ticket_id}/token", responses=problems(404, 409))
async def get_ticket_token(services: Services, request: Request, response: Response, ticket_id: str) -> TicketToken:
    """Return a token for the attempt that a worker holds now; 409 when none does."""
    ticket = await ticket_named(services, ticket_id)
    check_attempt(request, ticket)
    ticket = _attempt_of_caller(request, ticket)
    check_worker(principal_of(request), ticket.worker_id)
    if ticket.status not in HELD_TICKETS or ticket.worker_id is None:
        raise Rejected(f"the ticket is {ticket.status}: no worker holds it", code="no_attempt", status=409)
    now = services.ports.clock.now()
    begun = ticket.acknowledged_at or ticket.assigned_at or now
    ends = min(add_time(now, LIFETIME), add_time(add_time(begun, ticket.timeout), TOKEN_GRACE))
    if ends <= now:
        raise Rejected("the attempt has had its time", code="no_attempt", status=409)
    who = acting(request, NOBODY)
    await record(services, "issue_token", ticket_id, who=who, why=f"attempt {ticket.attempt}", flow_id=ticket.flow_id)
    more = _claims(ticket, now)
    token = services.ports.tokens.mint(
        ticket_id=ticket_id, attempt=ticket.attempt, worker_id=ticket.worker_id, expires_at=ends, more=more
    )
    response.headers["cache-control"] = "no-store"
    return TicketToken(
        access_token=token,
        token_type="Bearer",  # noqa: S106 no secret
        expires_in=int((ends - now).total_seconds()),
        expires_at=ends,
        ticket_id=ticket_id,
        scopes=tuple(more["scopes"]),
    )


def _attempt_of_caller(request: Request, ticket: Ticket) -> Ticket:
    """Return the ticket as it looks to the caller: where two attempts at it run, that of the caller counts."""
    principal = principal_of(request)
    if principal is None:
        return ticket
    if principal.attempt is not None:
        return of_attempt(ticket, principal.attempt)
    return held_as(ticket, principal.worker_id) if principal.worker_id is not None else ticket


def _claims(ticket: Ticket, now: datetime) -> dict[str, Any]:
    """Return what the token says beside that which it is believed for."""
    return {
        "iss": ISSUER,
        "nbf": int(now.timestamp()),
        "jti": derived_id(ticket.flow_id, "token", f"{ticket.ticket_id}:{ticket.attempt}:{now.isoformat()}"),
        "plan_id": ticket.plan_id,
        "intent_id": ticket.intent_id,
        "task_type": ticket.task_type,
        "security_level": ticket.security_level,
        "required_capabilities": list(ticket.required_capabilities),
        "scopes": [*SCOPES, f"task:{ticket.task_type}"],
    }


@router.get("/api/v1/tickets/{ticket_id}/assignment", responses=problems(404, 409))
async def get_assignment(services: Services, request: Request, ticket_id: str) -> TaskAssignment:
    """Return the attempt that a worker holds now, as a worker is sent it, but without a token; 409 when none does.

    References to outputs of other tasks are filled in.
    """
    ticket = await ticket_named(services, ticket_id)
    check_attempt(request, ticket)
    ticket = _attempt_of_caller(request, ticket)
    if ticket.status not in HELD_TICKETS:
        raise Rejected(f"the ticket is {ticket.status}: no worker holds it", code="no_attempt", status=409)
    try:
        check_hash(ticket)
        parameters = await resolved_parameters(ticket, services.ports.store, services.rules.references_bytes)
    except Undeliverable as why:
        raise Rejected(str(why), code=why.code, status=409) from why
    callback = f"{services.base_url}/api/v1/flows/{ticket.flow_id}/reports"
    data = {**assignment_data(ticket, ticket.attempt, parameters), "callback_url": callback}
    return TaskAssignment.model_validate(data)


@router.get("/.well-known/jwks.json")
async def get_public_keys(services: Services, response: Response) -> Keys:
    """Return the public keys of the tickets' tokens."""
    response.headers["cache-control"] = "public, max-age=300"
    return Keys(keys=tuple(services.ports.tokens.public_keys()))
