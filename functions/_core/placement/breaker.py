"""The circuit breaker of a worker: how attempts are judged, and whether the next one passes.

After `breaker_failures` failures in a row it is open for `breaker_pause`, then half-open: one attempt at a time.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from functions._core.placement.ranking import half_open, on_trial
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import Model, Timestamp
from functions._core.records.worker import NOT_ASKED_FOR, Answer, Worker
from functions._core.rules import Rules


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


class BreakerOrder(Model):
    """The wish that a worker's circuit breaker is opened or closed, whatever its attempts say."""

    worker_id: str
    """Id of the worker."""
    opened: bool
    """True: it gets nothing for a while; False: it gets tickets as before."""


ORDERED = "ordered"
"""The doubt of a worker whose circuit breaker was opened by a wish."""

BLAMED = frozenset({"timed_out", "heartbeat_lost", NOT_ASKED_FOR})
"""Ends of an attempt that the worker is to blame for; a failure that it reports is the task's own."""

DELIVERY = frozenset({"worker_unreachable", "worker_refused", NOT_ASKED_FOR})
"""Failures of a delivery, each of which counts at once; when they are the doubt, an acknowledgement is a success."""

ACKNOWLEDGED = "acknowledged"
"""The cause of a verdict on a delivery that succeeded."""

OVER = frozenset({"ticket.retried", "ticket.reassigned", "ticket.hedge_ended", "ticket.failed", "ticket.cancelled"})
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


def ordered(worker: Worker, order: BreakerOrder, now: datetime, rules: Rules) -> Worker | None:
    """Return the worker's row with its circuit breaker opened or closed, or None when it is so already."""
    if not order.opened:
        closed = {**FREE, "failures": 0, "successes": 0, "suspended_until": None, "doubt": ""}
        known = worker.failures or worker.suspended_until is not None
        return worker.but(**closed, version=worker.version + 1) if known else None
    if suspended(worker, now):
        return None
    failures = max(worker.failures, rules.breaker_failures - 1)
    return _failed(worker.but(failures=failures), ORDERED, now, rules)


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
    """What the last of them was: timed_out, heartbeat_lost, not_asked_for, worker_unreachable or worker_refused; or
    `ordered`, for one that a playbook has suspended."""
