"""One CloudEvent (1.0) as a plain value; codecs for its wire forms are in the adapters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

TYPE_PREFIX = "io.neuralhive."
"""The beginning of every event type; part of the wire contract."""

AVRO_MEDIA = frozenset({"application/avro", "avro/binary"})
"""Media types of data in Avro, for the types of events that `events/*.avsc` describe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """An event with every context attribute explicit: the caller gives id, source and time, nothing is made up."""

    id: str
    """Id of the event; with the source it tells a repetition."""
    source: str
    """The sender, a URI reference such as `/flowc/assign`."""
    type: str
    """The full type: `io.neuralhive.ticket.reported.v1`."""
    time: datetime
    """When it was made, timezone-aware UTC."""
    subject: str | None = None
    """Id of the flow, ticket or worker that it is about; None for none."""
    data: Any = None
    """A JSON value; an object for all our own types."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Extension attributes: lower-case names, text values."""

    @property
    def event_type(self) -> str:
        """The type without prefix and version: `ticket.reported` of `io.neuralhive.ticket.reported.v1`."""
        return self.type.removeprefix(TYPE_PREFIX).removesuffix(".v1")


def type_of(event_type: str) -> str:
    """Return the full type of an event, given the part without prefix and version: `ticket.reported`."""
    return f"{TYPE_PREFIX}{event_type}.v1"
