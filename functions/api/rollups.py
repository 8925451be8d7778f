"""Flows over time, for charts: how many came and ended, how well and how fast, in buckets of equal width."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Query

from functions._core.records.record import Record
from functions._core.records.values import SlackState, Timestamp
from functions._core.rollups import WINDOWS, FlowBucket, admitted, merged, percentile
from functions.api.documents import problems
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/flow-c", tags=["system"])

MOST_REASONS = 10


class RollupCounts(Record):
    """The flows that ended within a span of time, and those that arrived in it."""

    admitted: int
    """How many flows arrived."""
    ended: Mapping[str, int]
    """How many flows ended how."""
    sla_met: int
    """How many of these ended COMPLETED within their deadline."""
    sla_missed: int
    """How many of these missed their deadline, however they ended; one that failed in time counts for neither."""
    p50_ms: int | None
    """Half of them took no longer from arrival to end, in milliseconds, a tenth more or less; null for none."""
    p95_ms: int | None
    """Of 100 of them 95 took no longer, likewise."""
    tickets: Mapping[str, int]
    """How many tickets they had in each status."""
    complete: bool
    """Whether all of them are counted. A look has a bound; where it was met, the next look counts more."""


class RollupBucket(RollupCounts):
    """One bucket."""

    start: Timestamp
    """When it begins."""


class ReasonCount(Record):
    """How often flows did not succeed for a reason."""

    code: str
    """The code of the reason; `other` stands for rare ones."""
    count: int
    """How many flows."""


class Rollups(Record):
    """A window that ends now, in buckets; a flow counts where it ended last."""

    window: str
    """Name of the window."""
    bucket_seconds: int
    """Width of a bucket."""
    generated_at: Timestamp
    """When it was counted; an answer serves for ten seconds."""
    buckets: Sequence[RollupBucket]
    """The buckets, the oldest first; the last one has not ended yet."""
    totals: RollupCounts
    """All buckets together."""
    reasons: Sequence[ReasonCount]
    """Why flows of the window did not end COMPLETED, the 10 most frequent reasons."""
    active: int
    """How many flows have not ended, whenever they arrived."""
    at_risk: int
    """How many of these will probably miss their deadline, or have; of the first 2,000 where `complete` is false."""
    complete: bool
    """Whether all flows that have not ended were looked at."""


@router.get("/rollups", responses=problems(422, 503))
async def get_rollups(
    services: Services,
    window: Annotated[Literal["1h", "24h", "7d"], Query(description="60 minutes, 96 quarters or 84 times 2 h")] = "1h",
) -> Rollups:
    """Return what flows did lately, in buckets; who looks first after a while counts up to 10,000 of them."""
    kind = WINDOWS[window]
    found = await services.rollups.of(services.ports, kind)
    starts = [bucket.start for bucket in found.buckets]
    arrived = admitted(found.buckets, found.under_way, kind, starts)
    whole = merged(*found.buckets)
    active = len(found.under_way)
    if not found.all_under_way:
        active = (await services.ports.statistics.flows(found.at)).active
    counted = all(bucket.since <= bucket.start for bucket in found.buckets)
    return Rollups(
        window=window,
        bucket_seconds=int(kind.width.total_seconds()),
        generated_at=found.at,
        buckets=[
            RollupBucket(start=bucket.start, **_counts(bucket, number, whole=bucket.since <= bucket.start))
            for bucket, number in zip(found.buckets, arrived, strict=True)
        ],
        totals=RollupCounts(**_counts(whole, sum(arrived), whole=counted)),
        reasons=_reasons(whole),
        active=active,
        at_risk=sum(flow.announced is not SlackState.ON_TRACK for flow in found.under_way),
        complete=found.all_under_way,
    )


def _counts(bucket: FlowBucket, arrived: int, *, whole: bool) -> dict[str, Any]:
    return {
        "admitted": arrived,
        "ended": bucket.outcomes,
        "sla_met": bucket.met,
        "sla_missed": bucket.missed,
        "p50_ms": percentile(bucket.durations, 0.5),
        "p95_ms": percentile(bucket.durations, 0.95),
        "tickets": bucket.tickets,
        "complete": whole,
    }


def _reasons(whole: FlowBucket) -> Sequence[ReasonCount]:
    ordered = sorted(whole.reasons.items(), key=lambda one: (-one[1], one[0]))
    return [ReasonCount(code=code, count=count) for code, count in ordered[:MOST_REASONS]]
