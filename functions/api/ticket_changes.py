"""Tickets created alone, and their changes by workers that come for work: claim, report, cancel."""

import asyncio
from hashlib import sha256
from typing import Any

from fastapi import Request, Response

from functions._core.decision.reading import InvalidDecision, check_plan, content_hash, decision_in
from functions._core.decision.single import NewTicket, decision_of, ticket_of
from functions._core.decision.vocabulary import MAX_ID_LENGTH
from functions._core.errors import Rejected
from functions._core.events.commands import ClaimRequest, TicketCancelRequest
from functions._core.events.envelope import CloudEvent
from functions._core.machine.claim import allowed
from functions._core.records.attempts import of_attempt
from functions._core.records.models import HELD_TICKETS, Flow, Reason, Ticket
from functions._core.records.record import fields_of
from functions._core.records.values import format_time
from functions._core.webhooks.owners import NAMED_BY, webhook_of
from functions.api.access import acting, invited, principal_of
from functions.api.bodies import json_answer, read_json, read_json_or_avro
from functions.api.documents import avro_too, json_body, problems
from functions.api.preconditions import IdempotencyKey, IfMatch, matched_version, own_key, tagged
from functions.api.problems import Itemised
from functions.api.questions import sound
from functions.api.reports import REPORTED, bearer, read_words, trusted
from functions.api.roles import COMMAND, check_worker, demand
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.ticket_forms import AskedStatus, StatusChange, TicketAccepted
from functions.api.tickets import ticket_named
from functions.api.views import TicketView, ticket_view
from functions.api.workflows import admitted

router = Routes(prefix="/api/v1/tickets", tags=["tickets"])

