"""What an SLO measures: the share of what was good in a window, from a server of metrics or from the own history."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from math import isfinite

from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Ports
from functions._core.slo.budget import Indicator
from functions._core.slo.counting import OwnHistory, key_of, own_history
from functions._core.slo.definition import WINDOW, Slo, SloType
from functions._core.slo.outside import FreezeTarget, MetricsServer, NoFreezeTarget, NoMetricsServer

__all__ = [
    "FreezeTarget",
    "MetricsAway",
    "MetricsServer",
    "NoFreezeTarget",
    "NoMetricsServer",
    "OwnHistory",
    "histories_of",
    "indicator",
    "measured",
    "window_text",
]

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class MetricsAway(Unavailable):
    """The server of metrics does not answer."""


async def indicator(slo: Slo, ports: Ports, span: timedelta, now: datetime) -> Indicator | None:
    """Return what was measured over the `span` up to `now`; None for no data.

    Raises `MetricsAway` when the server of metrics does not answer, `Rejected` (`metrics_query_failed`, status 502)
    when it answers with an error, or with what is no share.
    """
    return await measured(slo, ports, span, now, await histories_of([slo], ports, now))


async def histories_of(slos: Collection[Slo], ports: Ports, now: datetime) -> Mapping[str, OwnHistory]:
    """Return what the queries of SLOs find in the own history, by `key_of` the query; counted once for all."""
    queries = [slo.sli_query.history for slo in slos if slo.sli_query.history is not None]
    return await own_history(ports, queries, now)


async def measured(
    slo: Slo, ports: Ports, span: timedelta, now: datetime, histories: Mapping[str, OwnHistory]
) -> Indicator | None:
    """Return what was measured over a span, with the `histories_of` the SLO; see `indicator`."""
    query = slo.sli_query
    if query.history is not None:
        found = histories[key_of(query.history)]
        return found.within(span) if found.complete else None
    text = (query.query or "").replace(WINDOW, window_text(span))
    try:
        value = await ports.metrics_server.value(text, query.aggregation, now)
    except Unavailable as away:
        raise MetricsAway(str(away)) from away
    if value is None:
        return None
    if not isfinite(value) or not 0 <= value <= 1:
        raise Rejected(
            f"the query of SLO {slo.name!r} gave {value:g}, which is no share between 0 and 1",
            code="metrics_query_failed",
            status=502,
        )
    return Indicator(1 - value if slo.kind is SloType.ERROR_RATE else value)


def window_text(span: timedelta) -> str:
    """Return a window as PromQL has it, such as `5m`, `6h` or `30d`."""
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if span >= unit and not span % unit:
            return f"{span // unit}{letter}"
    return f"{max(1, span // timedelta(seconds=1))}s"
