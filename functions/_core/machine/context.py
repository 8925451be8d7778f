"""The input of a function beside its event: the records as loaded, the time, and the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from functions._core.records.models import Flow, Ticket
from functions._core.rules import Rules

CLOCK = "clock"
"""The `cause` of a step without an event: time has passed, or a worker has answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The flow's row and just the tickets that the event names, read consistently at `now`.

    `function` is the name of the function at work and `cause` the id of the event it handles, or `CLOCK`; both go
    into history and outgoing events. `up_since` is when the platform began to take reports, if it can be down at all:
    no worker is blamed for a report that could not be heard before.
    """

    flow: Flow
    now: datetime
    function: str
    cause: str
    tickets: Mapping[str, Ticket] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    up_since: datetime | None = None
