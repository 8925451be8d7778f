"""Dead letters: an event that nobody could handle, in a form that a person can read and the platform can replay."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.models import Reason
from functions._core.records.record import Record
from functions._core.records.set_aside import UnreadableRecord
from functions._core.records.values import Timestamp, format_time, name_uuid, parse_time

LETTERS = "5f0c0e0a-9d2b-5f0e-8a53-1d7a5e0c6b1e"
"""Namespace of the ids of dead letters of events from outside; fixed, as the same event keeps the same id."""

ATTRIBUTES = frozenset({"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"})
"""Members of a CloudEvent in its JSON form that are no extension attributes."""

REFUSED_BY_SINK, SINK_UNAVAILABLE = "refused_by_sink", "sink_unavailable"
"""Why telemetry is given up: the sink answered that it does not want it, or has not taken it for an hour."""

OUTSIDE = "api"
"""The function that takes events from outside: their dead letters carry its name."""


class DeadLetter(Record):
    """An event that could not be handled, kept for people to see, replay or drop."""

    letter_id: str
    """Id of the dead letter: the id of the event, unless its sender chose that."""
    function: str
    """Name of the function that could not handle the event."""
    reason: Reason
    """Why it could not."""
    attempts: int
    """How often it was tried."""
    first_seen: Timestamp
    """When the event was made."""
    last_seen: Timestamp
    """When it was given up."""
    flow_id: str | None
    """Id of the flow; None where the event names none."""
    event: Mapping[str, Any]
    """The CloudEvent in its JSON form, or the raw text of a record that cannot be read."""


def id_from_outside(event: CloudEvent) -> str:
    """Return the id of the dead letter of an event from outside, whose own id is any text of its sender."""
    return name_uuid(LETTERS, f"{event.source} {event.id}")


def letter_of(
    event: CloudEvent,
    function: str,
    reason: Reason,
    attempts: int,
    now: datetime,
    *,
    letter_id: str | None = None,
) -> DeadLetter:
    """Return the dead letter of an event that `function` could not handle; the same event has always the same."""
    return DeadLetter(
        letter_id=letter_id or event.id,
        function=function,
        reason=reason,
        attempts=attempts,
        first_seen=event.time,
        last_seen=now,
        flow_id=event.extensions.get("partitionkey"),
        event={"subject": None, "data": None, **members_of(event)},
    )


def members_of(event: CloudEvent) -> dict[str, Any]:
    """Return a CloudEvent in its JSON form."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        **({} if event.subject is None else {"subject": event.subject}),
        "time": format_time(event.time),
        **({} if event.data is None else {"datacontenttype": "application/json", "data": event.data}),
        **event.extensions,
    }


def unreadable_letter(record: UnreadableRecord, now: datetime) -> DeadLetter:
    """Return the dead letter of a queued event, or of buffered telemetry, whose stored text cannot be read."""
    return DeadLetter(
        letter_id=f"{record.kind}/{record.record_id}",
        function=OUTSIDE,
        reason=Reason(code="unreadable", message=f"the stored {record.kind} cannot be read: {record.why}"),
        attempts=1,
        first_seen=now,
        last_seen=now,
        flow_id=record.flow_id,
        event={"id": record.record_id, "raw": record.raw},
    )


def event_of(letter: DeadLetter) -> CloudEvent:
    """Return the event that a dead letter keeps."""
    kept: Mapping[str, Any] = letter.event
    time = parse_time(kept.get("time"))
    if not isinstance(time, datetime):
        raise Rejected(f"dead letter {letter.letter_id} holds no event that can be replayed", code="not_replayable")
    return CloudEvent(
        id=kept["id"],
        source=kept["source"],
        type=kept["type"],
        subject=kept.get("subject"),
        time=time,
        data=kept.get("data"),
        extensions={name: value for name, value in kept.items() if name not in ATTRIBUTES},
    )
