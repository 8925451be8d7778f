"""What a function may conclude. Each is a plain value; `advance` turns it into a `Step`.

Names say what happened, never what to do about it: that is the state machine's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from functions._core.envelope import CloudEvent
from functions._core.models import Candidate, Reason, Refusal, Ticket
from functions._core.ports import Answer
from functions._core.reports import Report
from functions._core.values import Priority, RiskBand, Timestamp, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """C1: the plan can be done."""

    plan_id: str
    intent_id: str
    correlation_id: str | None
    priority: Priority
    risk_band: RiskBand
    sla_deadline: Timestamp
    tasks: int
    levels: int
    critical_path_ms: int
    schema_version: int
    warnings: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """C1: the decision or its plan cannot or must not be carried out; every reason is listed."""

    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...] = ()
    plan_id: str | None = None
    intent_id: str | None = None
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class Generated:
    """C2: the tickets of the plan."""

    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Discovered:
    """C3: ranked workers for some tickets, a cause to wait for the others, each with the workers left out."""

    found: Mapping[str, tuple[Candidate, ...]]
    waiting: Mapping[str, Waiting]
    refusals: Mapping[str, tuple[Refusal, ...]]


@dataclass(frozen=True, slots=True)
class Assigned:
    """C4: the worker chosen for each ticket, and the tickets whose candidates are all taken by now."""

    chosen: Mapping[str, str]
    candidates: Mapping[str, tuple[Candidate, ...]]
    crowded: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The other tickets of the flow that one ticket's end touches, as far as they are needed.

    `dependants` of a ticket that succeeded; the `live` ones among all that depend on a ticket that fails for good;
    the counts by status (`tally`) of all tickets unless others are known to go on.
    """

    dependants: Mapping[str, Ticket] = field(default_factory=dict)
    live: Sequence[Ticket] = ()
    tally: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """C4: what workers answered, by ticket id: the attempt that was delivered and the answer to it.

    `around` is loaded for tickets that may fail by it.
    """

    answers: Mapping[str, tuple[int, Answer]]
    around: Mapping[str, Surroundings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reported:
    """C5: a worker's word on its ticket.

    `released` are tickets, perhaps of other flows, that can use the slot that became free.
    """

    report: Report
    around: Surroundings = Surroundings()
    released: Sequence[Ticket] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """C5: no ticket of the flow is live any more."""

    tally: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """C5: a person wants the flow to stop."""

    live: Sequence[Ticket]
    tally: Mapping[str, int]
    requested_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """C5: a worker is gone, and with it what it was doing: these attempts, by ticket id.

    `around` is loaded for tickets that fail by it.
    """

    worker_id: str
    why: str
    attempts: Mapping[str, int] = field(default_factory=dict)
    around: Mapping[str, Surroundings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TelemetryTaken:
    """C6: the sink has everything."""


@dataclass(frozen=True, slots=True)
class TelemetryKept:
    """C6: the sink is away; the events wait in the buffer."""

    events: tuple[CloudEvent, ...]


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """SLA: the flow's deadline is here."""

    live: Sequence[Ticket]
    tally: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class NothingHappened:
    """SLA: an event of the flow's present status had no effect so far; it is sent again."""


@dataclass(frozen=True, slots=True)
class WokenEarly:
    """SLA: the flow's wake-up fired before its time; it is only set again."""


@dataclass(frozen=True, slots=True)
class TicketOverdue:
    """SLA: a ticket's wake-up has come. `capable` tells whether a living worker offers what it asks for."""

    ticket_id: str
    around: Surroundings = Surroundings()
    capable: bool = False


@dataclass(frozen=True, slots=True)
class Broke:
    """A function failed on its event so often that its step is given up."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The event had been handled before, or came too late: nothing changes, and that is a success."""


AnyOutcome = (
    Validated
    | Refused
    | Generated
    | Discovered
    | Assigned
    | Delivered
    | Reported
    | Settled
    | CancelRequested
    | WorkerLost
    | TelemetryTaken
    | TelemetryKept
    | DeadlinePassed
    | NothingHappened
    | WokenEarly
    | TicketOverdue
    | Broke
    | Duplicate
)
