"""What an SLO measures: the share of what was good in a window, from a server of metrics or from the own history."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from math import isfinite

from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Ports
from functions._core.records.values import format_time
from functions._core.slo.buckets import OwnHistory
from functions._core.slo.budget import Indicator
from functions._core.slo.counting import key_of, no_more, own_history
from functions._core.slo.definition import WINDOW, Slo, SloType
from functions._core.slo.outside import FreezeTarget, MetricsServer, NoFreezeTarget, NoMetricsServer

__all__ = [
    "FreezeTarget",
    "MetricsAway",
    "MetricsServer",
    "NoData",
    "NoFreezeTarget",
    "NoMetricsServer",
    "OwnHistory",
    "StillCounting",
    "histories_of",
    "indicator",
    "measured",
    "window_text",
]

ROUNDING = 1e-9
"""How far a share may lie outside of 0 to 1: a ratio of sums of binary fractions is seldom exact."""

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class MetricsAway(Unavailable):
    """The server of metrics does not answer."""


class NoData(Rejected):
    """The query of an SLO finds nothing: nobody knows how good it was."""

    def __init__(self, slo: Slo, span: timedelta) -> None:
        text = f"the query of SLO {slo.name[:100]!r} finds nothing in its last {window_text(span)}"
        super().__init__(text, code="no_data", status=409)


class StillCounting(Rejected):
    """The own history is not counted yet as far back as a window reaches."""

    def __init__(self, slo: Slo, span: timedelta, since: datetime) -> None:
        text = f"the history of SLO {slo.name[:100]!r} is still counted: of its last {window_text(span)}"
        super().__init__(f"{text} what ended since {format_time(since)} is", code="counting", status=409)


async def indicator(slo: Slo, ports: Ports, span: timedelta, now: datetime) -> Indicator:
    """Return what was measured over the `span` up to `now`. An empty span of the own history was good.

    Raises `NoData` where a query finds nothing, `StillCounting` while the own history is not counted so far back,
    `MetricsAway` when the server of metrics does not answer, `Rejected` (`metrics_query_failed`, status 502) when it
    answers with an error, or with what is no share.
    """
    return await measured(slo, ports, span, now, await histories_of([slo], ports, now))


async def histories_of(
    slos: Collection[Slo], ports: Ports, now: datetime, more: Callable[[], bool] = no_more
) -> Mapping[str, OwnHistory]:
    """Return what the queries of SLOs find in the own history, by SLO; counted once for all.

    It is counted on while there is time for `more`.
    """
    keys = {slo.slo_id: (key_of(query), query) for slo in slos if (query := slo.sli_query.history) is not None}
    found = await own_history(ports, dict(keys.values()), now, more)
    return {slo_id: found[key] for slo_id, (key, _) in keys.items()}


async def measured(
    slo: Slo, ports: Ports, span: timedelta, now: datetime, histories: Mapping[str, OwnHistory]
) -> Indicator:
    """Return what was measured over a span, with the `histories_of` the SLO; see `indicator`."""
    query = slo.sli_query
    if query.history is not None:
        found = histories[slo.slo_id]
        if (since := found.counted_since(span)) is not None:
            raise StillCounting(slo, span, since)
        return found.within(span)
    text = (query.query or "").replace(WINDOW, window_text(span))
    try:
        value = await ports.metrics_server.value(text, query.aggregation, now)
    except Unavailable as away:
        raise MetricsAway(str(away)) from away
    if value is None:
        raise NoData(slo, span)
    if not isfinite(value) or not -ROUNDING <= value <= 1 + ROUNDING:
        raise Rejected(
            f"the query of SLO {slo.name!r} gave {value:g}, which is no share between 0 and 1",
            code="metrics_query_failed",
            status=502,
        )
    share = min(1.0, max(0.0, value))
    return Indicator(1 - share if slo.kind is SloType.ERROR_RATE else share)


def window_text(span: timedelta) -> str:
    """Return a window as PromQL has it, such as `5m`, `6h` or `30d`."""
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if span >= unit and not span % unit:
            return f"{span // unit}{letter}"
    return f"{max(1, span // timedelta(seconds=1))}s"
