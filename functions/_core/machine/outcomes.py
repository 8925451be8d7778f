"""What a function may conclude. Each is a plain value; `advance` turns it into a `Step`.

Names say what happened, never what to do about it: that is the state machine's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from functions._core.events.commands import AnyOrder
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import Report
from functions._core.ports import Answer
from functions._core.records.models import Candidate, Reason, Refusal, Ticket
from functions._core.records.values import Priority, RiskBand, Timestamp, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """C1: the plan can be done.

    `approval` says why a person has to agree first, `impossible` why its estimates do not fit into the SLA.
    """

    plan_id: str
    intent_id: str
    correlation_id: str | None
    priority: Priority
    risk_band: RiskBand
    sla_deadline: Timestamp
    sla_limit: Timestamp | None = None
    approval: tuple[Reason, ...] = ()
    impossible: Reason | None = None
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
    """C3: ranked workers for some tickets; for the others what they wait for, the workers left out, and their turn."""

    found: Mapping[str, tuple[Candidate, ...]]
    waiting: Mapping[str, Waiting]
    refusals: Mapping[str, tuple[Refusal, ...]]
    turns: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assigned:
    """C4: the worker chosen for each ticket, and the turns of the tickets whose candidates are all taken by now."""

    chosen: Mapping[str, str]
    candidates: Mapping[str, tuple[Candidate, ...]]
    crowded: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedTickets:
    """The other tickets of the flow that the ends of some tickets touch, as far as they are needed.

    `dependants` of those that succeeded; the `live` ones among all that depend on those that fail for good;
    the counts by status (`tally`) of all tickets unless others are known to go on. `goes_on` says that something
    else is live for certain. `undone` are the tickets whose work compensations among all of these undo, by id.
    """

    dependants: Mapping[str, Ticket] = field(default_factory=dict)
    live: Sequence[Ticket] = ()
    tally: Mapping[str, int] | None = None
    goes_on: bool = False
    undone: Mapping[str, Ticket] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivered:
    """C4: what workers answered, by ticket id: the attempt that was delivered and the answer to it.

    `around` is loaded for tickets that may fail by it.
    """

    answers: Mapping[str, tuple[int, Answer]]
    around: Mapping[str, RelatedTickets] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reported:
    """C5: what workers say of tickets of one flow, of each ticket once.

    `released` are tickets, perhaps of other flows, that can use the slots that became free.
    """

    reports: Sequence[Report]
    around: RelatedTickets = RelatedTickets()
    released: Sequence[Ticket] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """C5: no ticket of the flow is live any more."""

    tally: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Commanded:
    """C5: a person has given an order about a flow or one of its tickets.

    `live` are the live tickets of the flow and `tally` the counts by status where the order touches them all, `around`
    is loaded for the ticket that it names. `redriven` are the tickets to be done again, with the timings and open
    dependencies that they have then, by the flow's new `deadline`; `standing` those whose work could not be undone.
    """

    order: AnyOrder
    order_id: str
    live: Sequence[Ticket] = ()
    tally: Mapping[str, int] = field(default_factory=dict)
    around: RelatedTickets = RelatedTickets()
    redriven: Sequence[Ticket] = ()
    standing: Sequence[Ticket] = ()
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class NobodyDecided:
    """SLA: nobody has approved the flow in time."""


@dataclass(frozen=True, slots=True)
class PauseOver:
    """SLA: a pause has lasted as long as it may."""

    live: Sequence[Ticket]
    tally: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AtRisk:
    """SLA: most of the flow's time is used up."""


@dataclass(frozen=True, slots=True)
class CompensationPlanned:
    """C5: the tickets that undo what was done, and the tickets whose work they undo."""

    compensations: Sequence[Ticket]
    originals: Sequence[Ticket]


@dataclass(frozen=True, slots=True)
class CompensationOverdue:
    """SLA: undoing has taken as long as it may; `undone` are the tickets that live compensations undo."""

    live: Sequence[Ticket]
    tally: Mapping[str, int]
    undone: Mapping[str, Ticket]


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """C5: a worker is gone, and with it what it was doing: these attempts, by ticket id.

    `around` is loaded for tickets that fail by it.
    """

    worker_id: str
    why: str
    attempts: Mapping[str, int] = field(default_factory=dict)
    around: Mapping[str, RelatedTickets] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TelemetryTaken:
    """C6: the sink has everything but what it `refused`, which are ids of dead letters.

    `findings` are what is wrong with the flow's records.
    """

    findings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TelemetryKept:
    """C6: the sink is away; the events wait in the buffer. `findings` and `refused` as in `TelemetryTaken`."""

    events: tuple[CloudEvent, ...]
    findings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


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
    around: RelatedTickets = RelatedTickets()
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
    | Commanded
    | NobodyDecided
    | PauseOver
    | AtRisk
    | CompensationPlanned
    | CompensationOverdue
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
