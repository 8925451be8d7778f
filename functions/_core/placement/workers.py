"""The changes of a worker's row: by registrations, heartbeats, silence, and its circuit breaker."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from functions._core.placement.ranking import half_open, health_of, on_trial
from functions._core.ports import Answer
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import (
    FIRST_FAULT,
    Health,
    JsonObject,
    Model,
    SecurityLevel,
    Texts,
    Timestamp,
    WholeNumber,
    a_number,
    format_time,
)
from functions._core.records.worker import NOT_ASKED_FOR, AssignmentMode, Worker, WorkerTelemetry
from functions._core.rules import Rules

DEFAULT_SLOTS = 10
"""Slots of a worker that names none."""

MAX_SLOTS = 10_000
"""Slots of one worker at most; more is a mistake, and the list of running tickets must stay readable."""

MAX_PULL_SLOTS = 1_000
"""Slots of a worker that asks for its tickets: all that it holds are looked at whenever it asks."""

MAX_CAPABILITIES = 200
"""Capabilities of one worker at most: each ticket that waits is compared with all of them."""

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
    capabilities: Texts = Field(default=(), max_length=MAX_CAPABILITIES)
    """What the worker can do, in its own words; compared in lower case."""
    clearance: Clearance = SecurityLevel.INTERNAL
    """The highest security level of the tickets that the worker may get; INTERNAL where it is left out."""
    slots: WholeNumber = Field(default=DEFAULT_SLOTS, ge=1, le=MAX_SLOTS)
    """How many tickets the worker takes at once."""
    accepts_batches: bool = False
    """Whether the worker takes several assignments in one message, a batch of CloudEvents."""
    metadata: JsonObject = Field(default_factory=dict)
    """Anything the sender wants to keep with it; nothing here depends on it."""
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
        return tuple(sorted({capability.strip().lower() for capability in value if capability.strip()}))


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


class WorkerVerdict(Model):
    """The word of an attempt on the worker that made it: it went well, or the worker was to blame, and for what."""

    worker_id: str
    """Id of the worker."""
    succeeded: bool | None
    """True: it went well, False: the worker was to blame, None: the attempt is over and says nothing more."""
    why: str = ""
    """The cause of a failure: one of `BLAMED` or `DELIVERY`; `acknowledged` for a delivery that succeeded."""
    attempt: str = ""
    """Ticket and attempt, as `attempt_key` writes them."""


class Trial(Model):
    """An attempt that asks for the one place behind a half-open circuit breaker, for so long at most."""

    worker_id: str
    """Id of the worker."""
    attempt: str
    """Ticket and attempt, as `attempt_key` writes them."""
    until: Timestamp
    """Until when it holds the place at most."""


BLAMED = frozenset({"timed_out", "heartbeat_lost", NOT_ASKED_FOR})
"""Ends of an attempt that the worker is to blame for; a failure that it reports is the task's own."""

DELIVERY = frozenset({"worker_unreachable", "worker_refused", NOT_ASKED_FOR})
"""Failures of a delivery, each of which counts at once; when they are the doubt, an acknowledgement is a success."""

ACKNOWLEDGED = "acknowledged"
"""The cause of a verdict on a delivery that succeeded."""

OVER = frozenset({"ticket.retried", "ticket.reassigned", "ticket.failed", "ticket.cancelled"})
"""Transitions with which an attempt is over."""

TRIAL_LEASE = timedelta(seconds=30)
"""A trial whose process has died holds its place so much longer than the trial can take."""


FREE: Mapping[str, Any] = {"trial": None, "trial_until": None}
"""The place behind a half-open circuit breaker, given up."""


def attempt_key(ticket_id: str, attempt: int | None) -> str:
    """Return the name of one attempt at one ticket."""
    return f"{ticket_id}/{attempt}"


def verdicts_of(step: ChangeSet) -> Iterator[WorkerVerdict]:
    """Yield the verdicts of the attempts that ended in a step on their workers."""
    for entry in step.history:
        if entry.worker_id is None or entry.ticket_id is None:
            continue
        about = {"worker_id": entry.worker_id, "attempt": attempt_key(entry.ticket_id, entry.attempt)}
        if entry.type == "ticket.completed":
            yield WorkerVerdict(succeeded=True, **about)
        elif entry.cause in BLAMED:
            yield WorkerVerdict(succeeded=False, why=entry.cause, **about)
        elif entry.type in OVER:
            yield WorkerVerdict(succeeded=None, **about)


def verdict_of(answer: Answer, worker: Worker, attempt: str) -> WorkerVerdict | None:
    """Return the verdict of the answer to an assignment on its worker; None when there is none.

    That a worker has no free slot says nothing, and that it accepts, only of one that is doubted.
    """
    if answer.busy or answer.suspended or (answer.accepted and not worker.failures):
        return None
    why = ACKNOWLEDGED if answer.accepted else "worker_refused" if answer.refused else "worker_unreachable"
    return WorkerVerdict(worker_id=worker.worker_id, succeeded=answer.accepted, why=why, attempt=attempt)


