"""Buckets of equal width in which a query of the own history is counted, and what they say of a window. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from functions._core.records.record import Record
from functions._core.slo.budget import Indicator, share_of
from functions._core.slo.definition import MAX_WINDOW_DAYS

MINUTE = 60_000
FINE, HOUR = 5 * MINUTE, 60 * MINUTE
"""Widths of the buckets, in milliseconds."""

FINE_KEPT, HOURS_KEPT = 3 * 24 * HOUR, MAX_WINDOW_DAYS * 24 * HOUR
"""How far back the buckets of each width reach, in milliseconds."""

EPOCH, TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


class Counted(Record):
    """What was counted of a query in buckets of one width: those that have any, by number, the oldest first."""

    since: int
    """From when on all is counted, in milliseconds since 1970."""
    until: int
    """Up to when, likewise; the moment itself is not."""
    numbers: tuple[int, ...] = ()
    """Numbers of the buckets: their beginning divided by their width."""
    totals: tuple[int, ...] = ()
    """How many flows or tickets each has."""
    bads: tuple[int, ...] = ()
    """How many of them were not good."""


@dataclass(slots=True)
class Buckets:
    """`Counted` while it is added to."""

    width: int
    kept: int
    since: int
    until: int
    numbers: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)
    bads: list[int] = field(default_factory=list)
    version: int = 0
    changed: bool = False
    added: dict[int, list[int]] = field(default_factory=dict)
    _sums: tuple[Sequence[int], Sequence[int]] | None = None

    def add(self, at: int, total: int, bad: int) -> None:
        """Count at a moment."""
        both = self.added.setdefault(at // self.width, [0, 0])
        both[0] += total
        both[1] += bad

    def settle(self, needed: int | None = None) -> None:
        """Take what was added into the columns, and drop what is older than is kept, and than is `needed`."""
        oldest = min(self.until - self.kept, self.until if needed is None else needed) // self.width
        if self.added or (self.numbers and self.numbers[0] < oldest):
            columns = zip(self.numbers, self.totals, self.bads, strict=True)
            found = {number: [total, bad] for number, total, bad in columns if number >= oldest}
            for number, (total, bad) in self.added.items():
                both = found.setdefault(number, [0, 0])
                both[0] += total
                both[1] += bad
            self.numbers = sorted(found)
            self.totals = [found[number][0] for number in self.numbers]
            self.bads = [found[number][1] for number in self.numbers]
            self.added, self._sums, self.changed = {}, None, True
        self.since = max(self.since, oldest * self.width)

    def within(self, since: int, until: int) -> tuple[int, int]:
        """Return how many there were, and how many were not good, in the buckets that begin in a span."""
        if self._sums is None:
            self._sums = list(accumulate(self.totals, initial=0)), list(accumulate(self.bads, initial=0))
        first, last = (bisect_left(self.numbers, -(-at // self.width)) for at in (since, until))
        totals, bads = self._sums
        return totals[last] - totals[first], bads[last] - bads[first]


@dataclass(slots=True)
class OwnHistory:
    """What one query finds in the history up to `now`; not `complete` while flows that ended lately are not counted."""

    fine: Buckets
    hours: Buckets
    now: int
    tail: tuple[int, int] = (0, 0)
    complete: bool = True

    def counted_since(self, span: timedelta) -> datetime | None:
        """Return from when on a window that ends now is counted; None when it is counted as a whole."""
        begin, buckets = self.now - span // TICK, self.fine if span // TICK <= FINE_KEPT else self.hours
        since = max(self.fine.since if self.fine.since > self.hours.until else 0, buckets.since)
        if not self.complete:
            return moment_of(self.now)
        whole = since <= max(begin // buckets.width * buckets.width, target_of(buckets, self.now))
        return None if whole else moment_of(since)

    def within(self, span: timedelta) -> Indicator:
        """Return the indicator of a window that ends now; where nothing was in it, nothing was bad.

        The window begins with a bucket: it is longer by less than five minutes, or than an hour beyond three days.
        """
        begin = self.now - span // TICK
        if span // TICK <= FINE_KEPT:
            parts = [self.fine.within(begin // FINE * FINE, self.now)]
        else:
            joint = self.hours.until
            parts = [self.hours.within(begin // HOUR * HOUR, joint), self.fine.within(joint, self.now)]
        total, bad = (sum(column) for column in zip(*parts, self.tail, strict=True))
        return share_of(total, bad)


def target_of(buckets: Buckets, now: int) -> int:
    """Return the moment from which on a record is to count, at the beginning of a bucket."""
    return -(-(now - buckets.kept) // buckets.width) * buckets.width


def ms_of(at: datetime) -> int:
    """Return a moment in milliseconds since 1970."""
    return (at - EPOCH) // TICK


def moment_of(ms: int) -> datetime:
    """Return the moment of milliseconds since 1970."""
    return EPOCH + ms * TICK
