"""The order in which waiting tickets get workers: the earliest latest start first, then the highest priority."""

from datetime import UTC, datetime, timedelta

from functions._core.records.prediction import Prediction
from functions._core.records.values import Priority, add_time

SCORES = 1_000_000
"""Priority scores that are told apart: a score has six digits after the point."""

PLACES = {priority: place for place, priority in enumerate(reversed(Priority))}
"""The place of each priority among tickets with the same score, CRITICAL the first."""

YEAR_2000 = datetime(2000, 1, 1, tzinfo=UTC)
"""The moment from which the steps of `coarse_step` are counted, the same for all tickets, so that steps agree."""

SHARES = 64
"""Steps, about, into which the time of a ticket is divided where its slack is compared with that of others.

More steps would let a few seconds decide between tickets that have hours.
"""

BEHIND = timedelta(days=36_525)
"""A century: added to the latest start of a late ticket, so that all late tickets come last, in the same order."""


MOST_BOOST = 0.2
"""How much a predicted overrun adds to a priority score at most: 20 points of 100."""


def boost_of(prediction: Prediction | None, left: timedelta) -> float:
    """Return how much is added to the priority score of work that has `left`, 0 to `MOST_BOOST`.

    Nothing where it is likely to be done in time, all of it where it takes twice the time that it has, or has none.
    """
    if prediction is None or not prediction.acts:
        return 0.0
    if left <= timedelta():
        return MOST_BOOST
    overrun = prediction.p50_ms / (left / timedelta(milliseconds=1)) - 1
    return round(MOST_BOOST * min(1.0, max(0.0, overrun)), 6)


def urgency_of(latest_start: datetime, created_at: datetime, *, late: bool) -> datetime:
    """Return the moment that orders waiting tickets, the earliest first: the latest start, late tickets after all.

    It is as coarse as the time that the ticket had at first: a ticket that has hours is not ahead by a few seconds.
    """
    step = coarse_step(latest_start - created_at)
    start = add_time(latest_start, -((latest_start - YEAR_2000) % step))
    return add_time(start, BEHIND) if late else start


def coarse_step(slack: timedelta) -> timedelta:
    """Return the step in which slack is compared: a whole power of two of seconds, 1/64 to 1/128 of it, at least 1 s.

    Four hours are compared in steps of 128 s. Powers of two, so that the steps of all tickets share their limits.
    """
    share = max(1, slack // timedelta(seconds=SHARES))
    return timedelta(seconds=1 << share.bit_length() - 1)


def precedence_of(score: float, priority: Priority) -> int:
    """Return the number that orders equally urgent tickets, the lowest first: by the score, then by the priority.

    0 to 4,000,003. The score is the one at creation, of the parts that do not change: the time that has passed is the
    same for equally urgent tickets.
    """
    score = min(1.0, max(0.0, score))
    return round((1 - score) * SCORES) * len(Priority) + PLACES[priority]
