"""The changes of a worker's row by registrations, heartbeats and silence; `breaker` has those by its attempts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from functions._core.errors import Rejected
from functions._core.placement.breaker import BreakerOrder, Trial, WorkerVerdict
from functions._core.placement.ranking import health_of
from functions._core.ports import Due
from functions._core.records.record import encode
from functions._core.records.values import (
    FIRST_FAULT,
    Health,
    JsonObject,
    Model,
    SecurityLevel,
    Texts,
    WholeNumber,
    a_number,
    format_time,
)
from functions._core.records.worker import (
    OWN_AGENTS,
    OWN_ANALYST,
    OWN_WORKER,
    AgentType,
    AssignmentMode,
    Worker,
    WorkerTelemetry,
)
from functions._core.rules import Rules

DEFAULT_SLOTS = 10
"""Slots of a worker that names none."""

MAX_SLOTS = 10_000
"""Slots of one worker at most; more is a mistake, and the list of running tickets must stay readable."""

MAX_PULL_SLOTS = 1_000
"""Slots of a worker that asks for its tickets: all that it holds are looked at whenever it asks."""

MAX_CAPABILITIES = 200
"""Capabilities of one worker at most: each ticket that waits is compared with all of them."""

MAX_STATED = 8 * 1024
"""Characters of the capabilities of one worker, and bytes of its metadata as JSON: a page has hundreds of workers."""

Clearance = Annotated[
    SecurityLevel,
    BeforeValidator(
        lambda word: SecurityLevel.INTERNAL if word is None else word, json_schema_input_type=SecurityLevel | None
    ),
]
"""A security level that may be left out: without one a worker is cleared for INTERNAL."""


A_NUMBER = BeforeValidator(a_number)
"""A number that is written as a number: text and truth values are refused."""

MAX_COUNT = 10**15
"""The largest count, and the longest time in milliseconds, that a worker may say of itself: all stores can hold it."""


class StatedTelemetry(Model):
    """What a worker states of its own record, as it arrives; unknown is None, never zero."""

    # The bounds are not those of a row: one that was stored before they were there is still read.
    success_rate: Annotated[float, Field(ge=0, le=1), A_NUMBER] | None = None
    """Share of its tasks that succeed, 0 to 1; null: unknown."""
    total_executions: Annotated[int, Field(ge=0, le=MAX_COUNT), A_NUMBER] | None = None
    """How many tasks it has done; null: unknown."""
    avg_duration_ms: Annotated[float, Field(ge=0, le=MAX_COUNT), A_NUMBER] | None = None
    """Average duration of its tasks, in milliseconds; null: unknown."""
    active_tasks: Annotated[int, Field(ge=0, le=MAX_COUNT), A_NUMBER] | None = None
    """How many tasks it is doing, by its own count; null: unknown."""
    cpu: Annotated[float, Field(ge=0, le=1), A_NUMBER] | None = None
    """Share of its processors in use, 0 to 1; null: unknown."""
    memory: Annotated[float, Field(ge=0, le=1), A_NUMBER] | None = None
    """Share of its memory in use, 0 to 1; null: unknown."""
    latency_ms: Annotated[float, Field(ge=0, le=MAX_COUNT), A_NUMBER] | None = None
    """How long it takes to answer, in milliseconds; null: unknown."""

    @property
    def kept(self) -> WorkerTelemetry:
        """The telemetry as a row keeps it."""
        return WorkerTelemetry(**dict(self))


class Running(Model):
    """One ticket that a worker says it is working on."""

    ticket_id: str
    """Id of the ticket: a UUIDv5 of flow id and task id."""
    attempt: WholeNumber
    """The attempt that it works on."""


class Registration(Model):
    """Data of `worker.registered`: who a worker is and what it can do.

    `clearance` is the highest security level that it may see. `slots` is how many tickets it takes at once; `running`
    as in `Heartbeat`.
    """

    worker_id: str = Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.:-]+$")
    """Id of the worker; registering again replaces what is known of it."""
    delivery: AssignmentMode = AssignmentMode.PUSH
    """How tickets get to the worker: `push`, POSTed to its endpoint, or `pull`, when the worker asks for them."""
    endpoint: str = Field(default="", max_length=2048, pattern=r"^(https?://[^\s/?#]+|$)", validate_default=True)
    """Where assignments are POSTed to; required with `push`, not used with `pull`."""
    agent_type: AgentType = AgentType.WORKER
    """What it is for; a WORKER and a FORGE get tickets."""
    capabilities: Texts = Field(default=(), max_length=MAX_CAPABILITIES)
    """What the worker can do, in its own words; compared in lower case. At most 8 KiB of text together."""
    clearance: Clearance = SecurityLevel.INTERNAL
    """The highest security level of the tickets that the worker may get; INTERNAL where it is left out."""
    slots: WholeNumber = Field(default=DEFAULT_SLOTS, ge=1, le=MAX_SLOTS)
    """How many tickets the worker takes at once."""
    accepts_batches: bool = False
    """Whether the worker takes several assignments in one message, a batch of CloudEvents."""
    metadata: JsonObject = Field(default_factory=dict)
    """Anything the sender wants to keep with it; nothing here depends on it. At most 8 KiB of JSON."""
    telemetry: StatedTelemetry = StatedTelemetry()
    """What the worker says of its own record."""
    running: Annotated[tuple[Running, ...], FIRST_FAULT] | None = Field(default=None, max_length=MAX_SLOTS)
    """All tickets that the worker has accepted and not reported as ended; null or absent says nothing."""

    @field_validator("endpoint")
    @classmethod
    def _where_to_push(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("delivery") is AssignmentMode.PUSH:
            raise ValueError("is missing: say where assignments are POSTed to, or ask for them with delivery: pull")
        return value

    @field_validator("slots")
    @classmethod
    def _as_many_as_are_leased(cls, value: int, info: ValidationInfo) -> int:
        if value > MAX_PULL_SLOTS and info.data.get("delivery") is AssignmentMode.PULL:
            raise ValueError(f"a worker that asks for its tickets has at most {MAX_PULL_SLOTS} slots")
        return value

    @field_validator("capabilities")
    @classmethod
    def _one_spelling(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if sum(map(len, value)) > MAX_STATED:
            raise ValueError(f"have at most {MAX_STATED} characters together")
        return tuple(sorted({capability.strip().lower() for capability in value if capability.strip()}))

    @field_validator("metadata")
    @classmethod
    def _small(cls, value: JsonObject) -> JsonObject:
        if value and len(encode(value)) > MAX_STATED:
            raise ValueError(f"has at most {MAX_STATED} bytes of JSON")
        return value


class Heartbeat(Model):
    """Data of `worker.heartbeat`: a sign of life, with what the worker thinks of itself.

    `running` are all tickets that it has accepted and not reported as ended; what it holds by our records and does
    not name is given to another worker. None says nothing about it.
    """

    worker_id: str = ""
    """Id of the worker; may be left out where the event's subject says it."""
    status: Health = Health.HEALTHY
    """How the worker feels; silence counts more than words."""
    telemetry: StatedTelemetry | None = None
    """What the worker says of its own record."""
    running: Annotated[tuple[Running, ...], FIRST_FAULT] | None = Field(default=None, max_length=MAX_SLOTS)
    """All tickets that the worker has accepted and not reported as ended; null or absent says nothing."""


