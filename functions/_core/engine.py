"""The operations of the platform for an entry point: HTTP, a broker's subscription, a schedule."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from functions._core.events.commands import AnyCommand
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import Report
from functions._core.placement.leasing import Leased, LeaseRequest
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow
from functions._core.records.worker import Worker

if TYPE_CHECKING:  # cold start: few functions have to do with SLOs
    from functions._core.healing.rehearsing import Rehearsal
    from functions._core.slo.budget import ErrorBudget
    from functions._core.slo.flow_policies import PolicyApplication
    from functions._core.slo.freezing import FreezeEvent


@dataclass(frozen=True, slots=True)
class ReportResult:
    """The answer to a report or a heartbeat.

    `result` of a report: `recorded`; `duplicate` when it is known already; `superseded` when another attempt
    or the ticket's end came first. `cancel` names the tickets that the worker should stop.
    """

    result: str
    cancel: tuple[str, ...] = ()


TakenResult = Literal["matched", "kept", "duplicate"]


@dataclass(frozen=True, slots=True)
class EventTaken:
    """The answer to an event of a user.

    `result`: `matched`, it has ended the wait of the ticket that is named; `kept` for a wait that may come, up to
    `kept_until`; `duplicate` when it is known already.
    """

    result: TakenResult
    flow_id: str | None = None
    ticket_id: str | None = None
    kept_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The changes of a command, made or only tried: the flow afterwards and the transitions, in order."""

    flow: Flow
    changes: tuple[HistoryEntry, ...]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class FlushResult:
    """The result of sending the telemetry that waited: `sent` events, and `lost` ones, which are dead letters now.

    `away` says why the sink takes no more; None when nothing more was to be sent.
    """

    sent: int
    lost: int
    away: str | None = None


REGISTRY = "the registry"
"""What to wait for in place of a flow: a change of the registry."""


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The state of a process that can be told without asking anybody.

    `consumer` says whether this process handles events of the chain, or others do. `lag` is how many wait here, None
    where others do. The last event that was handled, and the last decision, are those of this process. `sink_away` says
    why the telemetry sink took nothing when it was tried last; None when it did, or was not tried here.
    """

    consumer: Literal["running", "stopped", "elsewhere"] = "elsewhere"
    lag: int | None = None
    last_event_at: datetime | None = None
    last_decision_at: datetime | None = None
    sink_away: str | None = None


class Engine(Protocol):
    """The platform as the api sees it. Every change is durable when its call returns.

    Every call may raise `Unavailable` or `Conflict`: try again later.
    """

    async def admit(self, event: CloudEvent) -> str:
        """Take in a decision and return its flow id; the same decision again is the same flow.

        Raises `Rejected`: no usable decision id, or (code `decision_conflict`, status 422) the id is known with
        other content; the first content stays, the second is kept as a dead letter.
        """

    async def report(self, event: CloudEvent, report: Report | None = None) -> ReportResult:
        """Take in a worker's report whose token has been verified and removed; `report` is its data, where it was read.

        Raises `Rejected` when its data is no report, or (status 404) the ticket is unknown.
        """

    async def take_event(self, event: CloudEvent) -> EventTaken:
        """Take in an event of a type of the user's own, for the one ticket that waits for it now or later.

        Raises `Rejected`: 413 for one that is too large, 422 for one that has expired or whose `expirytime` is no time,
        429 where too many of its type are kept already and no ticket waits for this one.
        """

    async def order(self, order: AnyCommand, *, order_id: str | None = None) -> CommandResult:
        """Carry out the command of a person; with its `dry_run` only return the changes that it would make.

        A command whose id was carried out before, or whose result is there already, changes nothing. Raises
        `Rejected`: status 404 for an unknown flow or ticket, 409 for a command that is not possible now.
        """

    def flow_policies_changed(self) -> None:
        """Take note that flow SLA policies were changed here; other processes do so within seconds."""

    def playbooks_changed(self) -> None:
        """Take note that playbooks were changed here; other processes do so within seconds."""

    async def heal_alert(self, key: str, labels: Mapping[str, str]) -> bool:
        """Let playbooks heal what an alert says of the flow that its label `flow_id` names; tell whether one may.

        The same `key` again is the same incident. An alert that names no flow that is there heals nothing.
        """

    async def rehearse_healing(self, flow_id: str, incident_id: str | None, playbook: str | None) -> "Rehearsal":
        """Return what a playbook (None: the one that is for it) would do about an incident (None: the newest).

        Raises `Rejected`, status 404, for an unknown flow, incident or playbook.
        """

    async def policies_applied(self, flow_id: str) -> Sequence["PolicyApplication"]:
        """Return what flow SLA policies have done for a flow, the first first; nothing where none act."""

    async def recheck(self, flow_id: str) -> Flow:
        """Look at a flow, which is known to exist, now instead of at its wake-up; return it as it is then."""

    async def register(self, registration: Registration) -> Worker:
        """Take in a worker, or its new registration; tickets that wait for it are released."""

    async def heartbeat(self, worker_id: str, heartbeat: Heartbeat) -> ReportResult:
        """Take in a heartbeat; raises `Rejected`, status 404, when the worker has to register first."""

    async def lease(self, asked: LeaseRequest, gone: Callable[[], Awaitable[bool]]) -> Leased:
        """Give a worker that asks for its tickets some of them, as soon as there are any or its wait is over.

        They are acknowledged. A client that is `gone` while it waits is given none, and neither is one that has been
        followed by a newer request of its worker. Raises `Rejected`: status 404 when the worker has to register first,
        409 when it is sent its tickets.
        """

    async def deregister(self, worker_id: str, reason: str) -> bool:
        """Forget a worker and give its tickets to others; tell whether it was known."""

    async def drain(self, worker_id: str, *, draining: bool) -> Worker:
        """Give a worker no new tickets, or give it some again; raises `Rejected`, status 404, for an unknown one."""

    async def flush_telemetry(self, intent_id: str | None) -> FlushResult:
        """Send the telemetry that waits for the sink, of one intent or all of it; return the result."""

    async def replay(self, letter_id: str) -> DeadLetter:
        """Queue the event of a dead letter again and drop the dead letter. Raises `Rejected`, status 404."""

    async def recalculate(self, slo_id: str) -> "ErrorBudget":
        """Calculate the budget of an SLO now, and send its events.

        Raises `Rejected`: 404 for an unknown or deleted SLO, 409 (`no_data`) where a query finds nothing, and
        (`counting`) while the own history is not counted yet; of the server of metrics 502 (`metrics_query_failed`)
        when it answers with an error, 504 (`metrics_away`) when it does not answer. The last budget stays then.
        """

    async def enforce_policies(self, slo_id: str | None = None) -> Sequence["FreezeEvent"]:
        """Begin and end the freezes that the budget of an SLO (None: of all) asks for; return those, and tell them."""

    async def resolve_freeze(self, event_id: str, by: str, reason: str) -> "FreezeEvent":
        """End a freeze by hand, and tell it. Raises `Rejected`: 404 for an unknown freeze, 409 for one that ended."""
