"""Reports of workers: believed only with the token of the very attempt they speak of."""

import json
from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.reports import Report
from functions._core.machine.step_builder import derived_id
from functions._core.records.attempts import of_attempt
from functions._core.records.json_text import json_size
from functions._core.records.models import Ticket
from functions._core.records.values import Model, format_time
from functions.api.bodies import HeldBody, header, headers_of, json_answer, read_events, unhurried
from functions.api.problems import checked, not_found
from functions.api.rate_limits import slowed_down, stranger_slowed_down
from functions.api.refused_reports import note_refusal
from functions.api.services import ApiServices, services_of

REPORTED = type_of("ticket.reported")

MAX_OUTPUT = 256 * 1024
"""Bytes of an output as JSON: it is kept on the ticket's row and handed to what depends on it."""


class ReportAnswer(Model):
    """What became of a report: `recorded`, `duplicate` or `superseded`; `cancel`: stop working on the ticket."""

    result: str
    cancel: bool


async def receive_report(request: Request) -> Response:
    """Take in one report on a ticket of this flow."""
    services = services_of(request)
    given, flow_id = bearer(request), request.path_params["flow_id"]
    try:
        claims = prove(services, given)
        if services.limiter is not None and (refused := await slowed_down(services.limiter, claims["sub"])) is not None:
            return refused
        event = await read_report(request, services)
    except Rejected as refusal:
        unproven = refusal.status == HTTPStatus.UNAUTHORIZED
        if unproven and (refused := await stranger_slowed_down(services.limiter, request.scope)) is not None:
            return refused  # and nothing is noted: a flood must not fill the log
        await note_refusal(services, refusal, given, flow_id)
        raise
    return json_answer(200, await take_report(services, event, given, flow_id, claims))


async def read_report(request: Request, services: ApiServices) -> CloudEvent:
    """Return the event in a body: a CloudEvent in any form but a batch, or the data of one alone, as plain JSON.

    Raises `Rejected`, see `read_events`; 422 for an event of another type.
    """
    headers = headers_of(request)
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    async with HeldBody(request, services.max_report) as body:
        if media == "application/json" and not any(name.startswith("ce-") for name in headers):
            data = await unhurried(body, lambda parse: parse(body))
            now = services.ports.clock.now()
            # Two plain reports are two events, as heartbeats of an attempt are alike.
            event_id = sha256(body + format_time(now).encode()).hexdigest()[:32]
            return CloudEvent(id=event_id, source="/workers", type=REPORTED, time=now, data=data)
        events, batch = await read_events(services, headers, body)
    if batch or events[0].type != REPORTED:
        raise Rejected(f"one event of type {REPORTED} is taken here", code="unknown_type", status=422)
    return events[0]


async def take_report(
    services: ApiServices,
    event: CloudEvent,
    token: str | None,
    flow_id: str | None = None,
    claims: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Take in a report and return the answer to it; `flow_id` is the flow that it was sent to, if to one.

    `claims` are those of the token, where it is known to be ours and to hold.

    Raises `Rejected`: 422 for wrong data, 413 for an output over `MAX_OUTPUT`, 401 and 403 for a token that is
    missing or proves something else, 404 when there is no such ticket (in that flow).
    """
    try:
        return await _take(services, event, token, flow_id, claims)
    except Rejected as refusal:
        await note_refusal(services, refusal, token, flow_id, event.data)
        raise


async def _take(
    services: ApiServices,
    event: CloudEvent,
    token: str | None,
    flow_id: str | None,
    claims: Mapping[str, Any] | None,
) -> dict[str, Any]:
    if token is None:
        raise _no_token()
    report = read_words(event.data, token)
    tokens = services.ports.tokens
    claims = tokens.claims(token) if claims is None else claims
    tokens.verify(claims, ticket_id=report.ticket_id)
    if claims["attempt"] != report.attempt:
        raise Rejected("the token was made for another attempt", code="foreign_token", status=403)
    report = report.but(worker_id=claims["sub"])
    ticket = (await services.ports.store.tickets([report.ticket_id], flow_id)).get(report.ticket_id)
    if ticket is None or flow_id not in {None, ticket.flow_id}:
        raise not_found("ticket", report.ticket_id)
    seen = of_attempt(ticket, report.attempt)
    if seen.attempt == report.attempt and seen.worker_id not in {None, report.worker_id}:
        # It was made for whoever claims the ticket, and a worker was given it before.
        raise Rejected("another worker holds this attempt", code="foreign_token", status=403)
    heard = await services.engine.report(trusted(event, report, ticket), report)
    return {"result": heard.result, "cancel": ticket.ticket_id in heard.cancel}


def read_words(data: object, token: str | None) -> Report:
    """Return a report of its data; raise `Rejected`: 422 for wrong data, 413 for an output over `MAX_OUTPUT`."""
    report = checked(Report, data, "data")
    text = to_json(data)
    # Half, as the text that is measured exactly may write a number in more bytes.
    if len(text) > MAX_OUTPUT // 2 and report.output is not None and json_size(report.output) > MAX_OUTPUT:
        limit = f"the output is larger than {MAX_OUTPUT} bytes of JSON: store it elsewhere and report where"
        raise Rejected(limit, code="output_too_large", status=413)
    if token and token.encode() in text:  # a worker that hands back all it was given must not get its token kept
        return Report.model_validate(json.loads(text.replace(token.encode(), b"[token]")))
    return report


def prove(services: ApiServices, token: str | None) -> Mapping[str, Any]:
    """Return the claims of a token that is ours and holds, of whichever ticket; raise `Rejected`, status 401, else.

    This comes before the body: who brings no such token may not make the platform read one.
    """
    if token is None:
        raise _no_token()
    return services.ports.tokens.claims(token)


def bearer(request: Request) -> str | None:
    """Return the bearer token of a request, or None."""
    scheme, _, token = header(request, b"authorization").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def trusted(event: CloudEvent, report: Report, ticket: Ticket) -> CloudEvent:
    """Return the report as our own event: nothing in it but what was checked, and routed to its flow.

    Its id tells reports apart even if two workers number theirs alike.
    """
    key = f"{report.ticket_id}:{report.attempt}:{report.status}:{event.source}:{event.id}"
    return CloudEvent(
        id=derived_id(ticket.flow_id, "ticket.reported", key),
        source=event.source,
        type=event.type,
        time=event.time,
        subject=ticket.ticket_id,
        data=report.model_dump(mode="json", exclude_none=True),
        extensions={
            "partitionkey": ticket.flow_id,
            "correlationid": ticket.correlation_id,
            "causationid": event.id,
            "traceparent": f"00-{ticket.trace_id}-{ticket.span_id}-01",
        },
    )


def _no_token() -> Rejected:
    text = "a report needs the token of its assignment: authorization: Bearer <token>"
    return Rejected(text, code="missing_token", status=401)
