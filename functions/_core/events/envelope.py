"""One CloudEvent (1.0) as a plain value; codecs for its wire forms live in the runtime."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

TYPE_PREFIX = "io.neuralhive."


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """An event with every context attribute explicit: nothing is invented behind the caller's back.

    `time` is timezone-aware UTC; `data` is a JSON value (a dict for all our own types); `extensions` are
    CloudEvents extension attributes: lower-case names, text values.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str | None = None
    data: Any = None
    extensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def event_type(self) -> str:
        """The type without prefix and version: `ticket.reported` of `io.neuralhive.ticket.reported.v1`."""
        return self.type.removeprefix(TYPE_PREFIX).removesuffix(".v1")


def type_of(event_type: str) -> str:
    """Return the full event type of `noun`, e.g. `ticket.reported`."""
    return f"{TYPE_PREFIX}{event_type}.v1"