CONFLICT = "ticket_conflict"
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between looks for a ticket whose flow is taken: where functions follow each other over a broker, C2 makes it
a moment later."""

BODY_PROBLEMS = (400, 413, 415, 422)
ACCEPTED: dict[int | str, Any] = {202: {"model": TicketAccepted, "description": "It is not stored yet"}}
KNOWN: dict[int | str, Any] = {200: {"model": TicketView, "description": "Known before"}}


@router.post(
    "",
    status_code=201,
    response_model=TicketView,
    responses=problems(409, *BODY_PROBLEMS) | ACCEPTED | KNOWN,
    openapi_extra=avro_too(json_body(NewTicket), "events/execution_ticket.v1.avsc"),
)
async def create_ticket(
    services: Services, request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> TicketView | Response:
    """Create a ticket in a flow of its own: 201, or 200 when the same one is known.

    It is carried out like every other ticket: capable workers that are registered get it, others may claim it.
    """
    new = await read_json_or_avro(request, NewTicket, "execution_ticket")
    decision = decision_of(new, own_key(request, idempotency_key))
    flow_id, ticket_id = ticket_of(decision)
    known = await services.ports.store.flow(flow_id)
    if known is None:
        _check(services, decision)
        _check_webhook(services, new)
        flow = await _taken(services, request, decision)
    else:
        flow = known
    if flow.content_hash != content_hash(decision):
        raise _other_content(ticket_id)
    response.status_code = 201 if known is None else 200
    ticket = await _stored(services, flow, ticket_id)
    path = f"/api/v1/tickets/{ticket_id}"
    if ticket is None:
        links = {"ticket": path, "flow": f"/api/v1/flows/{flow_id}"}
        accepted = TicketAccepted(ticket_id=ticket_id, flow_id=flow_id, links=links)
        return json_answer(202, accepted.model_dump(mode="json"))
    response.headers["location"] = path
    tagged(response, ticket)
    return ticket_view(ticket, services.ports.clock.now())


def _check(services: ApiServices, decision: dict[str, Any]) -> None:
    """Raise `Itemised`, status 422, for what C1 would refuse: no flow is made of it."""
    try:
        errors, _ = check_plan(decision_in(decision), services.ports.clock.now(), services.rules.default_sla)
    except InvalidDecision as invalid:
        errors = invalid.reasons
    if errors:
        raise _refused(errors)


def _check_webhook(services: ApiServices, new: NewTicket) -> None:
    """Raise `Rejected` for a webhook that is never called."""
    if NAMED_BY not in new.metadata or services.webhooks is None:
        return
    url = webhook_of(new.metadata)
    if url is None:
        raise Rejected(f"metadata.{NAMED_BY} is no URL that events can be sent to", code="bad_address", status=422)
    services.webhooks.check(url)


def _refused(reasons: tuple[Reason, ...]) -> Itemised:
    members = {"errors": [fields_of(reason) for reason in reasons]}
    return Itemised(reasons[0].message, code="invalid_data", status=422, members=members)


async def _taken(services: ApiServices, request: Request, decision: dict[str, Any]) -> Flow:
    try:
        return (await admitted(services, request, decision))[0]
    except Rejected as refused:
        if refused.code != "decision_conflict":
            raise
        raise _other_content(ticket_of(decision)[1]) from refused


def _other_content(ticket_id: str) -> Rejected:
    text = f"ticket {ticket_id} is known with other content; the first one stays"
    return Rejected(text, code=CONFLICT, status=409)


async def _stored(services: ApiServices, flow: Flow, ticket_id: str) -> Ticket | None:
    """Return the ticket as soon as it is stored; None when that takes long. Raises `Itemised` when it will never be."""
    for pause in (*PAUSES, None):
        ticket = (await services.ports.store.tickets([ticket_id], flow.flow_id)).get(ticket_id)
        if ticket is not None or pause is None:
            return ticket
        now = await services.ports.store.flow(flow.flow_id)
        if now is not None and now.outcome is not None and now.reasons:
            raise _refused(now.reasons)
        await asyncio.sleep(pause)
    return None


@router.patch(
    "/{ticket_id}/status",
    responses=problems(401, 403, 404, 409, 412, 428, *BODY_PROBLEMS),
    openapi_extra={**json_body(StatusChange), "security": [{}, {"key": []}, {"assignment": []}]},
)
async def change_status(
    services: Services, request: Request, response: Response, ticket_id: str, if_match: IfMatch = None
) -> TicketView:
    """Change the status of a ticket: claim it (RUNNING), end an attempt (COMPLETED, FAILED), or stop it (CANCELLED).

    Of several claims at once one is carried out. A change that is not possible is a 409 that names those that are.
    CANCELLED takes the role `operator`.
    """
    principal = principal_of(request)
    holder = principal if principal is not None and principal.ticket_id is not None else None
    token = bearer(request) if holder is not None else None
    change = await read_json(request, StatusChange, limit=services.max_report)
    ticket = await ticket_named(services, ticket_id)
    version = matched_version(if_match, ticket)
    if change.status is AskedStatus.CANCELLED:
        if principal is not None:
            demand(principal, "tickets", COMMAND)
        change = change.but(requested_by=acting(request, change.requested_by))
    if holder is not None:
        if change.attempt not in {None, holder.attempt} or change.worker not in {None, holder.name}:
            raise Rejected("the token was made for another attempt or worker", code="foreign_token", status=403)
        claims = change.status is AskedStatus.RUNNING and invited(holder, ticket)
        change = change.but(attempt=None if claims else holder.attempt, worker_id=holder.name)
    elif principal is not None and principal.worker_id is not None and change.status in REPORTS:
        check_worker(principal, change.worker or principal.worker_id)
        change = change.but(worker_id=principal.worker_id)
    changed = await _changed(services, ticket, change, version, token)
    tagged(response, changed)
    return ticket_view(changed, services.ports.clock.now())


async def _changed(
    services: ApiServices, ticket: Ticket, change: StatusChange, version: int | None, token: str | None
) -> Ticket:
    """Carry out a change and return the ticket as it is then."""
    try:
        if change.status is AskedStatus.RUNNING and change.attempt is None:
            worker_id = _worker_of(change)
            await services.engine.order(
                ClaimRequest(flow_id=ticket.flow_id, ticket_id=ticket.ticket_id, worker_id=worker_id, version=version)
            )
        elif change.status is AskedStatus.CANCELLED:
            await services.engine.order(
                TicketCancelRequest(
                    flow_id=ticket.flow_id,
                    ticket_id=ticket.ticket_id,
                    requested_by=change.requested_by,
                    reason=change.reason,
                    version=version,
                )
            )
        elif change.status in REPORTS:
            await _report(services, ticket, change, version, token)
        elif change.status.value != ticket.status:
            raise await _impossible(services, ticket, change.status)
    except Rejected as refused:
        if refused.code != "not_possible_now":
            raise
        raise await _impossible(services, ticket, change.status, str(refused)) from refused
    return await ticket_named(services, ticket.ticket_id)


REPORTS = frozenset({AskedStatus.RUNNING, AskedStatus.COMPLETED, AskedStatus.FAILED})
"""Statuses that a worker reports of an attempt."""


async def _report(
    services: ApiServices, ticket: Ticket, change: StatusChange, version: int | None, token: str | None
) -> None:
    """Take a report on an attempt: the one that is named, else the one of the version that If-Match names."""
    attempt = change.attempt or (ticket.attempt if version is not None else None)
    ticket = of_attempt(ticket, attempt)
    held = ticket.status in HELD_TICKETS
    if not attempt:
        if not held:
            raise await _impossible(services, ticket, change.status)
        text = "which attempt ends? Name it as `attempt`, or the version of the ticket by If-Match"
        raise Rejected(text, code="attempt_needed", status=428)
    if attempt > ticket.attempt:
        raise await _impossible(services, ticket, change.status)
    if change.worker is not None and held and ticket.attempt == attempt and change.worker != ticket.worker_id:
        raise Rejected("another worker holds this attempt", code="foreign_ticket", status=403)
    data = change.report_on(ticket.ticket_id, attempt)
    report, now = read_words(data, token).but(worker_id=ticket.worker_id), services.ports.clock.now()
    event_id = sha256(f"{data}{format_time(now)}".encode(errors="replace")).hexdigest()[:32]
    event = CloudEvent(id=event_id, source="/workers", type=REPORTED, time=now, data=data)
    heard = await services.engine.report(trusted(event, report, ticket), report)
    if heard.result == "superseded":
        raise await _impossible(services, ticket, change.status)


async def _impossible(services: ApiServices, ticket: Ticket, asked: AskedStatus, why: str | None = None) -> Itemised:
    """Return the refusal of a change, with the changes that are possible now."""
    now = await ticket_named(services, ticket.ticket_id)
    possible = allowed(now, await services.ports.store.flow(now.flow_id))
    text = why or f"ticket {now.ticket_id} is {now.status}, attempt {now.attempt}: it cannot become {asked} by that"
    members = {"allowed": [status.value for status in possible], "ticket_status": now.status.value}
    return Itemised(text, code="invalid_transition", status=409, members=members)


def _worker_of(change: StatusChange) -> str:
    worker_id = change.worker
    if not isinstance(worker_id, str) or not 0 < len(worker_id) <= MAX_ID_LENGTH:
        text = "body.worker_id: is missing: a ticket is claimed for a worker"
        raise Rejected(text, code="invalid_data", status=422)
    return sound("worker", worker_id)
