"""Tickets of the machine's own, and what steers any ticket: conditions, approvals, waits, repetitions, sub-flows.

The same records are read from the plan and kept with the ticket. None of them changes once the ticket is made; the
progress of the children is a record of its own.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from functions._core.records.record import Record
from functions._core.records.values import Word

LONGEST_MS = 315_360_000_000
"""Ten years. A longer wait is a mistaken unit."""

SpanMs = Annotated[int, Field(gt=0, le=LONGEST_MS)]
"""A duration above zero, in milliseconds."""

Expression = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
"""A condition in CEL, see `decision.expressions`."""

Word255 = Annotated[str, StringConstraints(min_length=1, max_length=255)]
"""A short text."""


class OnSkipped(Word):
    """What a task does when tasks that it depends on were skipped; lower case on every wire."""

    SKIP = "skip"
    ANY = "any"
    RUN = "run"


class OnLapse(Word):
    """What follows when a wait ends without what it waited for; lower case on every wire."""

    FAIL = "fail"
    CONTINUE = "continue"


class Approval(Record):
    """A person decides; the decision is the output of the ticket."""

    approvers: Annotated[tuple[Word255, ...], Field(max_length=100)] = ()
    """Names or roles of those who may decide; empty: everybody who may approve flows."""
    message: Annotated[str, StringConstraints(max_length=4_096)] | None = None
    """The question, for people; without it the description of the task."""
    form: Mapping[str, Any] | None = None
    """A JSON Schema for the data that the person gives with the decision; None: no data."""
    timeout_ms: SpanMs = 86_400_000
    """How long a decision is waited for, in milliseconds; one day without it."""
    on_denied: OnLapse = OnLapse.FAIL
    """`fail`: a denial is a failure of the ticket. `continue`: its output says `"approved": false`."""
    on_timeout: OnLapse = OnLapse.FAIL
    """`fail`: that nobody decided is a failure. `continue`: the output says `"approved": null`."""
    stops_clock: bool = False
    """Whether the time of the SLA stands still meanwhile; a deadline that is a moment never moves."""


class Correlation(Record):
    """One fact of an event that must have a certain value."""

    at: Word255
    """Where the fact is: `subject`, another attribute of the event, or a JSON Pointer into its data, such as `/id`."""
    equals: Any
    """Its value: a text, a number, or a reference to one."""


class EventFilter(Record):
    """The event that a ticket waits for."""

    type: Word255
    """Type of the CloudEvent."""
    source: Word255 | None = None
    """Its source; None: any."""
    subject: Word255 | None = None
    """Its subject; None: any."""
    correlation: Correlation | None = None
    """A fact that ties it to this flow; None: any event of the type does."""
    filter: Expression | None = None
    """A condition on `event`, its attributes and `event.data`; None: none."""
    arrived_before_ms: Annotated[int, Field(ge=0, le=LONGEST_MS)] = 3_600_000
    """How long before the wait it may have arrived, in milliseconds; one hour without it."""


class Wait(Record):
    """A wait without a worker: for a moment, a span or an event. Exactly one of the first three is given."""

    until: Any = None
    """A moment, RFC 3339 or epoch milliseconds, or a reference to one."""
    seconds: Any = None
    """A span in seconds, or a reference to one."""
    event: EventFilter | None = None
    """An event."""
    timeout_ms: SpanMs | None = None
    """How long the event is waited for, in milliseconds; None: until the deadline of the flow."""
    on_timeout: OnLapse = OnLapse.FAIL
    """`fail`: that no event came is a failure. `continue`: the output of the ticket is null."""
    stops_clock: bool = False
    """Whether the time of the SLA stands still meanwhile; a deadline that is a moment never moves."""


class Foreach(Record):
    """The task is done once for each item of a list; its output is the list of their outputs."""

    items: Any
    """A list, or a reference to one; null is an empty list."""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 10
    """How many items are worked on at once."""
    max_items: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """A longer list is a failure of the task."""
    max_failures: Annotated[int, Field(ge=0, le=10_000)] = 0
    """How many items may fail; their outputs are null then. One more is a failure of the task."""
    expected_items: Annotated[int, Field(ge=0, le=10_000)] = 1
    """How many items there will be, as far as the author knows; estimates use it until the list is known."""


class Control(Record):
    """What steers a ticket beside its dependencies; a ticket of a plain task has none."""

    when: Expression | None = None
    """A condition in CEL on outputs; where it is false the ticket ends SKIPPED."""
    on_skipped: OnSkipped = OnSkipped.SKIP
    """`skip`: it is skipped with any dependency. `any`: it begins if one dependency was not. `run`: it begins."""
    allow_failure: bool = False
    """Whether its failure counts as done: dependants begin, and the flow does not fail by it."""
    approval: Approval | None = None
    """The decision of a person that it waits for (APPROVE)."""
    wait: Wait | None = None
    """The moment or the event that it waits for (WAIT)."""
    foreach: Foreach | None = None
    """The list for whose items it has children."""
    subflow: tuple[str, ...] = ()
    """The ids of the tasks that lead to the plan whose tasks are its children (SUBFLOW), the outermost first."""

    @property
    def works_alone(self) -> bool:
        """Whether the ticket needs no worker."""
        return bool(self.approval or self.wait or self.foreach or self.subflow)

    @property
    def has_children(self) -> bool:
        """Whether the ticket has children."""
        return bool(self.subflow) or self.foreach is not None


class Children(Record):
    """The progress of a ticket with children, in numbers of children."""

    total: int
    """All of them."""
    made: int = 0
    """Those that are tickets already."""
    begun: int = 0
    """Those that may be worked on, or were."""
    completed: int = 0
    """Those that are COMPLETED."""
    failed: int = 0
    """Those that are FAILED or CANCELLED, but for those that may fail."""
    skipped: int = 0
    """Those that are SKIPPED, or that may fail and did."""
    apart: bool = False
    """Whether their outputs stay with them, as they are too large together to be the output of one ticket."""

    @property
    def ended(self) -> int:
        """Those that have ended."""
        return self.completed + self.failed + self.skipped
