"""The ports of the functions, as small protocols. The docstrings are the contract.

Every operation may raise `Unavailable` when its technology does not answer; callers hand the event back to the
broker then. A stored record that cannot be read stops nothing: reads of many records leave it out and fill the page
with those behind it, a read of this one raises `Unreadable` (see `set_aside`). All times are timezone-aware UTC.
Adapters create no clients at import.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from functions._core.events.envelope import CloudEvent
from functions._core.guards.gate import Guards, NoGuards
from functions._core.learning.predictions import NoPredictions, Predictions
from functions._core.placement.fair_queue import QueuePosition
from functions._core.placement.pheromones import NoPheromones, Pheromones
from functions._core.records.audits import AnyAudit, AuditKind
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.set_aside import SetAside
from functions._core.records.statistics import FlowStatistics
from functions._core.records.worker import Answer, Worker
from functions._core.secrets import NoTaskSecrets, TaskSecrets
from functions._core.slo.gate import BudgetGate, OpenGate
from functions._core.slo.outside import FreezeTarget, MetricsServer, NoFreezeTarget, NoMetricsServer
from functions._core.webhooks.delivery import Deliveries

if TYPE_CHECKING:  # cold start: the api alone makes vectors of texts
    from functions._core.insights.semantics import Embeddings


class FlowStore(Protocol):
    """The one owner of flows and tickets. Reads see every commit that was acknowledged before them."""

    async def flow(self, flow_id: str) -> Flow | None:
        """Return the flow's row, or None when there is none."""

    async def tickets(self, ticket_ids: Collection[str], flow_id: str | None = None) -> Mapping[str, Ticket]:
        """Return those of the named tickets that exist, by id; naming the flow that they are of spares a search.

        Tickets that cannot be read are left out; raises `Unreadable` where nothing else was asked for.
        """

    async def decision(self, flow_id: str) -> bytes:
        """Return the stored decision as JSON text; raise `Unavailable` when the flow is not visible."""

    async def tickets_of(self, flow_id: str, *, live_only: bool = False) -> Sequence[Ticket]:
        """Return the tickets of a flow in the order of the plan; `live_only` leaves out the ended ones."""

    async def commit(self, step: ChangeSet) -> None:
        """Apply `step` at once, with its events, or not at all.

        Raises `Conflict`, with nothing changed, when a record's stored version is not that which it was decided on:
        `version - 1`, or as `ChangeSet.bases` has it (absent counts as 0). A store that several processes write also
        raises it when a record in `ChangeSet.seen` has another version. Histories and audits are only ever added to.
        """


class TicketCounts(Protocol):
    """Counts that a decision needs, answered from the same consistent state as `FlowStore`."""

    async def by_status(self, flow_id: str) -> Mapping[str, int]:
        """Return how many tickets of the flow's plan, compensations aside, are in each status; absent ones are zero."""

    async def live(self, flow_id: str, at_most: int) -> int:
        """Return how many tickets of the flow are live (`LIVE_TICKETS`), counting no further than `at_most`."""

    async def active(self) -> Mapping[str, int]:
        """Return how many tickets each worker holds (ASSIGNED or RUNNING), by worker id; both attempts of one count."""

    async def held_by(self, worker_id: str, limit: int) -> Sequence[Ticket]:
        """Return tickets that the worker holds, the oldest assignment first, each as `attempts.held_as` shows it."""

    async def fitting(self, filters: Mapping[str, str], at_most: int, labels: Collection[str] = ()) -> int:
        """Return how many tickets `Views.find_tickets` finds for all of that, counting no further than `at_most`.

        For people: it may be milliseconds old, and a store without an index for a filter looks at all tickets.
        """


@dataclass(frozen=True, slots=True)
class Due:
    """A record whose wake-up has come: a flow, a ticket of it, or a worker."""

    kind: str
    record_id: str
    flow_id: str | None
    at: datetime


class Wakeups(Protocol):
    """The wake-ups of all live records. One may fire early, never late; two sweepers never get the same one."""

    async def claim_due(self, now: datetime, limit: int, lease: timedelta) -> Sequence[Due]:
        """Return up to `limit` records due at `now`, the oldest first; they come due again after `lease`."""

    async def next_due(self) -> datetime | None:
        """Return the earliest wake-up, or None when no record is live."""

    async def claim_waiting(
        self, offers: Collection[str] | None, now: datetime, limit: int, lease: timedelta
    ) -> Sequence[Ticket]:
        """Return up to `limit` tickets waiting for a worker or a slot whose requirement `offers` (None: all) cover.

        `Worker.offers` cover each `Ticket.requirement` that is part of them. The lowest turn first (none counts as 0),
        then by slack and priority score (`Ticket.order`); none is offered again before `lease` is over.
        """

    async def line(self, flow_id: str, requirement: Collection[str]) -> QueuePosition:
        """Return the line in which a ticket of the flow with this `requirement` is to wait."""


