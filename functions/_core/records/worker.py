"""The record of a worker."""

from collections.abc import Mapping
from typing import Any

from functions._core.records.record import Record
from functions._core.records.values import CLEARANCES, Health, Number, SecurityLevel, Timestamp, WholeNumber, Word


class AssignmentMode(Word):
    """How tickets get to a worker; lower case on every wire."""

    PUSH = "push"
    PULL = "pull"


NOT_ASKED_FOR = "not_asked_for"
"""Why a ticket is taken from a worker that asks for its tickets, and has not done so in time."""


class WorkerTelemetry(Record):
    """What a worker says of its own record; unknown is None, never zero."""

    success_rate: Number | None = None
    """Share of its tasks that succeed, 0 to 1; null: unknown."""
    total_executions: WholeNumber | None = None
    """How many tasks it has done; null: unknown."""
    avg_duration_ms: Number | None = None
    """Average duration of its tasks, in milliseconds; null: unknown."""


class Worker(Record):
    """A registered worker. It gets tickets up to the security level of its `clearance`.

    Its health follows from `last_seen` and the clock, and from its own word in `reported`. The fields `failures`,
    `successes`, `suspended_until`, `doubt`, `trial` and `trial_until` are the state of its circuit breaker.
    """

    worker_id: str
    """Id of the worker, as it chose it."""
    endpoint: str
    """The URL to which assignments are POSTed; empty where the worker asks for them and names none."""
    delivery: AssignmentMode = AssignmentMode.PUSH
    """Whether assignments are POSTed to it (`push`), or it asks for them (`pull`)."""
    capabilities: tuple[str, ...] = ()
    """The capabilities that it offers; lower case, sorted."""
    clearance: SecurityLevel = SecurityLevel.INTERNAL
    """The highest security level of the tickets that it may get."""
    slots: int = 10
    """How many tickets it takes at once."""
    accepts_batches: bool = False
    """Whether it takes several assignments in one message."""
    metadata: Mapping[str, Any] = {}
    """Anything that the worker keeps with it; nothing here depends on it."""
    telemetry: WorkerTelemetry = WorkerTelemetry()
    """The figures that the worker states of itself."""
    reported: Health = Health.HEALTHY
    """The health that its last heartbeat stated."""
    announced: Health = Health.HEALTHY
    """The health that was announced last, so that each loss of the worker is announced once."""
    failures: int = 0
    """Failures in a row that it was to blame for, beside its tasks' own errors."""
    successes: int = 0
    """Successes since its last failure; enough of them close its circuit breaker."""
    suspended_until: Timestamp | None = None
    """Until when its circuit breaker is open; it stays set while half-open, None when closed."""
    registered_at: Timestamp
    """When it registered for the first time."""
    last_seen: Timestamp
    """When it was last heard of, by the clock of the registry; its health follows from this and the clock."""
    next_wakeup_at: Timestamp
    """When it is looked at again if it stays silent."""
    version: int = 1
    """1 at first, one more with every committed change; a commit succeeds only on the version it read."""
    registration: str = ""
    """Name of the present registration: its time and version; each registration has another one."""
    doubt: str = ""
    """The cause of its last failure, as in `WorkerVerdict.why`; empty without one."""
    trial: str | None = None
    """Ticket and attempt that its half-open circuit breaker lets through; None when the place is free."""
    trial_until: Timestamp | None = None
    """Until when that attempt holds the place at most."""

    @property
    def offers(self) -> frozenset[str]:
        """Everything that the worker offers, in the words of `Ticket.requirement`."""
        return CLEARANCES[self.clearance].union(self.capabilities)
