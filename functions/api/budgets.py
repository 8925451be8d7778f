"""Error budgets: how much is left, how fast it burns, and how that was."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import Query, Request, Response

from functions._core.records.record import encode
from functions._core.slo import stored
from functions._core.slo.budget import DEFAULT_THRESHOLDS, BudgetStatus, ErrorBudget, burn_of
from functions._core.slo.course import Grouping, trends_of
from functions._core.slo.definition import Slo
from functions._core.slo.listing import course_of
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.documents import problems
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Limit
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services
from functions.api.slo_changes import AfterId, Days, Service, Since, Until, later_if_not_now, page_of, span_of
from functions.api.slo_forms import BudgetCourse, BudgetPage, BudgetSummary, BurnRateView, summary_of
from functions.api.slo_measuring import measured, measured_budget, still_counting
from functions.api.slos import enabled_slo, slo_of

router = Routes(prefix="/api/v1/budgets", tags=["budgets"])

MAX_POINTS = 2500
"""Points of one answer: those of 90 days, one for each hour, are fewer."""

LONGEST_BURN_HOURS = 168


@router.get("/summary")
async def get_budget_summary(services: Services) -> BudgetSummary:
    """Return how many of the SLOs that are enabled stand how."""
    slos, budgets = await _budgets(services)
    return summary_of([*budgets], len(slos))


@router.get("", responses=problems(422))
async def list_budgets(
    services: Services,
    *,
    service_name: Service = None,
    status: Annotated[BudgetStatus | None, Query(description="In any letter case")] = None,
    cursor: AfterId = None,
    limit: Limit = DEFAULT_LIMIT,
) -> BudgetPage:
    """Return the newest budgets of the SLOs that are enabled, by SLO."""
    _, budgets = await _budgets(services)
    wanted = [one for one in budgets if service_name in {None, one.service_name} and status in {None, one.status}]
    items, following = page_of(wanted, lambda one: one.slo_id, cursor, limit)
    return BudgetPage(items=tuple(items), cursor=following)


@router.get("/{slo_id}", responses=problems(404, 409, 422, 502, 503, 504))
async def get_budget(
    services: Services,
    slo_id: str,
    *,
    use_cache: Annotated[bool, Query(description="False: measured now; nothing of it is stored")] = True,
) -> ErrorBudget:
    """Return the newest budget of an SLO: 404 `unknown_budget` before the first calculation.

    Where that waits for the history, which is still counted, the answer says how far it is.
    """
    if not use_cache:
        return await measured_budget(services, await enabled_slo(services, slo_id))
    slo = await slo_of(services, slo_id)
    state, _ = await stored.budget_state(services.ports.key_values, slo.slo_id)
    if state is None:
        await still_counting(services, slo)
        raise not_found("budget", slo_id)
    return state.budget


@router.post("/{slo_id}/recalculate", responses=problems(404, 409, 422, 502, 503, 504))
async def recalculate_budget(
    services: Services, request: Request, slo_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ErrorBudget:
    """Calculate a budget now, store it, and freeze or free what it should.

    409 `no_data` where a query finds nothing, `counting` while the history is counted: the last budget stays.
    """
    slo = await enabled_slo(services, slo_id)
    await record(services, "recalculate_budget", slo.slo_id, who=acting(request, requested_by), why=why)
    budget = await services.engine.recalculate(slo.slo_id)
    await later_if_not_now(services.engine.enforce_policies(slo.slo_id))
    return budget


@router.get("/{slo_id}/history", response_model=BudgetCourse, responses=problems(404, 422))
async def get_budget_history(  # noqa: PLR0913 each is a parameter of the question
    services: Services,
    slo_id: str,
    *,
    since: Since = None,
    until: Until = None,
    days: Days = None,
    aggregation: Annotated[Grouping, Query(description="What becomes one point, in any letter case")] = Grouping.HOURLY,
    include_trends: Annotated[bool, Query(description="Say where the budget is heading")] = True,
    limit: Annotated[int, Query(ge=1, le=MAX_POINTS, description="How many points to return at most")] = MAX_POINTS,
) -> Response:
    """Return the course of a budget, the oldest point first. It is kept for 91 days."""
    slo = await slo_of(services, slo_id)
    first, last = span_of(since, until, days, services.ports.clock.now())
    points, following = await course_of(services.ports, slo.slo_id, first, last, aggregation, limit)
    found = BudgetCourse(
        slo_id=slo.slo_id,
        since=first,
        until=last,
        aggregation=aggregation,
        items=tuple(points),
        next_from=following,
        trends=trends_of(points) if include_trends else None,
    )
    return Response(await services.ports.beside(partial(encode, found)), media_type="application/json")


@router.get("/{slo_id}/burn-rate", responses=problems(404, 409, 422, 502, 503, 504))
async def get_burn_rate(
    services: Services,
    slo_id: str,
    window_hours: Annotated[int, Query(ge=1, le=LONGEST_BURN_HOURS, description="Length of the window, in hours")] = 1,
) -> BurnRateView:
    """Return how fast a budget burned over a window that ends now, measured now.

    409 `no_data` where a query finds nothing, `counting` while the history is not counted so far back.
    """
    slo = await enabled_slo(services, slo_id)
    now = services.ports.clock.now()
    found = await measured(services, slo, hours=window_hours, now=now)
    state, _ = await stored.budget_state(services.ports.key_values, slo.slo_id)
    budget = state.budget if state is not None else await measured_budget(services, slo)
    burn = burn_of(now, window_hours, found, slo, budget.error_budget_remaining, DEFAULT_THRESHOLDS)
    return BurnRateView(
        slo_id=slo.slo_id,
        window_hours=window_hours,
        error_rate=round(found.error, 6),
        rate=burn.rate,
        level=burn.level,
        budget_remaining=budget.error_budget_remaining,
        estimated_exhaustion=burn.estimated_exhaustion,
        measured_at=now,
    )


async def _budgets(services: ApiServices) -> tuple[Sequence[Slo], Sequence[ErrorBudget]]:
    """Return the SLOs that are enabled, and their newest budgets."""
    entries = services.ports.key_values
    slos = [one for one in await stored.slos(entries) if one.enabled]
    ids = {one.slo_id for one in slos}
    return slos, [one for one in await stored.budgets(entries) if one.slo_id in ids]
