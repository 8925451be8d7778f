"""Webhooks that come in: a pipeline of the code forge has ended, and so has the ticket that it was for.

The sender proves itself by a signature over the raw body, which is checked before anything in it is read; see
`message_proofs`. A message is taken once, and within five minutes of its timestamp; one without a timestamp, which
cannot be old, is remembered for as long as its flow may be known.
"""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response

from functions._core.errors import Conflict, Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import Report
from functions._core.records.attempts import of_attempt
from functions._core.records.models import Ticket
from functions._core.records.values import Model, TicketStatus
from functions.api.bodies import HeldBody, headers_of, unhurried
from functions.api.documents import json_body, problems
from functions.api.message_proofs import proved, signature_in
from functions.api.problems import checked, not_found
from functions.api.questions import sound
from functions.api.rate_limits import stranger_slowed_down
from functions.api.reports import REPORTED, trusted
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.subscriptions import webhooks_of
from functions.api.webhook_forms import PipelineCompleted, PipelineStatus

router = Routes(prefix="/api/v1/webhooks", tags=["webhooks"])

MAX_BODY = 256 * 1024
"""Bytes of a message: a pipeline names its artifacts, and does not send them."""

SPACE = "webhook-received"
"""The space of `KeyValues` that holds which messages were taken."""

STATUSES: Mapping[PipelineStatus, str] = {
    PipelineStatus.COMPLETED: "COMPLETED",
    PipelineStatus.FAILED: "FAILED",
    PipelineStatus.REJECTED: "FAILED",
    PipelineStatus.REQUIRES_APPROVAL: "RUNNING",
}
"""What each means for the ticket, as a report says it."""


class PipelineAnswer(Model):
    """What became of the message: see the answer to a report."""

    ticket_id: str
    result: str


@router.post(
    "/pipeline-completed",
    status_code=202,
    response_model=PipelineAnswer,
    responses=problems(400, 401, 404, 409, 413, 415, 422, 503),
    openapi_extra={**json_body(PipelineCompleted), "security": [{}]},
)
async def pipeline_completed(services: Services, request: Request) -> PipelineAnswer | Response:
    """Report the end of a pipeline as that of the ticket which the body names."""
    secrets = webhooks_of(services).pipeline_secrets
    if not secrets:
        text = "no pipeline can prove itself here: the platform has no FLOWC_WEBHOOK_SECRET"
        raise Rejected(text, code="no_webhook_secret", status=503)
    try:
        signature = signature_in(headers_of(request), services.ports.clock.now())
        async with HeldBody(request, MAX_BODY) as body:
            key, fresh = proved(signature, body, secrets)
            value = await unhurried(body, lambda parse: parse(body))
    except Rejected as refusal:
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            if (slow := await stranger_slowed_down(services.limiter, request.scope)) is not None:
                return slow
            webhooks_of(services).refused(refusal.code)
            services.refused_proofs.note(refusal.code, services.ports.clock.now())
        raise
    told = checked(PipelineCompleted, value, "body")
    ticket = await _ticket(services, told)
    await _once(services, key, fresh)
    try:
        return await _reported(services, told, ticket, key)
    except BaseException:
        await _forget(services, key)  # it was not taken, and may be sent again
        raise


async def _ticket(services: ApiServices, told: PipelineCompleted) -> Ticket:
    """Return the ticket; raise `Rejected`: 404 where there is none, 409 where none has begun it."""
    ticket_id = sound("ticket", told.ticket_id)
    ticket = (await services.ports.store.tickets([ticket_id])).get(ticket_id)
    if ticket is None:
        raise not_found("ticket", ticket_id)
    if ticket.attempt < 1 or ticket.status is TicketStatus.PENDING:
        text = f"ticket {ticket_id} is {ticket.status}: no attempt at it is under way"
        raise Rejected(text, code="ticket_not_begun", status=409)
    return ticket


async def _once(services: ApiServices, key: str, fresh: timedelta) -> None:
    """Raise `Rejected`, status 409, for a message that was taken before; longer than it is `fresh` none is kept."""
    entries, until = services.ports.key_values, services.ports.clock.now() + fresh
    try:
        await entries.put(SPACE, key, b"{}", version=0, expires_at=until)
    except Conflict as known:
        raise Rejected("this message was taken before", code="replayed", status=409) from known


async def _forget(services: ApiServices, key: str) -> None:
    entry = await services.ports.key_values.get(SPACE, key)
    if entry is not None:
        await services.ports.key_values.remove(SPACE, key, entry.version)


async def _reported(services: ApiServices, told: PipelineCompleted, ticket: Ticket, key: str) -> PipelineAnswer:
    report = Report.model_validate(_data(told, ticket))
    now = services.ports.clock.now()
    event = CloudEvent(id=key, source="/webhooks/pipeline-completed", type=REPORTED, time=now)
    heard = await services.engine.report(trusted(event, report, ticket), report)
    return PipelineAnswer(ticket_id=ticket.ticket_id, result=heard.result)


def _data(told: PipelineCompleted, ticket: Ticket) -> dict[str, Any]:
    """Return the report that a message stands for."""
    said = told.model_dump(mode="json", exclude_none=True)
    ticket = of_attempt(ticket, told.attempt)
    data: dict[str, Any] = {
        "ticket_id": ticket.ticket_id,
        "attempt": told.attempt or ticket.attempt,
        "status": STATUSES[told.status],
        "worker_id": ticket.worker_id,
    }
    if told.status is PipelineStatus.COMPLETED:
        data["output"] = said
    elif data["status"] == "FAILED":
        message = told.error or f"pipeline {told.pipeline_id} ended {told.status}"
        # A pipeline that somebody rejected is rejected again; one that failed may succeed the next time.
        retryable = told.status is PipelineStatus.FAILED
        data["error"] = {"type": f"pipeline_{told.status.lower()}", "message": message, "retryable": retryable}
    return data
