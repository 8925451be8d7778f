"""What is known of workers: how registrations, heartbeats and silence change a worker's row."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from functions._core.ranking import health_of
from functions._core.rules import Rules
from functions._core.step import Step
from functions._core.values import Health, JsonObject, Record, SecurityLevel, Timestamp, WholeNumber
from functions._core.worker_record import Worker, WorkerTelemetry

DEFAULT_SLOTS = 10
MAX_SLOTS = 10_000
MAX_CAPABILITIES = 200

Clearance = Annotated[SecurityLevel, BeforeValidator(lambda word: SecurityLevel.INTERNAL if word is None else word)]
"""A security level that may be left out: what is not known to be cleared for more is cleared for INTERNAL."""


class Running(Record):
    """One ticket that a worker says it is working on."""

    ticket_id: str
    attempt: WholeNumber


class Registration(Record):
    """Data of `worker.registered`: who a worker is and what it can do.

    `clearance` is the highest security level that it may see. `slots` is how many tickets it takes at once; `running`
    as in `Heartbeat`.
    """

    worker_id: str = Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.:-]+$")
    endpoint: str = Field(min_length=1, max_length=2048, pattern=r"^https?://[^\s/?#]+")
    capabilities: tuple[str, ...] = Field(default=(), max_length=MAX_CAPABILITIES)
    clearance: Clearance = SecurityLevel.INTERNAL
    slots: WholeNumber = Field(default=DEFAULT_SLOTS, ge=1, le=MAX_SLOTS)
    metadata: JsonObject = Field(default_factory=dict)
    telemetry: WorkerTelemetry = WorkerTelemetry()
    running: tuple[Running, ...] | None = Field(default=None, max_length=MAX_SLOTS)

    @field_validator("capabilities")
    @classmethod
    def _one_spelling(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({capability.strip().lower() for capability in value if capability.strip()}))


class Heartbeat(Record):
    """Data of `worker.heartbeat`: a sign of life, with what the worker thinks of itself.

    `running` are all tickets that it has accepted and not reported as ended; what it holds by our books and does
    not name is given to another worker. None says nothing about it.
    """

    worker_id: str = ""
    status: Health = Health.HEALTHY
    telemetry: WorkerTelemetry | None = None
    running: tuple[Running, ...] | None = Field(default=None, max_length=MAX_SLOTS)


class Deregistration(Record):
    """Data of `worker.deregistered`: a worker leaves in good order."""

    worker_id: str
    reason: str = ""


class Verdict(Record):
    """What an attempt says of the worker that made it: it went well, or the worker was to blame, and for what."""

    worker_id: str
    succeeded: bool
    why: str = ""


BLAMED = frozenset({"timed_out", "heartbeat_lost", "worker_unreachable", "worker_refused"})
"""Ends of an attempt that the worker is to blame for; what its task reports is the task's own affair."""


def verdicts_of(step: Step) -> Iterator[Verdict]:
    """Yield what the attempts that ended in a step say of their workers."""
    for entry in step.history:
        if entry.worker_id is None or entry.ticket_id is None:
            continue
        if entry.type == "ticket.completed":
            yield Verdict(worker_id=entry.worker_id, succeeded=True)
        elif entry.cause in BLAMED:
            yield Verdict(worker_id=entry.worker_id, succeeded=False, why=entry.cause)


def judged(worker: Worker, verdict: Verdict, now: datetime, rules: Rules) -> Worker | None:
    """Return the worker's row after a verdict, or None when it stays as it is: a circuit breaker.

    After `breaker_failures` in a row the worker gets nothing for `breaker_pause`; then one more failure suspends it
    again, and `breaker_successes` clear it.
    """
    if not verdict.succeeded:
        failures = worker.failures + 1
        until = now + rules.breaker_pause if failures >= rules.breaker_failures else worker.suspended_until
        return worker.but(failures=failures, successes=0, suspended_until=until, version=worker.version + 1)
    if not worker.failures:
        return None
    successes = worker.successes + 1
    if worker.suspended_until is None or successes >= rules.breaker_successes:
        return worker.but(failures=0, successes=0, suspended_until=None, version=worker.version + 1)
    return worker.but(successes=successes, version=worker.version + 1)


def suspended(worker: Worker, now: datetime) -> bool:
    """Whether the worker gets nothing at the moment because of what it was to blame for."""
    return worker.suspended_until is not None and now < worker.suspended_until


class Suspension(Record):
    """Data of `worker.suspended`: a worker gets nothing until then, after so many failures in a row."""

    worker_id: str
    failures: int
    until: Timestamp
    why: str


def registered(known: Worker | None, registration: Registration, now: datetime, rules: Rules) -> Worker:
    """Return the worker's new row; registering again replaces what the worker is and can do."""
    return Worker(
        worker_id=registration.worker_id,
        endpoint=registration.endpoint,
        capabilities=registration.capabilities,
        clearance=registration.clearance,
        slots=registration.slots,
        metadata=registration.metadata,
        telemetry=registration.telemetry,
        registered_at=known.registered_at if known else now,
        last_seen=now,
        next_wakeup_at=now + rules.unhealthy,
        version=known.version + 1 if known else 1,
    )


def heard(worker: Worker, heartbeat: Heartbeat, now: datetime, rules: Rules) -> Worker:
    """Return the worker's row after a sign of life; the registry's clock counts, not the worker's."""
    return worker.but(
        reported=heartbeat.status,
        announced=Health.HEALTHY if heartbeat.status is not Health.UNHEALTHY else worker.announced,
        telemetry=heartbeat.telemetry or worker.telemetry,
        last_seen=max(now, worker.last_seen),
        next_wakeup_at=now + rules.unhealthy,
        version=worker.version + 1,
    )


def excused(worker: Worker, now: datetime, rules: Rules) -> Worker:
    """Return the worker's row after the platform was down: silence in that time says nothing about the worker."""
    heard = max(worker.last_seen, now - rules.heartbeat)
    return worker.but(last_seen=heard, next_wakeup_at=heard + rules.unhealthy, version=worker.version + 1)


def silent(worker: Worker, now: datetime, rules: Rules) -> Worker | None:
    """Return the worker's row after its wake-up: as it is, announced UNHEALTHY, or None when it is to be forgotten."""
    if now - worker.last_seen >= rules.removed:
        return None
    if health_of(worker, now, rules) is Health.UNHEALTHY:
        return worker.but(
            announced=Health.UNHEALTHY,
            next_wakeup_at=worker.last_seen + rules.removed,
            version=worker.version + 1,
        )
    return worker.but(next_wakeup_at=worker.last_seen + rules.unhealthy, version=worker.version + 1)
