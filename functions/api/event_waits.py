"""Events of users: the tickets that wait for one, and the events that are kept, so that people see why none fits."""

from typing import Annotated

from fastapi import Query

from functions._core.placement.event_waits import ARRIVALS, WAITS, Arrival, EventWait, bucket
from functions._core.ports import Entry
from functions._core.records.record import Record, decode
from functions._core.records.values import Timestamp
from functions.api.documents import problems
from functions.api.questions import DEFAULT_LIMIT, Limit
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1", tags=["events"])

After = Annotated[
    str | None, Query(max_length=255, pattern=r"^[0-9a-z/-]*$", description="The `after` of the page before")
]

EventTypeName = Annotated[str | None, Query(alias="type", max_length=255, description="Type of the events")]


class EventWaitPage(Record):
    """Waits for events, those for one type together, the oldest first among those that ask for one fact."""

    items: tuple[EventWait, ...]
    """The waits."""
    after: str | None
    """Ask for the next page with it; null: no more follow."""


class KeptEvent(Record):
    """An event of a user without its data."""

    id: str
    """Id that its sender gave it; with the source it tells a repetition."""
    source: str
    """Its sender."""
    type: str
    """Its type."""
    subject: str | None
    """What it is about, by its sender."""
    arrived_at: Timestamp
    """When it arrived."""
    kept_until: Timestamp | None
    """Up to when it is known here."""
    result: str
    """`kept` for a wait, `given` to the ticket that is named, `matched` once it has ended the wait of that ticket."""
    flow_id: str | None
    """Id of the flow of that ticket."""
    ticket_id: str | None
    """Id of the ticket; null while any wait may have the event."""


class KeptEventPage(Record):
    """Events of users, in no order that says anything."""

    items: tuple[KeptEvent, ...]
    """The events."""
    after: str | None
    """Ask for the next page with it; null: no more follow."""


@router.get("/event-waits", responses=problems(400, 422))
async def list_event_waits(
    services: Services, event_type: EventTypeName = None, after: After = None, limit: Limit = DEFAULT_LIMIT
) -> EventWaitPage:
    """Return the waits for events, of one type or of all."""
    prefix = "" if event_type is None else bucket(event_type).partition("/")[0] + "/"
    entries = await _page(services, WAITS, after or prefix or None, limit)
    found = [entry for entry in entries if entry.key.startswith(prefix)]
    items = tuple(decode(EventWait, entry.value) for entry in found)
    return EventWaitPage(items=items, after=found[-1].key if len(found) == limit else None)


@router.get("/kept-events", responses=problems(400, 422))
async def list_kept_events(services: Services, after: After = None, limit: Limit = DEFAULT_LIMIT) -> KeptEventPage:
    """Return the events of users that are kept, or were lately, without their data."""
    entries = await _page(services, ARRIVALS, after, limit)
    items = tuple(map(_kept, entries))
    return KeptEventPage(items=items, after=entries[-1].key if len(entries) == limit else None)


async def _page(services: ApiServices, space: str, after: str | None, limit: int) -> list[Entry]:
    return list(await services.ports.key_values.page(space, after, limit))


def _kept(entry: Entry) -> KeptEvent:
    arrival = decode(Arrival, entry.value)
    event, by = arrival.event, arrival.taken_by
    return KeptEvent(
        id=event["id"],
        source=event["source"],
        type=event["type"],
        subject=event.get("subject"),
        arrived_at=arrival.arrived_at,
        kept_until=entry.expires_at,
        result="matched" if arrival.settled else "given" if by is not None else "kept",
        flow_id=by.flow_id if by is not None else None,
        ticket_id=by.ticket_id if by is not None else None,
    )
