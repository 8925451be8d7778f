"""Decisions of people about tickets: who may decide, the inbox, and the question that a ticket asks.

A ticket names its approvers by their names or roles. That holds for every door: the routes, and the events that carry
the same commands. Skipping such a ticket is a decision, too. Where access is off nobody is known, and everybody may.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any, Literal

from fastapi import Query, Request

from functions._core.errors import Rejected
from functions._core.events.commands import AnyCommand, SkipRequest, TicketApproval, TicketDenial
from functions._core.machine.deciding import APPROVED, DENIED, approval_of, waits_for_person
from functions._core.records.control import Approval, OnLapse
from functions._core.records.models import Flow, Ticket
from functions._core.records.principal import Principal, Role
from functions._core.records.record import Record, fields_of
from functions._core.records.values import FlowStatus, Priority, TicketStatus, Timestamp
from functions.api.access import principal_of
from functions.api.approval_forms import check_data
from functions.api.documents import problems
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Limit
from functions.api.roles import COMMAND
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.tickets import ticket_named

router = Routes(prefix="/api/v1", tags=["approvals"])

PAGE = 500
"""Records that are read at once for the inbox."""

LOOKED_AT = 5_000
"""Waiting tickets, and waiting flows, that are read for one answer at most: they are sorted by their deadlines."""

PLACE = re.compile(r"[0-9]{1,15}:[0-9a-f-]{1,36}", re.ASCII)
"""A cursor of the inbox: the deadline in milliseconds since 1970, and the id."""

ROLES = frozenset(Role)


class InboxItem(Record):
    """A flow, or a ticket of one, that waits for the decision of a person."""

    kind: Literal["flow", "ticket"]
    """Which of both is decided about."""
    flow_id: str
    """Id of the flow."""
    ticket_id: str | None = None
    """Id of the ticket; None for a flow."""
    task_id: str | None = None
    """Id of the task; None for a flow."""
    decision_id: str
    """Id of the decision that the flow carries out."""
    plan_id: str | None
    """Id of the plan."""
    priority: Priority
    """How much it matters."""
    message: str
    """The question, for people."""
    form: Mapping[str, Any] | None = None
    """A JSON Schema for the data that comes with an approval; None: no data."""
    approvers: tuple[str, ...] = ()
    """Names and roles of those who may decide; empty: whoever has the role operator."""
    since: Timestamp | None
    """When the wait began."""
    until: Timestamp | None
    """When it ends without a decision."""
    then: str
    """What follows if nobody decides until then, and what follows from a denial."""
    labels: Mapping[str, str] = {}
    """Names and values by which people find it."""


class ApprovalView(InboxItem):
    """The question that a ticket asks, and the decision as far as there is one."""

    status: TicketStatus
    """Status of the ticket; it can be decided about while it is WAITING."""
    may_decide: bool
    """Whether the caller is one of those who may decide."""
    decision: Literal["approved", "denied"] | None
    """The decision of a person; None before, and where none came in time."""
    output: Any = None
    """The output of the ticket."""


class InboxPage(Record):
    """All that waits for the caller, the earliest deadline first; `cursor` asks for the next page, null: no more.

    `complete` is false when so much waits that only the oldest of it was looked at.
    """

    items: tuple[InboxItem, ...]
    cursor: str | None
    complete: bool


@router.get("/inbox", responses=problems(400, 422))
async def read_inbox(
    services: Services,
    request: Request,
    cursor: Annotated[
        str | None,
        Query(max_length=60, pattern=f"^{PLACE.pattern}$", description="The `cursor` of the page before"),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> InboxPage:
    """Return the flows and tickets that wait for a decision of the caller, the earliest deadline first."""
    principal = principal_of(request)
    tickets, all_tickets = await _waiting_tickets(services)
    flows, all_flows = await _waiting_flows(services) if _may(principal, ()) else ((), True)
    mine = [_of_ticket(ticket) for ticket in tickets if _may(principal, _approvers(ticket))]
    places = sorted(((_place(item), item) for item in (*mine, *map(_of_flow, flows))), key=itemgetter(0))
    rest = [(place, item) for place, item in places if cursor is None or place > _read_place(cursor)]
    following = rest[limit - 1][0] if len(rest) > limit else None
    return InboxPage(
        items=tuple(item for _, item in rest[:limit]),
        cursor=f"{following[0]}:{following[1]}" if following else None,
        complete=all_tickets and all_flows,
    )


@router.get("/tickets/{ticket_id}/approval", responses=problems(404))
async def get_approval(services: Services, request: Request, ticket_id: str) -> ApprovalView:
    """Return the question that a ticket asks people, and the decision, if there is one."""
    ticket = await ticket_named(services, ticket_id)
    approval = approval_of(ticket)
    if approval is None:
        raise not_found("approval", ticket_id)
    code = ticket.reason.code if ticket.reason is not None else None
    return ApprovalView(
        **fields_of(_of_ticket(ticket)),
        status=ticket.status,
        may_decide=_may(principal_of(request), approval.approvers),
        decision="approved" if code == APPROVED else "denied" if code == DENIED else None,
        output=ticket.output,
    )


async def check_decision(services: ApiServices, principal: Principal | None, order: AnyCommand) -> None:
    """Raise `Rejected` when a command decides about a ticket and the caller may not, or its data does not fit.

    Status 403 names those who may; data is checked by the form while the ticket waits: 409, 413, 422.
    """
    if not isinstance(order, TicketApproval | TicketDenial | SkipRequest):
        return
    ticket = (await services.ports.store.tickets([order.ticket_id], order.flow_id)).get(order.ticket_id)
    approval = approval_of(ticket) if ticket is not None else None
    if ticket is None or approval is None:
        return  # refused by the machine, unless it is skipped
    _check_approver(principal, approval, open_to_all=services.identify is None)
    if isinstance(order, SkipRequest) or not waits_for_person(ticket):
        return
    if isinstance(order, TicketApproval) or order.data is not None:
        check_data(approval.form, order.data)


def _check_approver(principal: Principal | None, approval: Approval, *, open_to_all: bool) -> None:
    """Raise `Rejected` for a caller who may not decide; an event of a bus proves nobody, so it is no approver."""
    proven = principal is not None or open_to_all or not approval.approvers
    if proven and _may(principal, approval.approvers):
        return
    who = ", ".join(f"role {name}" if name in ROLES else name for name in approval.approvers) or f"role {COMMAND[0]}"
    name = principal.name[:100] if principal is not None else ""
    raise Rejected(f"this may be decided by {who[:1000]}, not by {name!r}", code="not_an_approver", status=403)


def _may(principal: Principal | None, approvers: Sequence[str]) -> bool:
    """Whether a caller is one of those who may decide; a word that is a role stands for the role alone."""
    if principal is None:
        return True
    if not approvers:
        return principal.may(*COMMAND)
    return any(principal.may(Role(name)) if name in ROLES else name == principal.name for name in approvers)


def _approvers(ticket: Ticket) -> Sequence[str]:
    approval = approval_of(ticket)
    return approval.approvers if approval is not None else ()


async def _waiting_tickets(services: ApiServices) -> tuple[Sequence[Ticket], bool]:
    """Return the tickets that wait for people, and whether those are all.

    SQL stores read along the index of statuses, DynamoDB the tickets of flows that have not ended.
    """
    found: list[Ticket] = []
    cursor = None
    for _ in range(LOOKED_AT // PAGE):
        waiting = {"status": TicketStatus.WAITING.value}
        tickets, cursor = await services.ports.views.find_tickets(waiting, cursor, PAGE)
        found += filter(waits_for_person, tickets)
        if cursor is None:
            break
    return found, cursor is None


async def _waiting_flows(services: ApiServices) -> tuple[Sequence[Flow], bool]:
    found: list[Flow] = []
    cursor = None
    for _ in range(LOOKED_AT // PAGE):
        status = FlowStatus.AWAITING_APPROVAL.value
        flows, cursor = await services.ports.views.flows(status=status, cursor=cursor, limit=PAGE)
        found += flows
        if cursor is None:
            break
    return found, cursor is None


def _of_ticket(ticket: Ticket) -> InboxItem:
    approval = approval_of(ticket) or Approval()
    return InboxItem(
        kind="ticket",
        flow_id=ticket.flow_id,
        ticket_id=ticket.ticket_id,
        task_id=ticket.task_id,
        decision_id=ticket.decision_id,
        plan_id=ticket.plan_id,
        priority=ticket.priority,
        message=approval.message or ticket.description,
        form=approval.form,
        approvers=approval.approvers,
        since=ticket.waiting_since,
        until=ticket.until,
        then=" ".join(_then(approval)),
        labels=ticket.labels,
    )


def _then(approval: Approval) -> Iterator[str]:
    fails = approval.on_timeout is OnLapse.FAIL
    yield f"Without a decision {'the ticket fails' if fails else 'the flow continues, with approved: null'}."
    fails = approval.on_denied is OnLapse.FAIL
    yield f"After a denial {'the ticket fails' if fails else 'the flow continues, with approved: false'}."


def _of_flow(flow: Flow) -> InboxItem:
    return InboxItem(
        kind="flow",
        flow_id=flow.flow_id,
        decision_id=flow.decision_id,
        plan_id=flow.plan_id,
        priority=flow.priority,
        message="; ".join(reason.message for reason in flow.reasons) or "The flow waits for approval.",
        since=flow.phase.entered_at,
        until=flow.next_wakeup_at,
        then="Without an approval the flow ends REJECTED, as after a denial.",
        labels=flow.labels,
    )


def _place(item: InboxItem) -> tuple[int, str]:
    """Return where an item stands in the inbox."""
    moment = item.until or item.since
    return (round(moment.timestamp() * 1000) if isinstance(moment, datetime) else 0), item.ticket_id or item.flow_id


def _read_place(cursor: str) -> tuple[int, str]:
    moment, _, record_id = cursor.partition(":")
    return int(moment), record_id