def judged(worker: Worker, verdict: WorkerVerdict, now: datetime, rules: Rules) -> Worker | None:
    """Return the worker's row after a verdict, or None when it stays as it is: a circuit breaker.

    After `breaker_failures` in a row it is open: the worker gets nothing for `breaker_pause`, and attempts that were
    under way do not count. Then it is half-open and lets one attempt at a time through: one failure opens it again,
    `breaker_successes` close it.
    """
    if suspended(worker, now):
        return None
    if verdict.succeeded is False:
        return _failed(worker, verdict.why, now, rules)
    over = FREE if worker.trial is not None and worker.trial == verdict.attempt else {}
    if verdict.succeeded is None:
        return worker.but(**over, version=worker.version + 1) if over else None
    if not worker.failures or (verdict.why == ACKNOWLEDGED and worker.doubt not in DELIVERY):
        return None
    successes = worker.successes + 1
    if worker.suspended_until is None or successes >= rules.breaker_successes:
        over, successes = {**FREE, "failures": 0, "suspended_until": None, "doubt": ""}, 0
    return worker.but(**over, successes=successes, version=worker.version + 1)


def _failed(worker: Worker, why: str, now: datetime, rules: Rules) -> Worker:
    """Return the worker's row after one more failure, which opens its circuit breaker when there are enough."""
    counted = worker.but(failures=worker.failures + 1, successes=0, doubt=why, version=worker.version + 1)
    if counted.failures < rules.breaker_failures:
        return counted
    until = now + rules.breaker_pause
    return counted.but(**FREE, suspended_until=until, next_wakeup_at=min(until, worker.next_wakeup_at))


def tried(worker: Worker, trial: Trial, now: datetime) -> Worker | None:
    """Return the worker's row when the attempt gets the place behind its half-open circuit breaker, or None."""
    if not half_open(worker, now) or on_trial(worker, now):
        return None
    return worker.but(trial=trial.attempt, trial_until=trial.until, version=worker.version + 1)


def admits(worker: Worker, attempt: str, now: datetime) -> bool:
    """Whether the worker's circuit breaker lets an attempt through as the row stands."""
    return worker.suspended_until is None or (on_trial(worker, now) and worker.trial == attempt)


def trial_of(worker: Worker, attempt: str, timeout: timedelta, now: datetime) -> Trial:
    """Return the trial of an attempt: the answer to its delivery decides, or its end where ends are the doubt."""
    lasts = TRIAL_LEASE if worker.doubt in DELIVERY else timeout + TRIAL_LEASE
    return Trial(worker_id=worker.worker_id, attempt=attempt, until=now + lasts)


def suspended(worker: Worker, now: datetime) -> bool:
    """Whether the circuit breaker of the worker is open: it gets nothing at the moment."""
    return worker.suspended_until is not None and now < worker.suspended_until


class Suspension(Model):
    """Data of `worker.suspended`: a worker gets nothing until then, after so many failures in a row."""

    worker_id: str
    """Id of the worker."""
    failures: int
    """How many failures in a row the worker was to blame for."""
    until: Timestamp
    """From when on it is tried again."""
    why: str
    """What the last of them was: timed_out, heartbeat_lost, not_asked_for, worker_unreachable or worker_refused."""


def registered(known: Worker | None, registration: Registration, now: datetime, rules: Rules) -> Worker:
    """Return the worker's new row; registering again replaces all that the worker has stated."""
    version = known.version + 1 if known else 1
    return Worker(
        worker_id=registration.worker_id,
        endpoint=registration.endpoint,
        delivery=registration.delivery,
        capabilities=registration.capabilities,
        clearance=registration.clearance,
        slots=registration.slots,
        accepts_batches=registration.accepts_batches,
        metadata=registration.metadata,
        telemetry=registration.telemetry.kept,
        registered_at=known.registered_at if known else now,
        last_seen=now,
        next_wakeup_at=now + rules.unhealthy,
        version=version,
        registration=f"{format_time(now)}/{version}",
    )


def heard(worker: Worker, heartbeat: Heartbeat, now: datetime, rules: Rules) -> Worker:
    """Return the worker's row after a heartbeat; the registry's clock counts, not the worker's."""
    return worker.but(
        reported=heartbeat.status,
        announced=Health.HEALTHY if heartbeat.status is not Health.UNHEALTHY else worker.announced,
        telemetry=heartbeat.telemetry.kept if heartbeat.telemetry else worker.telemetry,
        last_seen=max(now, worker.last_seen),
        next_wakeup_at=_looked_at(worker, now + rules.unhealthy, now),
        version=worker.version + 1,
    )


def excused(worker: Worker, now: datetime, rules: Rules) -> Worker:
    """Return the worker's row after the platform was down: silence in that time says nothing about the worker."""
    heard = max(worker.last_seen, now - rules.heartbeat)
    looked_at = _looked_at(worker, heard + rules.unhealthy, now)
    return worker.but(last_seen=heard, next_wakeup_at=looked_at, version=worker.version + 1)


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
    looked_at = _looked_at(worker, worker.last_seen + rules.unhealthy, now)
    return worker.but(next_wakeup_at=looked_at, version=worker.version + 1)


def _looked_at(worker: Worker, at: datetime, now: datetime) -> datetime:
    """Return the next moment to look at the worker: `at`, or before, when its circuit breaker becomes half-open."""
    until = worker.suspended_until
    return min(at, until) if until is not None and until > now else at
