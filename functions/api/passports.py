"""Passports: what was done in a flow and by whom, as one signed file that anybody can check without the platform."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import Response

from functions._core.errors import Rejected
from functions._core.passport.envelope import envelope
from functions._core.passport.price import price_part
from functions._core.passport.statement import line_part, statement_of, ticket_part
from functions._core.records.audits import ActionRecord, AuditKind
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import format_time
from functions.api.documents import problems
from functions.api.questions import found
from functions.api.results import not_ended
from functions.api.routes import Routes
from functions.api.services import ApiServices, PassportSigner, Services

router = Routes(prefix="/api/v1", tags=["passports"])

PAGE = 500
"""Tickets, or lines of the history, that are read and hashed together."""

MOST_TICKETS = 20_000
MOST_LINES = 200_000
MOST_ACTIONS = 500
"""What a passport holds at most; a flow with more has none."""

MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"

FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}, "description": "A DSSE envelope"}
}


class PassportKeyView(Record):
    """The public key by which passports of this platform are checked."""

    keyid: str
    """Its thumbprint (RFC 7638), by which passports name it."""
    algorithm: str
    """EdDSA (Ed25519) or ES256 (P-256)."""
    pem: str
    """The public key, PEM."""


@router.get("/passport-key", responses=problems(409))
async def get_passport_key(services: Services) -> PassportKeyView:
    """Return the public key that passports are signed with; 409 `no_signing_key` where there is none."""
    key = await _key(services)
    return PassportKeyView(keyid=key.keyid, algorithm=key.algorithm, pem=key.public_pem)


@router.get("/flows/{flow_id}/passport", response_class=Response, responses={**problems(404, 409, 413, 429), **FILE})
async def get_passport(services: Services, flow_id: str) -> Response:
    """Return the passport of a flow that has ended, a signed in-toto statement; 409 `not_ended` before.

    It says who asked, what became of each ticket, who could have done it and who did it, inputs and outputs by hash,
    whether deadlines were met, what it cost, what people did, and the history as a chain.
    """
    flow = await found("flow", flow_id, services.ports.store.flow)
    if flow.ended_at is None:
        raise not_ended(flow, services.ports.clock.now())
    key = await _key(services)
    with services.passports.one():
        tickets = [part async for page in _tickets(services, flow) for part in await _parts(ticket_part, page)]
        lines = [part async for page in _lines(services, flow) for part in await _parts(line_part, page)]
        actions = await _actions(services, flow)
        workers = await services.ports.registry.workers()
        await _check_unmoved(services, flow)
        issued = {
            "at": format_time(services.ports.clock.now()),
            "by": services.base_url,
            "software": f"flowc {services.version}",
            "keyid": key.keyid,
        }

        def signed() -> bytes:
            price = price_part(tickets, workers)
            return envelope(
                statement_of(flow, tickets, lines, actions, price=price, issued=issued), key.keyid, key.sign
            )

        file = await asyncio.to_thread(signed)
    name = f'attachment; filename="{flow.flow_id}.passport.json"'
    return Response(file, media_type=MEDIA_TYPE, headers={"content-disposition": name})


async def _key(services: ApiServices) -> PassportSigner:
    try:
        key = await asyncio.to_thread(services.passport_key)
    except ImportError:
        key = None
        text = "passports are signed by the package `pyjwt[crypto]`, which is not installed here (extra `identity`)"
    else:
        text = "there is no key that signs passports; set FLOWC_TOKEN_KEYS to a private key, Ed25519 or P-256"
    if key is None:
        raise Rejected(text, code="no_signing_key", status=409)
    return key


async def _parts(part: Any, page: Sequence[Any]) -> Sequence[dict[str, Any]]:  # noqa: ANN401 one of two functions
    return await asyncio.to_thread(lambda: [part(one) for one in page])


async def _tickets(services: ApiServices, flow: Flow) -> AsyncIterator[Sequence[Ticket]]:
    """Yield pages of the tickets of a flow, compensations and children included."""
    cursor: str | None = None
    count = 0
    while True:
        page, cursor = await services.ports.views.find_tickets({"flow_id": flow.flow_id}, cursor, PAGE)
        count += len(page)
        _check(count, MOST_TICKETS, "tickets")
        yield page
        if cursor is None:
            return


async def _lines(services: ApiServices, flow: Flow) -> AsyncIterator[Sequence[HistoryEntry]]:
    """Yield pages of the history of a flow, the oldest line first."""
    after = count = 0
    while page := await services.ports.views.history(flow.flow_id, after, PAGE):
        after, count = page[-1].seq, count + len(page)
        _check(count, MOST_LINES, "lines of history")
        yield page


async def _actions(services: ApiServices, flow: Flow) -> Sequence[ActionRecord]:
    """Return what people did about a flow, the oldest first."""
    audits = await services.ports.views.audits(flow.flow_id, MOST_ACTIONS + 1, kind=AuditKind.ACTION)
    _check(len(audits), MOST_ACTIONS, "actions of people")
    return [audit for audit in reversed(audits) if isinstance(audit, ActionRecord)]


async def _check_unmoved(services: ApiServices, flow: Flow) -> None:
    """Raise `Rejected` when the flow goes on, or is gone, by now: what was read of it is not of one moment."""
    now = await found("flow", flow.flow_id, services.ports.store.flow)
    if now.ended_at != flow.ended_at:
        raise not_ended(now, services.ports.clock.now())


def _check(count: int, most: int, what: str) -> None:
    if count > most:
        raise Rejected(f"the flow has more than {most} {what}", code="passport_too_large", status=413)
