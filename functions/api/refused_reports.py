"""Refused reports are not lost without a trace: `why`, audits, log and a counter tell of them, within bounds.

What is kept grows with the work, not with the reports: of each attempt the first report that is refused for a reason,
and of each flow the first without a valid token. All are counted and logged.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.errors import FlowcError, Rejected
from functions._core.events.reports import RefusedReport
from functions._core.explain.wording import ago, plain
from functions._core.records.audits import ActionRecord, AuditKind
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus
from functions.api.actions import record, taken
from functions.api.services import ApiServices

ACTION = "report_refused"
UNPROVEN = "nobody who proved it"
ID_LIMIT = 255
WHY_LIMIT = 500
AUDITS_LOOKED_AT = 100


async def note_refusal(
    services: ApiServices, refusal: Rejected, token: str | None, flow_id: str | None, data: object = None
) -> None:
    """Tell of a report that is refused; `data` is what it says, as far as it could be read. Never raises."""
    claims = _proven(services, token, refusal)
    said = data if isinstance(data, Mapping) else {}
    ticket_id, attempt = (claims or said).get("ticket_id"), (claims or said).get("attempt")
    reason = str(refusal).replace(token, "[token]") if token else str(refusal)
    refused = RefusedReport(
        flow_id=flow_id if flow_id and _sound(flow_id) else "",
        ticket_id=ticket_id if _sound(ticket_id) else None,
        attempt=attempt if isinstance(attempt, int) else None,
        worker_id=str(claims["sub"]) if claims else None,
        code=refusal.code,
        status=refusal.status,
        reason=reason[:WHY_LIMIT],
    )
    services.report_refused(refused)
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        services.refused_proofs.note(refusal.code, services.ports.clock.now())
    try:
        await _keep(services, refused)
    except FlowcError:
        return  # the answer to the report matters more


async def last_refused(services: ApiServices, flow_id: str, target: str) -> str | None:
    """Return a sentence about the last report that was refused and kept about a ticket or a flow, if one was."""
    audits = await services.ports.views.audits(flow_id, AUDITS_LOOKED_AT, kind=AuditKind.ACTION)
    for audit in audits:
        if isinstance(audit, ActionRecord) and audit.action == ACTION and audit.target == target:
            by = "nobody with a valid token" if audit.who == UNPROVEN else f"worker {plain(audit.who)}"
            return f"A report by {by} was refused at {ago(audit.at, services.ports.clock.now())}: {plain(audit.why)}."
    return None


async def _keep(services: ApiServices, refused: RefusedReport) -> None:
    proven = refused.worker_id is not None
    if not proven and not services.refusals.may_look(services.ports.clock.now().timestamp()):
        return
    about = await _about(services, refused, proven=proven)
    if about is None:
        return
    target = about.ticket_id if isinstance(about, Ticket) else about.flow_id
    key = f"{ACTION}/{refused.attempt if proven else ''}/{refused.code}"
    new = services.refusals.is_new(f"{target}/{key}")
    if new and not await taken(services, about.flow_id, target, key):
        who, why = refused.worker_id or UNPROVEN, f"{refused.status} {refused.code}: {refused.reason}"
        await record(services, ACTION, target, who=who, why=why, flow_id=about.flow_id, key=key)


async def _about(services: ApiServices, refused: RefusedReport, *, proven: bool) -> Ticket | Flow | None:
    """Return the ticket that a report is about, or else the flow, if there is one and it has not ended."""
    store, flow_id = services.ports.store, refused.flow_id or None
    if refused.ticket_id is not None and (proven or flow_id):
        found = (await store.tickets([refused.ticket_id], None if proven else flow_id)).get(refused.ticket_id)
        if found is not None and (proven or (found.live and found.status is not TicketStatus.PENDING)):
            return found
    flow = await store.flow(flow_id) if flow_id else None
    return flow if flow is not None and flow.ended_at is None else None


def _proven(services: ApiServices, token: str | None, refusal: Rejected) -> Mapping[str, Any] | None:
    """Return the claims of a token that was made here, whatever it was made for."""
    if token is None or refusal.status == HTTPStatus.UNAUTHORIZED:
        return None
    try:
        return services.ports.tokens.claims(token)
    except Rejected:
        return None


def _sound(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= ID_LIMIT and not UNPRINTABLE.search(value)