class WorkerRegistry(Protocol):
    """The registered workers."""

    async def workers(self) -> Sequence[Worker]:
        """Return all of them, by worker id; may be up to one second old."""

    async def worker(self, worker_id: str) -> Worker | None:
        """Return one of them as it is now."""

    async def put(self, worker: Worker) -> None:
        """Store a worker; raise `Conflict` when the stored version is not `version - 1`."""

    async def remove(self, worker_id: str, version: int) -> bool:
        """Forget a worker that is at `version`; tell whether it was there at that version."""


class Views(Protocol):
    """Pages for people. Cursors are opaque text; None: the beginning, or nothing follows. `labels` are `name:value`."""

    async def flows(
        self, *, status: str | None, cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Flow], str | None]:
        """Return flows, the newest first."""

    async def find_tickets(
        self, filters: Mapping[str, str], cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Ticket], str | None]:
        """Return tickets that all `filters` fit (`TICKET_FILTERS` of the adapters' pages), the oldest first."""

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """Return the transitions of a flow (of all flows for None) with `seq` above `after`, in order."""

    async def last_seq(self) -> int:
        """Return the number behind which `history` of all flows has only what comes from now on; 0 without history."""

    async def audits(
        self, flow_id: str | None, limit: int, *, kind: AuditKind | None = None, valid: bool | None = None
    ) -> Sequence[AnyAudit]:
        """Return audits, the newest first; `valid` is about validations alone."""

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many `flows` and `tickets` there are by status, for metrics and status pages."""


class Statistics(Protocol):
    """Numbers over many flows, which cost no more than a walk along an index."""

    async def flows(self, since: datetime | None) -> FlowStatistics:
        """Return the numbers of all flows that ended at `since` or later (None: ever), and how many are active now."""

    async def ended(self, since: datetime, until: datetime, limit: int) -> Sequence[Flow]:
        """Return flows that ended at `since` or later and before `until`, the last to end first."""

    async def under_way(self, limit: int) -> Sequence[Flow]:
        """Return up to `limit` flows that have not ended, in no particular order."""

    async def deadlines(self) -> Mapping[str, datetime]:
        """Return the earliest deadline of the flows without an outcome whose SLA's time runs, by risk band."""


