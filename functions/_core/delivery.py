"""The delivery table: what becomes of an event after its function was called, the same on every platform. Pure.

    error                      attempts            event
    none                       any                 done
    Rejected                   any                 dead letter; its flow is broken off unless the reason may pass
    Unavailable, Conflict      fewer than allowed  delivered again after a pause that doubles
                               as many             dead letter, code `unavailable`
    any other                  fewer than allowed  delivered again after a pause that doubles
                               as many             dead letter, code `internal`; its flow is broken off

A host says by its `RetryLimits` how often it delivers itself; a broker that counts for it is no limit at all.
"""

from typing import NamedTuple

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.records.models import Reason

MISDIRECTED = 421
"""HTTP status of the rejection of another function's event: nothing is wrong with its flow."""

PASSING_REASONS = frozenset({"unavailable", "unreadable_record"})
"""Codes of dead letters whose flow is not broken off: its next wake-up may find again what was missing."""


# Named tuples: a dataclass takes ten times as long to define, which every cold start pays.
class RetryLimits(NamedTuple):
    """How a host repeats events. `first` and `longest` are seconds; a limit of None leaves the counting to a broker."""

    first: float
    longest: float
    unavailable: int | None = None
    broken: int | None = None

    def pause(self, attempts: int) -> float:
        """Return the seconds before the next delivery of an event that has failed `attempts` times."""
        return min(self.longest, self.first * 2.0**attempts)


class Done(NamedTuple):
    """The event has had its effect; it leaves the queue."""


class RetryAfter(NamedTuple):
    """The event is delivered again in `seconds`; `broken` when its function failed, not what the function needs."""

    seconds: float
    broken: bool


class GiveUp(NamedTuple):
    """The event becomes a dead letter; `breaks_flow` ends the step of the flow that waits for it."""

    reason: Reason
    breaks_flow: bool


def next_delivery(error: Exception | None, attempts: int, limits: RetryLimits) -> Done | RetryAfter | GiveUp:
    """Return what becomes of an event whose delivery number `attempts`, counted from 1, ended with `error`."""
    if error is None:
        return Done()
    if isinstance(error, Rejected):
        passing = error.status == MISDIRECTED or error.code in PASSING_REASONS
        return GiveUp(Reason(code=error.code, message=str(error)), breaks_flow=not passing)
    broken = not isinstance(error, Unavailable | Conflict)
    limit = limits.broken if broken else limits.unavailable
    if limit is not None and attempts >= limit:
        code = "internal" if broken else "unavailable"
        return GiveUp(Reason(code=code, message=f"{type(error).__name__}: {error}"), breaks_flow=broken)
    return RetryAfter(limits.pause(attempts), broken)
