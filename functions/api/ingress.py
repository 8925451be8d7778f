"""`POST /`: decisions, orders and events of users, words of workers, as CloudEvents in any form of their HTTP binding.

Of the platform's own types only those are taken that the catalogue opens to the outside. Any other type is the user's:
such an event is kept for a ticket that waits for it. A single event is answered by what it led to. The
events of a batch are taken one after the other; when some are refused, the answer is a 400 that says which and
why, and which were taken. Sending a batch again is safe: what was taken is recognised.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fastapi import Request, Response

from functions._core.errors import Rejected
from functions._core.events.catalogue import BY_TYPE, CATALOGUE
from functions._core.events.commands import ORDERS, ClaimRequest
from functions._core.events.envelope import TYPE_PREFIX, CloudEvent, type_of
from functions._core.placement.workers import Deregistration, Heartbeat, Registration
from functions._core.records.principal import Principal
from functions._core.records.record import as_json
from functions._core.records.values import Model, Timestamp, format_time
from functions.api.access import principal_of
from functions.api.approvals import check_decision
from functions.api.bodies import header, json_answer, read_message
from functions.api.problems import Itemised, checked, not_found
from functions.api.questions import sound
from functions.api.registry import membership
from functions.api.reports import REPORTED, bearer, prove, take_report
from functions.api.resources import APPLIED, DELETED, is_custom_resource, take_resource_event
from functions.api.roles import check_event, check_worker
from functions.api.services import ApiServices, services_of
from functions.api.views import Change, changes_of

MAX_BATCH = 1000
"""Events of one request: they are taken one after the other, and the answer names each."""

MAX_TYPE = 255
"""Characters of the type of a user's event; no wait can name a longer one."""

MAX_USERS_EVENT = 64 * 1024
"""Bytes of a request with one event of a user: as JSON, and kept, it may have 60 KiB."""

Answer = Mapping[str, Any]
Handler = Callable[[ApiServices, CloudEvent, "Sender"], Awaitable[Answer]]


class Sender(NamedTuple):
    """Who has sent an event: the token of a report, and the caller if known."""

    token: str | None
    principal: Principal | None


class Taken(Model):
    """The answer to one event: the flow of a decision or an order; `result` and `cancel` of a report; a worker.

    `changes` are what an order with `dry_run` would change. Of an event of the user's own type, `result` is `matched`
    with the ticket whose wait it has ended, `kept` with the end of its time, or `duplicate`. Of a document's it is what
    was done to the `resource`.
    """

    flow_id: str | None = None
    ticket_id: str | None = None
    kept_until: Timestamp | None = None
    status: str | None = None
    result: str | None = None
    resource: str | None = None
    worker_id: str | None = None
    heartbeat_interval_seconds: float | None = None
    signing_secret: str | None = None
    callback_base_url: str | None = None
    cancel: bool | tuple[str, ...] | None = None
    dry_run: bool | None = None
    changes: tuple[Change, ...] | None = None


class TakenOfBatch(Taken):
    """The answer to one event of a batch, with its place in the batch and its id."""

    index: int
    id: str


class BatchTaken(Model):
    """The answer to a batch: the flows that its events are about, in order, and the answer to every event."""

    flows: tuple[str, ...]
    taken: tuple[TakenOfBatch, ...]


async def receive_events(request: Request) -> Response:
    """Take in one event or a batch."""
    services, token = services_of(request), bearer(request)
    said = header(request, b"ce-type")
    if said == REPORTED:
        prove(services, token)
    principal = principal_of(request)
    bound = principal is not None and principal.ticket_id is not None
    # The type of an event of a user may be known before its data is read: large numbers take long.
    most = min(MAX_USERS_EVENT, services.max_body) if said and _users(said) else services.max_body
    events, batch = await read_message(request, services.max_report if bound else most)
    if len(events) > MAX_BATCH:
        message = f"{len(events)} events are too many for one batch; up to {MAX_BATCH} are taken"
        raise Rejected(message, code="batch_too_large", status=413)
    if batch:
        return json_answer(202, await _take_all(services, events, token, principal))
    if _users(events[0].type) and int(header(request, b"content-length") or 0) > MAX_USERS_EVENT:
        text = f"an event of a type of yours has at most {MAX_USERS_EVENT} bytes; send a reference to its data instead"
        raise Rejected(text, code="event_too_large", status=413)
    return json_answer(202, await take(services, events[0], token, principal))


def _users(event_type: str) -> bool:
    """Whether a type is one of users."""
    return not event_type.lower().startswith(TYPE_PREFIX) and event_type not in BY_TYPE and event_type not in HANDLERS


async def _take_all(
    services: ApiServices, events: Sequence[CloudEvent], token: str | None, principal: Principal | None
) -> Answer:
    taken: list[Answer] = []
    refused: list[Answer] = []
    for index, event in enumerate(events):
        place = {"index": index, "id": event.id}
        try:
            answer = await take(services, event, token, principal)
        except Rejected as error:
            refused.append({**place, "type": event.type, "code": error.code, "message": str(error), "where": None})
        else:
            taken.append({**place, **answer})
    if refused:
        message = f"{len(refused)} of {len(events)} events were refused, the first: {refused[0]['message']}"
        members = {"errors": refused, "taken": taken}
        raise Itemised(message, code="batch_refused", status=400, members=members)
    return {"flows": [answer["flow_id"] for answer in taken if "flow_id" in answer], "taken": taken}


