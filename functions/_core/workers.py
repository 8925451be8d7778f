"""What is known of workers: how registrations, heartbeats and silence change a worker's row."""

from datetime import datetime

from pydantic import Field, field_validator

from functions._core.models import Worker, WorkerTelemetry
from functions._core.ranking import health_of
from functions._core.rules import Rules
from functions._core.values import Health, JsonObject, Record

DEFAULT_SLOTS = 10
MAX_SLOTS = 10_000
MAX_CAPABILITIES = 200


class Running(Record):
    """One ticket that a worker says it is working on."""

    ticket_id: str
    attempt: int


class Registration(Record):
    """Data of `worker.registered`: who a worker is and what it can do.

    `slots` is how many tickets it takes at once; `running` as in `Heartbeat`.
    """

    worker_id: str = Field(min_length=1, max_length=255, pattern=r"^[\w.:-]+$")
    endpoint: str = Field(min_length=1, max_length=2048, pattern=r"^https?://")
    capabilities: tuple[str, ...] = Field(default=(), max_length=MAX_CAPABILITIES)
    slots: int = Field(default=DEFAULT_SLOTS, ge=1, le=MAX_SLOTS)
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


def registered(known: Worker | None, registration: Registration, now: datetime, rules: Rules) -> Worker:
    """Return the worker's new row; registering again replaces what the worker is and can do."""
    return Worker(
        worker_id=registration.worker_id,
        endpoint=registration.endpoint,
        capabilities=registration.capabilities,
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
