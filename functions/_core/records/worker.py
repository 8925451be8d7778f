"""The record of a worker."""

from collections.abc import Mapping
from typing import Any

from functions._core.records.values import CLEARANCES, Health, Number, Record, SecurityLevel, Timestamp, WholeNumber


class WorkerTelemetry(Record):
    """What a worker says of its own record; unknown is None, never zero."""

    success_rate: Number | None = None
    total_executions: WholeNumber | None = None
    avg_duration_ms: Number | None = None


class Worker(Record):
    """A registered worker. It gets tickets up to the security level of its `clearance`.

    Its health follows from `last_seen` and the clock; nothing else decides it. `announced` is the health that was last
    made known to others by an event. `slots` is how many tickets it takes at once. `failures` counts in a row what it
    was to blame for, beside its tasks' own errors, `doubt` says what the last one was; until `suspended_until` it gets
    nothing because of them, and `successes` counts what went well after that. Then it gets one attempt at a time:
    `trial`, ticket and attempt, which holds the place until `trial_until` at most. `registration` tells one
    registration of the worker from another.
    """

    worker_id: str
    endpoint: str
    capabilities: tuple[str, ...] = ()
    clearance: SecurityLevel = SecurityLevel.INTERNAL
    slots: int = 10
    metadata: Mapping[str, Any] = {}
    telemetry: WorkerTelemetry = WorkerTelemetry()
    reported: Health = Health.HEALTHY
    announced: Health = Health.HEALTHY
    failures: int = 0
    successes: int = 0
    suspended_until: Timestamp | None = None
    registered_at: Timestamp
    last_seen: Timestamp
    next_wakeup_at: Timestamp
    version: int = 1
    registration: str = ""
    doubt: str = ""
    trial: str | None = None
    trial_until: Timestamp | None = None

    @property
    def offers(self) -> frozenset[str]:
        """What the worker has of that which tickets require (`Ticket.requirement`)."""
        return CLEARANCES[self.clearance].union(self.capabilities)
