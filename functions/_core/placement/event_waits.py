"""Waits for events, and the events that have arrived: small records that find each other by type and one fact.

A wait is kept under the type of its event and, where it has a correlation, under the value that it asks for. An event
is kept once, and entered under its type, and under its value at each place that waits for its type ask about. So the
two meet without a search. Whether they fit is decided by the whole filter, see `fits`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from json import dumps
from typing import Any

from functions._core.errors import Rejected
from functions._core.events.data import EventArrived
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.control import EventFilter
from functions._core.records.dead_letters import members_of
from functions._core.records.models import Ticket
from functions._core.records.record import Record
from functions._core.records.values import JsonObject, Timestamp, milliseconds, time_span

WAITS = "event-waits"
"""The space of the waits: `<type>/<fact>/<since>/<ticket id>`, so that the older of two comes first."""

WAIT_KEYS = "event-wait-keys"
"""The space of the keys of waits, by the id of their ticket."""

ARRIVALS = "event-arrivals"
"""The space of the events, each once, by the digest of source and id."""

ARRIVED = "event-arrived"
"""The space of the entries of events: `<type>/<fact>/<arrived>/<key of the event>`."""

PLACES = "event-correlations"
"""The space of the places that waits ask about, by the digest of the type of their events."""

MAX_PLACES = 8
"""Places of one type; each costs an event a write and a read. A wait with one more is kept as one without any."""

EVENT_BYTES = 60 * 1024
"""Bytes of an event as JSON: with what the platform adds it stays below 64 KiB, the least that brokers pass on."""

VALUE_BYTES = 1024
"""Bytes, as JSON, of the value that a correlation asks for."""

ANY = "any"
"""The fact of a wait without a correlation, and one under which every event is entered."""

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")
MISSING = object()
"""Stands for a fact that an event does not have."""

Holds = Callable[[str, Mapping[str, Any]], bool]
"""Whether a condition in CEL holds for variables; one that fails on an event does not."""


class WaitingTicket(Record):
    """A ticket, and one wait of it."""

    flow_id: str
    """Id of its flow."""
    ticket_id: str
    """Id of the ticket."""
    task_id: str
    """Id of its task."""
    correlation_id: str
    """The correlation id of its flow."""
    traceparent: str
    """The trace and the span that started its flow."""
    since: Timestamp
    """When the wait began; a ticket that waits once more has another one."""


class EventWait(Record):
    """The wait of a ticket for an event."""

    by: WaitingTicket
    """The ticket that waits."""
    wanted: EventFilter
    """The event that it waits for, the value of its correlation filled in."""


class Arrival(Record):
    """An event that has arrived, and the wait that it is for."""

    event: JsonObject
    """The event in its JSON form; without its data once it has ended a wait."""
    arrived_at: Timestamp
    """When it arrived."""
    taken_by: WaitingTicket | None = None
    """The ticket whose wait it is given to: no other one may have it; None while it is for any."""
    settled: bool = False
    """Whether it is certain that it has ended that wait."""


class CorrelatedPlaces(Record):
    """The places of one type of events that waits ask about."""

    type: str
    """The type."""
    filled: Mapping[str, bool] = {}
    """Each place, and whether the events that came before it was known are entered under it, too."""


def digest(*parts: str) -> str:
    """Return 32 hexadecimal digits that stand for texts."""
    return sha256(dumps(parts).encode()).hexdigest()[:32]


def arrival_key(event: CloudEvent) -> str:
    """Return the key of an event: source and id, which tell a repetition."""
    return digest(event.source, event.id)


def bucket(event_type: str, at: str | None = None, value: object = None) -> str:
    """Return the beginning of the keys of all that has this value at a place; without a place, of all of the type."""
    fact = ANY if at is None else digest(at, canonical(value) or "")
    return f"{digest(event_type)}/{fact}/"


def buckets(event: JsonObject, places: Iterable[str]) -> list[str]:
    """Return the beginnings of all keys under which an event, in its JSON form, is found; see `bucket`."""
    facts = ((at, fact_at(event, at)) for at in places)
    return [bucket(event["type"]), *(bucket(event["type"], at, value) for at, value in facts if canonical(value))]


def ordered(moment: datetime, name: str) -> str:
    """Return the rest of a key: it sorts by time."""
    return f"{max(0, milliseconds(moment - EPOCH)):015d}/{name}"


def place_of(wanted: EventFilter) -> tuple[str | None, object]:
    """Return the place that a wait asks about, and the value there; no place where it has no correlation."""
    return (None, None) if wanted.correlation is None else (wanted.correlation.at, wanted.correlation.equals)


def canonical(value: object) -> str | None:
    """Return a text or a number so that equal ones are the same text, None for anything else.

    The text "7" is not the number 7; 7.0 is.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def fact_at(event: JsonObject, at: str) -> object:
    """Return what an event, in its JSON form, has at a place, or `MISSING`.

    A place is the name of an attribute, or a JSON Pointer into the data.
    """
    if not at.startswith("/"):
        return event.get(at, MISSING) if at != "data" else MISSING
    value = event.get("data", MISSING)
    for token in at.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(name, MISSING)
        elif isinstance(value, list) and name.isascii() and name.isdecimal() and int(name[:9]) < len(value):
            value = value[int(name[:9])]
        else:
            return MISSING
    return value


def fits(wait: EventWait, arrival: Arrival, holds: Holds) -> bool:
    """Whether an event is one that a ticket waits for; its condition is asked last, as it costs most."""
    wanted, event = wait.wanted, arrival.event
    if event["type"] != wanted.type or wanted.source not in {None, event["source"]}:
        return False
    if wanted.subject not in {None, event.get("subject")}:
        return False
    if arrival.arrived_at < wait.by.since - time_span(wanted.arrived_before_ms):
        return False
    at, value = place_of(wanted)
    if at is not None:
        known = canonical(value)
        if known is None or canonical(fact_at(event, at)) != known:
            return False
    return wanted.filter is None or holds(wanted.filter, {"event": {"data": None, **event}})


def condition_holds(text: str, variables: Mapping[str, Any]) -> bool:
    """Return whether a condition in CEL holds; one that fails on an event does not."""
    from functions._core.decision.expressions import compiled  # noqa: PLC0415 few waits have a condition

    try:
        return compiled(text).holds(variables)
    except Rejected:
        return False


def event_of(ticket: Ticket) -> EventFilter | None:
    """Return the event that a ticket is there to wait for, None for any other ticket."""
    wait = ticket.control.wait if ticket.control is not None else None
    return wait.event if wait is not None else None


def arrival_of(event: CloudEvent, now: datetime) -> Arrival:
    """Return the record of an event that arrives now."""
    return Arrival(event=members_of(event), arrived_at=now)


def arrived_event(arrival: Arrival, by: WaitingTicket, now: datetime) -> CloudEvent:
    """Return the event by which the flow of a ticket is told; it has the same id each time."""
    data = EventArrived(flow_id=by.flow_id, ticket_id=by.ticket_id, event=arrival.event)
    return CloudEvent(
        id=f"{by.ticket_id}/{digest(arrival.event['source'], arrival.event['id'])}",
        source="/flowc/api",
        type=type_of(EventArrived.event_type),
        time=now,
        subject=by.ticket_id,
        data=data.model_dump(mode="json"),
        extensions={
            "partitionkey": by.flow_id,
            "correlationid": by.correlation_id,
            "traceparent": by.traceparent,
        },
    )