async def take(
    services: ApiServices, event: CloudEvent, token: str | None, principal: Principal | None = None
) -> Answer:
    """Take in one event from outside, with the token of its sender if that sent one; raise `Rejected`.

    A `principal` needs the role that the type asks for, and gives the orders that are taken.
    """
    if principal is not None:
        check_event(principal, event.type)
        event = _as_given_by(principal, event)
    handler = _resource if is_custom_resource(event) else HANDLERS.get(event.type)
    if handler is not None:
        return await handler(services, event, Sender(token, principal))
    if event.type in INTERNAL:
        raise Rejected(f"{event.type} is sent by the platform itself only", code="internal_type", status=403)
    if event.type.lower().startswith(TYPE_PREFIX) or event.type in BY_TYPE:
        known = ", ".join(HANDLERS)
        raise Rejected(f"{event.type[:100]!r} is not known; taken are {known}", code="unknown_type", status=422)
    return await _users_event(services, event)


def _as_given_by(principal: Principal, event: CloudEvent) -> CloudEvent:
    """Return an order as the principal's, whoever it says has given it; any other event as it is."""
    if event.type not in OF_PEOPLE or not isinstance(event.data, Mapping):
        return event
    return replace(event, data={**event.data, "requested_by": principal.name})


async def _decision(services: ApiServices, event: CloudEvent, _sender: Sender) -> Answer:
    return {"flow_id": await services.engine.admit(event)}


async def _order(services: ApiServices, event: CloudEvent, sender: Sender) -> Answer:
    """Carry out a person's order; the event's id recognises one that comes twice."""
    order = checked(ORDERS[event.event_type], event.data, "data")
    sound("flow", order.flow_id)
    if isinstance(order, ClaimRequest):
        check_worker(sender.principal, order.worker_id)
    await check_decision(services, sender.principal, order)
    carried = await services.engine.order(order, order_id=event.id)
    answer = {"flow_id": order.flow_id, "status": carried.flow.status}
    if not carried.dry_run:
        return answer
    return answer | {"dry_run": True, "changes": [as_json(change) for change in changes_of(carried)]}


async def _users_event(services: ApiServices, event: CloudEvent) -> Answer:
    """Keep an event of a type of the user's own, or end the wait of a ticket by it."""
    if len(event.type) > MAX_TYPE:
        raise Rejected(f"a type has at most {MAX_TYPE} characters", code="type_too_long", status=422)
    taken = await services.engine.take_event(event)
    answer = {"result": taken.result, "flow_id": taken.flow_id, "ticket_id": taken.ticket_id}
    if taken.kept_until is not None:
        answer["kept_until"] = format_time(taken.kept_until)
    return {name: value for name, value in answer.items() if value is not None}


async def _report(services: ApiServices, event: CloudEvent, sender: Sender) -> Answer:
    return await take_report(services, event, sender.token)


async def _registered(services: ApiServices, event: CloudEvent, sender: Sender) -> Answer:
    registration = checked(Registration, event.data, "data")
    check_worker(sender.principal, registration.worker_id)
    worker = await services.engine.register(registration)
    return {"worker_id": worker.worker_id, **membership(services, worker)}


async def _heartbeat(services: ApiServices, event: CloudEvent, sender: Sender) -> Answer:
    heartbeat = checked(Heartbeat, event.data, "data")
    worker_id = heartbeat.worker_id or event.subject
    if not worker_id:
        raise Rejected("data.worker_id: names the worker, or the event's subject does", code="invalid_data", status=422)
    check_worker(sender.principal, worker_id)
    heard = await services.engine.heartbeat(sound("worker", worker_id), heartbeat)
    return {"worker_id": worker_id, "status": heartbeat.status, "cancel": heard.cancel}


async def _deregistered(services: ApiServices, event: CloudEvent, sender: Sender) -> Answer:
    leaving = checked(Deregistration, event.data, "data")
    check_worker(sender.principal, leaving.worker_id)
    if not await services.engine.deregister(sound("worker", leaving.worker_id), leaving.reason):
        raise not_found("worker", leaving.worker_id)
    return {"worker_id": leaving.worker_id}


async def _resource(services: ApiServices, event: CloudEvent, sender: Sender) -> Answer:
    who = event.source[:255] if sender.principal is None else sender.principal.name
    return await take_resource_event(services, event, who)


_BY_NOUN: Mapping[str, Handler] = {
    "decision.consolidated": _decision,
    **dict.fromkeys(ORDERS, _order),
    "ticket.reported": _report,
    "worker.registered": _registered,
    "worker.heartbeat": _heartbeat,
    "worker.deregistered": _deregistered,
}
HANDLERS = {
    **{type_of(event_type): handler for event_type, handler in _BY_NOUN.items()},
    **dict.fromkeys((APPLIED, DELETED), _resource),
}
OF_PEOPLE = frozenset(type_of(event_type) for event_type in ORDERS)
INTERNAL = frozenset(type_of(entry.event_type) for entry in CATALOGUE if not entry.outside)
