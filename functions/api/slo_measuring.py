"""What an SLO measures now, for who asks; no budget of it is stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from functions._core.errors import Rejected
from functions._core.slo import stored
from functions._core.slo.budget import BURN_HOURS, ErrorBudget, Indicator, budget_of
from functions._core.slo.definition import WINDOW, Slo
from functions._core.slo.indicator import MetricsAway, histories_of, indicator
from functions._core.slo.indicator import measured as measured_in
from functions.api.services import ApiServices

MEASURED = "measured"
"""The id of a budget that is not stored."""


async def measured(services: ApiServices, slo: Slo, *, hours: int, now: datetime) -> Indicator:
    """Return what was measured over the hours up to `now`.

    Raises `Rejected`: 409 `no_data` for nothing, 502 when the server of metrics answers with an error, 504 when it
    does not answer.
    """
    with _server_asked():
        return _found(await indicator(slo, services.ports, timedelta(hours=hours), now), slo, hours)


async def measured_budget(services: ApiServices, slo: Slo) -> ErrorBudget:
    """Return the budget of an SLO as it would be calculated now; raises as `measured` does."""
    ports, now = services.ports, services.ports.clock.now()
    days, windows = timedelta(days=slo.window_days), dict[float, Indicator]()
    with _server_asked():
        histories = await histories_of([slo], ports, now)
        whole = _found(await measured_in(slo, ports, days, now, histories), slo, 24 * slo.window_days)
        if slo.sli_query.query is None or WINDOW in slo.sli_query.query:  # else it tells of one window alone
            for hours in BURN_HOURS:
                one = await measured_in(slo, ports, timedelta(hours=hours), now, histories)
                windows |= {} if one is None else {hours: one}
    state, _ = await stored.budget_state(ports.key_values, slo.slo_id)
    return budget_of(slo, now, MEASURED, whole, windows, state.violations if state is not None else ())


@contextmanager
def _server_asked() -> Iterator[None]:
    """Say of a server of metrics that does not answer that it is that."""
    try:
        yield
    except MetricsAway as away:
        text = f"the server of metrics does not answer: {away}"
        raise Rejected(text, code="metrics_away", status=504) from away


def _found(one: Indicator | None, slo: Slo, hours: int) -> Indicator:
    if one is None:
        text = f"nothing was measured for SLO {slo.name[:100]!r} in the last {hours} hours"
        raise Rejected(text, code="no_data", status=409)
    return one
