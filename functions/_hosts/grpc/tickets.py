"""The calls of `ticket_service.TicketService`."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from functions._hosts.grpc.calls import Caller
from functions._hosts.grpc.methods import Asked, Method, invalid, millis, segment

TIMES = ("created_at", "assigned_at", "acknowledged_at", "started_at", "completed_at")
MAX_OFFSET = 10_000
PAGE = 500
TICKETS = "/api/v1/tickets"


def ticket_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ticket of the API in the form of `ExecutionTicketProto`, without the fields that are null."""
    ticket = {**view, **{name: millis(view[name]) for name in TIMES}}
    return {name: value for name, value in ticket.items() if value is not None}


async def get_ticket(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/tickets/{ticket_id}."""
    return {"ticket": ticket_of(await caller.get(_path(asked.ticket_id)))}


async def list_tickets(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/tickets; an offset is passed over page by page."""
    if not 0 <= asked.offset <= MAX_OFFSET or (asked.offset and asked.cursor):
        raise invalid(f"offset: 0 to {MAX_OFFSET}, and not together with a cursor")
    filters = {name: getattr(asked, name) for name in ("plan_id", "status", "intent_id", "priority", "flow_id")}
    filters["worker_id"] = asked.worker_id
    cursor, skip, total = asked.cursor, asked.offset, None
    while skip:
        page = await caller.get(TICKETS, **filters, cursor=cursor, limit=min(skip, PAGE))
        total = page["total"] if total is None else total
        skip -= len(page["items"])
        cursor = page["cursor"]
        if cursor is None:
            return {"tickets": [], "total": total or 0}
    page = await caller.get(TICKETS, **filters, cursor=cursor, limit=asked.limit or None)
    total = page["total"] if total is None else total
    return {
        "tickets": [ticket_of(view) for view in page["items"]],
        "total": total or 0,
        "next_cursor": page["cursor"] or "",
    }


async def update_ticket_status(asked: Asked, caller: Caller) -> dict[str, Any]:
    """PATCH /api/v1/tickets/{ticket_id}/status."""

    def change() -> dict[str, Any]:
        said = {"error_message": asked.error_message} if asked.error_message else {}
        plain = {name: getattr(asked, name) for name in ("worker_id", "attempt", "progress") if asked.HasField(name)}
        nested = {name: MessageToDict(getattr(asked, name)) for name in ("output", "metadata") if asked.HasField(name)}
        return {"status": asked.status, **said, **plain, **nested}

    based_on = ((b"if-match", f'"{asked.version}"'.encode()),) if asked.HasField("version") else ()
    view = await caller.send("PATCH", f"{_path(asked.ticket_id)}/status", change, headers=based_on)
    return {"ticket": ticket_of(view)}


async def generate_token(asked: Asked, caller: Caller) -> dict[str, Any]:
    """GET /api/v1/tickets/{ticket_id}/token."""
    token = await caller.get(f"{_path(asked.ticket_id)}/token")
    return {**token, "expires_at": millis(token["expires_at"])}


def _path(ticket_id: str) -> str:
    return f"{TICKETS}/{segment('ticket_id', ticket_id)}"


METHODS: Mapping[str, Method] = {
    "GetTicket": get_ticket,
    "ListTickets": list_tickets,
    "UpdateTicketStatus": update_ticket_status,
    "GenerateToken": generate_token,
}