class Deregistration(Model):
    """Data of `worker.deregistered`: a worker leaves in good order."""

    worker_id: str
    """Id of the worker."""
    reason: str = ""
    """Why it leaves, for people."""


class Drain(Model):
    """The wish that a worker gets no new tickets, or gets them again; it finishes those that it has."""

    worker_id: str
    """Id of the worker."""
    draining: bool
    """True: no new tickets; False: as before."""


OWN_LOOK = timedelta(days=1)
"""How often the row of the platform's own worker is looked at: only its circuit breaker needs that, and asks for it."""

RECOVERY_BEATS = 2
"""HEALTHY heartbeats in a row after which a worker that was UNHEALTHY is trusted again."""


WorkerEvent = Registration | Heartbeat | Deregistration | Drain | WorkerVerdict | Trial | BreakerOrder | Due
"""Everything that a worker's row may change by."""


def registered(known: Worker | None, registration: Registration, now: datetime, rules: Rules) -> Worker:
    """Return the worker's new row; registering again replaces all that the worker has stated, but ends no drain."""
    version = known.version + 1 if known else 1
    return Worker(
        worker_id=registration.worker_id,
        endpoint=registration.endpoint,
        delivery=registration.delivery,
        agent_type=registration.agent_type,
        capabilities=registration.capabilities,
        clearance=registration.clearance,
        slots=registration.slots,
        accepts_batches=registration.accepts_batches,
        metadata=registration.metadata,
        telemetry=registration.telemetry.kept,
        draining=known.draining if known else False,
        registered_at=known.registered_at if known else now,
        last_seen=now,
        next_wakeup_at=now + rules.unhealthy,
        version=version,
        registration=f"{format_time(now)}/{version}",
    )


def refuse_own(worker_id: str) -> None:
    """Raise `Rejected`, status 403, for a word of somebody else in the name of the platform's own agents."""
    if worker_id in OWN_AGENTS:
        raise Rejected(f"{worker_id} is the platform itself", code="reserved_worker", status=403)