class Retention(Protocol):
    """Removes records that were kept long enough, a bounded number at a time, the oldest first."""

    async def forget_ended(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` records of flows that ended, and audits of no flow, before `before`; return how many.

        Of a flow its row goes last, so that the rest is found: tickets, transitions, audits, dead letters, decision.
        """

    async def drop_letters(self, keep: int, limit: int) -> int:
        """Drop up to `limit` dead letters so that the `keep` newest are left; return how many were dropped."""

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` deliveries to webhooks that were made before `before`; return how many."""

    async def forget_expired(self, now: datetime, limit: int) -> int:
        """Remove up to `limit` entries of `KeyValues` that have expired; return how many."""


KEY_BYTES, VALUE_BYTES = 512, 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A small record: `value` is JSON text. `version` grows with each put, and no version of a key comes twice."""

    key: str
    value: bytes
    version: int
    expires_at: datetime | None = None


class KeyValues(Protocol):
    """Small records that belong to no flow, by space (a fixed word of the code) and key.

    An entry is not there any more from `expires_at` on, which is kept to the millisecond.
    """

    async def get(self, space: str, key: str) -> Entry | None:
        """Return the entry of a key, None when there is none."""

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        """Store a value in place of that of `version`, 0 where there is none; return the new entry.

        Raises `Conflict` when the stored version is another one, `Rejected` (`not_storable`) for a key of more than
        `KEY_BYTES` (UTF-8) or with a NUL, and for a value of more than `VALUE_BYTES`.
        """

    async def remove(self, space: str, key: str, version: int) -> bool:
        """Remove the entry that is at `version`; tell whether it was there at that version."""

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        """Return up to `limit` entries whose keys are above `after` (None: from the first), by the bytes of keys."""


class DeadLetters(Protocol):
    """Events that could not be handled."""

    async def put(self, letter: DeadLetter) -> None:
        """Keep a dead letter; the same `letter_id` again replaces it."""

    async def letters(self, cursor: str | None, limit: int) -> tuple[Sequence[DeadLetter], str | None]:
        """Return dead letters, the newest first."""

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """Return one dead letter."""

    async def drop(self, letter_id: str) -> bool:
        """Forget a dead letter; tell whether it was there."""


class TelemetryBuffer(Protocol):
    """Telemetry that the sink has not taken yet, in the order in which it was committed (`ChangeSet.telemetry`)."""

    async def oldest(self, limit: int, *, after: int = 0) -> Sequence[tuple[int, datetime, CloudEvent]]:
        """Return the oldest entries behind position `after`, with their positions and the times they were buffered."""

    async def forget(self, positions: Collection[int]) -> None:
        """Remove entries that were published."""

    async def size(self) -> int:
        """Return how many entries wait."""


@dataclass(frozen=True, slots=True)
class Queued:
    """An event in the queue: `position` orders it, `attempts` counts failed tries."""

    position: int
    event: CloudEvent
    attempts: int
    not_before: datetime | None


class EventQueue(Protocol):
    """The outbox as a durable queue: `FlowStore.commit` adds `events` (no id twice) and removes `handled`."""

    async def enqueue(self, events: Sequence[CloudEvent]) -> None:
        """Add events, durable before return; an id that is queued already is not added again."""

    async def pending(self, after: int, limit: int) -> Sequence[Queued]:
        """Return queued events with `position` above `after`, in order: its own, and those that this process took over.

        One that cannot be read is set aside with its raw text, for its dead letter.
        """

    async def take_over(self) -> int:
        """Record the heartbeat of this process, and take over the events of dead processes; return how many."""

    async def postpone(self, event_id: str, attempts: int, not_before: datetime) -> None:
        """Record a failed try and when the next one is due."""

    async def dead_letter(self, event_id: str, letter: DeadLetter) -> None:
        """Move an event to the dead letters in one write."""

    async def depth(self) -> int:
        """Return how many events are queued."""


class TelemetrySink(Protocol):
    """Where telemetry goes: an HTTP endpoint or a file."""

    async def send(self, events: Sequence[CloudEvent]) -> None:
        """Deliver the events in order; raise `Unavailable` when it is not certain that all were taken.

        Raises `Rejected` when one of them will never be taken; others of them may have been taken then.
        """


class Broker(Protocol):
    """Takes events out of this process."""

    async def publish(self, events: Sequence[CloudEvent]) -> None:
        """Hand over the events, durable before return; raise `Unavailable` when that is not certain."""


class WorkerGateway(Protocol):
    """Calls workers."""

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:
        """POST an event to a worker, or several in one batch, for which there is one answer.

        Never raises: an unreachable worker is an `Answer` of status 0. Only a worker that `accepts_batches` is sent
        several, at most `events.assignment.BATCH_SIZE`.
        """


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Return the current time, timezone-aware UTC."""


class Tokens(Protocol):
    """Proofs that a report comes from the worker that holds the attempt, and a message to it from the platform."""

    def mint(
        self,
        *,
        ticket_id: str,
        attempt: int,
        worker_id: str,
        expires_at: datetime,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a token for one attempt at one ticket, with `more` claims for whoever reads it."""

    def claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token that was made here for any ticket; raise `Rejected` with status 401."""

    def verify(self, claims: Mapping[str, Any], *, ticket_id: str) -> None:
        """Raise `Rejected`, status 403, when a token of these claims was made for another ticket."""

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """Return the keys that verify tokens, each as a JWK; none where the key is a secret."""

    def worker_secret(self, worker_id: str, registration: str) -> str:
        """Return the secret, `whsec_…`, that messages to this registration of a worker are signed by."""

    def subscription_secret(self, subscription_id: str, number: int) -> str:
        """Return a secret, `whsec_…`, of a webhook subscription: that of this number."""


Beside = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a pure computation that may take long beside the event loop, where there are threads; raises its error."""


async def at_once(compute: Callable[[], Any]) -> Any:  # noqa: ANN401 what it computes
    """Run a computation now: where there are no threads."""
    return compute()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything a function may use."""

    store: FlowStore
    ticket_counts: TicketCounts
    wakeups: Wakeups
    registry: WorkerRegistry
    views: Views
    statistics: Statistics
    retention: Retention
    key_values: KeyValues
    dead_letters: DeadLetters
    deliveries: Deliveries
    telemetry_buffer: TelemetryBuffer
    telemetry_sink: TelemetrySink
    gateway: WorkerGateway
    clock: Clock
    tokens: Tokens
    set_aside: SetAside = field(default_factory=SetAside)
    pheromones: Pheromones = field(default_factory=NoPheromones)
    task_secrets: TaskSecrets = field(default_factory=NoTaskSecrets)
    budget_gate: BudgetGate = field(default_factory=OpenGate)
    metrics_server: MetricsServer = field(default_factory=NoMetricsServer)
    guards: Guards = field(default_factory=NoGuards)
    freeze_target: FreezeTarget = field(default_factory=NoFreezeTarget)
    predictions: Predictions = field(default_factory=NoPredictions)
    embeddings: "Embeddings | None" = None
    beside: Beside = at_once
