"""What flows did over a window of time, in buckets of equal width that add up.

A flow counts in the bucket in which it ended. A bucket holds counts alone, durations as a histogram of fixed cells: so
two of them make the bucket of both, and what was counted of a bucket that is over is never counted again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, log

from functions._core.planning.slack import missed
from functions._core.records.models import Flow
from functions._core.records.record import Record
from functions._core.records.simulated import was_simulated
from functions._core.records.values import Outcome, Timestamp, milliseconds

GROWTH = 1.2
"""How much wider each cell of the histogram is than the one below: a percentile is at most a tenth off."""

CELLS = 130
"""Cells of the histogram; the last one begins at about half a year."""

CODES = 50
"""Reason codes that a bucket tells apart; those beyond count as `OTHER`."""

OTHER = "other"


@dataclass(frozen=True, slots=True)
class RollupWindow:
    """A window that ends now: `count` buckets, each `width` long, which begin at multiples of their width."""

    name: str
    width: timedelta
    count: int

    def start_of(self, at: datetime) -> datetime:
        """Return when the bucket begins that a moment is in."""
        seconds = int(at.timestamp())
        return datetime.fromtimestamp(seconds - seconds % int(self.width.total_seconds()), UTC)

    def starts(self, now: datetime) -> Sequence[datetime]:
        """Return when the buckets begin, the oldest first; `now` is in the last one."""
        last = self.start_of(now)
        return [last - self.width * back for back in reversed(range(self.count))]


WINDOWS = {
    one.name: one
    for one in (
        RollupWindow("1h", timedelta(minutes=1), 60),
        RollupWindow("24h", timedelta(minutes=15), 96),
        RollupWindow("7d", timedelta(hours=2), 84),
    )
}


class FlowBucket(Record):
    """The flows that ended within a span of time, counted."""

    start: Timestamp
    """When the span begins."""
    since: Timestamp
    """From when on the flows were counted; later than `start` where a look did not reach further back."""
    outcomes: Mapping[str, int] = {}
    """How many flows ended how."""
    met: int = 0
    """How many of them ended COMPLETED within their deadline."""
    missed: int = 0
    """How many of them missed their deadline, however they ended."""
    durations: Mapping[str, int] = {}
    """How long they took from arrival to end: how many in each cell of the histogram, by its number; see `cell_of`."""
    received: Mapping[str, int] = {}
    """When they had arrived: how many in each bucket of the window, by its start in seconds since 1970."""
    tickets: Mapping[str, int] = {}
    """How many tickets they had in each status."""
    reasons: Mapping[str, int] = {}
    """Why those of them that did not end COMPLETED did not: their first reasons, by code."""


def with_flows(bucket: FlowBucket, flows: Iterable[Flow], window: RollupWindow) -> FlowBucket:
    """Return a bucket with more flows counted, all of which ended within its span."""
    names = ("outcomes", "durations", "received", "tickets", "reasons")
    counts = {name: Counter(getattr(bucket, name)) for name in names}
    met, late = bucket.met, bucket.missed
    oldest = bucket.start - window.width * (window.count - 1)
    for flow in flows:
        is_late = missed(flow)
        late += is_late
        met += flow.outcome is Outcome.COMPLETED and not is_late and not was_simulated(flow)
        counts["outcomes"][str(flow.outcome or flow.status)] += 1
        counts["durations"][str(cell_of(milliseconds((flow.ended_at or flow.received_at) - flow.received_at)))] += 1
        if flow.received_at >= oldest:
            counts["received"][_key(window.start_of(flow.received_at))] += 1
        counts["tickets"].update({status: number for status, number in flow.tally.items() if number})
        if flow.reasons and flow.outcome is not Outcome.COMPLETED:
            counts["reasons"][_told(flow.reasons[0].code, counts["reasons"])] += 1
    return bucket.but(met=met, missed=late, **{name: dict(found) for name, found in counts.items()})


def merged(first: FlowBucket, *others: FlowBucket) -> FlowBucket:
    """Return one bucket for all that the given ones count; it begins where the first of them does."""
    counts = {name: Counter(getattr(first, name)) for name in ("outcomes", "durations", "received", "tickets")}
    reasons = Counter(first.reasons)
    for other in others:
        for name, count in counts.items():
            count.update(getattr(other, name))
        reasons.update(other.reasons)
    kept = dict(reasons.most_common(CODES))
    beyond = reasons.total() - sum(kept.values())
    if beyond:
        kept[OTHER] = kept.get(OTHER, 0) + beyond
    return first.but(
        met=first.met + sum(other.met for other in others),
        missed=first.missed + sum(other.missed for other in others),
        reasons=kept,
        **{name: dict(count) for name, count in counts.items()},
    )


def admitted(
    buckets: Iterable[FlowBucket], under_way: Iterable[Flow], window: RollupWindow, starts: Sequence[datetime]
) -> Sequence[int]:
    """Return how many flows arrived in each bucket of a window: those that ended later in it, and those under way."""
    arrivals: Counter[str] = Counter()
    for bucket in buckets:
        arrivals.update(bucket.received)
    arrivals.update(_key(window.start_of(flow.received_at)) for flow in under_way)
    return [arrivals[_key(start)] for start in starts]


def cell_of(span_ms: int) -> int:
    """Return the cell of the histogram that a duration is in: cell n ends at `GROWTH` to the power of n, in ms."""
    return 0 if span_ms <= 1 else min(CELLS - 1, ceil(log(span_ms) / log(GROWTH)))


def percentile(durations: Mapping[str, int], share: float) -> int | None:
    """Return the duration, in ms, within which a share (0 to 1) of the flows was done, by nearest rank.

    It is the middle of its cell, so at most a tenth off; None for no flows.
    """
    rank = ceil(share * sum(durations.values()))
    for cell, number in sorted((int(cell), number) for cell, number in durations.items()):
        rank -= number
        if rank <= 0 and number:
            return int(GROWTH ** (cell - 0.5) + 0.5)
    return None


def _key(start: datetime) -> str:
    return str(int(start.timestamp()))


def _told(code: str, known: Mapping[str, int]) -> str:
    """Return a code as it is counted: there are as many as the platform, and those who send to it, make."""
    name = code[:64]
    return name if name in known or len(known) < CODES else OTHER