def own_worker(
    known: Worker | None, capabilities: Sequence[str], slots: int, clearance: SecurityLevel, now: datetime, rules: Rules
) -> Worker | None:
    """Return the row of the platform's own worker, None where it is so already; it has no endpoint."""
    said = {"worker_id": OWN_WORKER, "delivery": "pull", "capabilities": tuple(capabilities), "slots": slots}
    row = registered(known, Registration.model_validate({**said, "clearance": clearance}), now, rules)
    stated = ("capabilities", "slots", "clearance")
    if known is not None and all(getattr(known, name) == getattr(row, name) for name in stated):
        return None
    return row.but(delivery=AssignmentMode.PUSH, next_wakeup_at=now + OWN_LOOK)


def own_analyst(known: Worker | None, now: datetime, rules: Rules) -> Worker | None:
    """Return the row of the platform's own analyst as it is heard of now, None where it was heard of just before."""
    if known is None:
        said = Registration(worker_id=OWN_ANALYST, delivery=AssignmentMode.PULL, agent_type=AgentType.ANALYST)
        return registered(None, said, now, rules)
    if timedelta() <= now - known.last_seen < rules.heartbeat / 2 and known.reported is Health.HEALTHY:
        return None
    return known.but(
        reported=Health.HEALTHY,
        announced=Health.HEALTHY,
        beats_owed=0,
        last_seen=max(now, known.last_seen),
        next_wakeup_at=now + rules.unhealthy,
        version=known.version + 1,
    )


def heard(worker: Worker, heartbeat: Heartbeat, now: datetime, rules: Rules) -> Worker:
    """Return the worker's row after a heartbeat; the registry's clock counts, not the worker's.

    One HEALTHY heartbeat ends DEGRADED, `RECOVERY_BEATS` in a row end UNHEALTHY.
    """
    owed = _beats_owed(worker, heartbeat.status, now, rules)
    return worker.but(
        reported=heartbeat.status,
        announced=worker.announced if owed else Health.HEALTHY,
        beats_owed=owed,
        telemetry=heartbeat.telemetry.kept if heartbeat.telemetry else worker.telemetry,
        last_seen=max(now, worker.last_seen),
        next_wakeup_at=_looked_at(worker, now + rules.unhealthy, now),
        version=worker.version + 1,
    )


def _beats_owed(worker: Worker, said: Health, now: datetime, rules: Rules) -> int:
    """Return how many HEALTHY heartbeats in a row the worker owes after one that `said` how it feels.

    Silence counts once it was announced: a worker that is heard before that has lost nothing.
    """
    if said is Health.UNHEALTHY:
        return RECOVERY_BEATS
    in_a_row = worker.beats_owed if now - worker.last_seen < rules.unhealthy else 0
    if not worker.beats_owed and Health.UNHEALTHY not in {worker.announced, worker.reported}:
        return 0
    return RECOVERY_BEATS if said is Health.DEGRADED else (in_a_row or RECOVERY_BEATS) - 1


def drained(worker: Worker, drain: Drain) -> Worker | None:
    """Return the worker's row after a drain or its end, or None when it stays as it is."""
    return (
        None if worker.draining is drain.draining else worker.but(draining=drain.draining, version=worker.version + 1)
    )


def excused(worker: Worker, now: datetime, rules: Rules) -> Worker:
    """Return the worker's row after the platform was down: silence in that time says nothing about the worker."""
    heard = max(worker.last_seen, now - rules.heartbeat)
    looked_at = _looked_at(worker, heard + rules.unhealthy, now)
    return worker.but(last_seen=heard, next_wakeup_at=looked_at, version=worker.version + 1)


def silent(worker: Worker, now: datetime, rules: Rules) -> Worker | None:
    """Return the worker's row after its wake-up: as it is, announced UNHEALTHY, or None when it is to be forgotten."""
    if worker.worker_id == OWN_WORKER:
        return worker.but(next_wakeup_at=_looked_at(worker, now + OWN_LOOK, now), version=worker.version + 1)
    if now - worker.last_seen >= rules.removed:
        return None
    if health_of(worker, now, rules) is Health.UNHEALTHY:
        return worker.but(
            announced=Health.UNHEALTHY,
            next_wakeup_at=worker.last_seen + rules.removed,
            version=worker.version + 1,
        )
    looked_at = _looked_at(worker, worker.last_seen + rules.unhealthy, now)
    return worker.but(next_wakeup_at=looked_at, version=worker.version + 1)


def _looked_at(worker: Worker, at: datetime, now: datetime) -> datetime:
    """Return the next moment to look at the worker: `at`, or before, when its circuit breaker becomes half-open."""
    until = worker.suspended_until
    return min(at, until) if until is not None and until > now else at
