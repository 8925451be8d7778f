"""What an SLO measures now, for who asks; no budget of it is stored."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from functions._core.errors import Rejected
from functions._core.slo import stored
from functions._core.slo.budget import BURN_HOURS, ErrorBudget, Indicator, budget_of
from functions._core.slo.counting import counted_since
from functions._core.slo.definition import WINDOW, Slo
from functions._core.slo.indicator import MetricsAway, NoData, StillCounting, histories_of, indicator
from functions._core.slo.indicator import measured as measured_in
from functions.api.services import ApiServices

MEASURED = "measured"
"""The id of a budget that is not stored."""


async def measured(services: ApiServices, slo: Slo, *, hours: int, now: datetime) -> Indicator:
    """Return what was measured over the hours up to `now`.

    Raises `Rejected`: 409 `no_data` where a query finds nothing, 409 `counting` while the own history is not counted so
    far back, 502 when the server of metrics answers with an error, 504 when it does not answer.
    """
    with _server_asked():
        return await indicator(slo, services.ports, timedelta(hours=hours), now)


async def measured_budget(services: ApiServices, slo: Slo) -> ErrorBudget:
    """Return the budget of an SLO as it would be calculated now; raises as `measured` does."""
    ports, now = services.ports, services.ports.clock.now()
    days, windows = timedelta(days=slo.window_days), dict[float, Indicator]()
    with _server_asked():
        histories = await histories_of([slo], ports, now)
        whole = await measured_in(slo, ports, days, now, histories)
        if slo.sli_query.query is None or WINDOW in slo.sli_query.query:  # else it tells of one window alone
            for hours in BURN_HOURS:
                with suppress(NoData, StillCounting):
                    windows[hours] = await measured_in(slo, ports, timedelta(hours=hours), now, histories)
    state, _ = await stored.budget_state(ports.key_values, slo.slo_id)
    return budget_of(slo, now, MEASURED, whole, windows, state.violations if state is not None else ())


async def still_counting(services: ApiServices, slo: Slo) -> None:
    """Raise `Rejected`, status 404, for an SLO without a budget whose history is still counted; it says how far."""
    query, now = slo.sli_query.history, services.ports.clock.now()
    if query is None or not slo.enabled:
        return
    span = timedelta(days=slo.window_days)
    since = await counted_since(services.ports, query, span, now)
    if since is not None:
        text = f"SLO {slo.slo_id} has no budget yet: {StillCounting(slo, span, since)}"
        raise Rejected(text, code="unknown_budget", status=404)


@contextmanager
def _server_asked() -> Iterator[None]:
    """Say of a server of metrics that does not answer that it is that."""
    try:
        yield
    except MetricsAway as away:
        text = f"the server of metrics does not answer: {away}"
        raise Rejected(text, code="metrics_away", status=504) from away
