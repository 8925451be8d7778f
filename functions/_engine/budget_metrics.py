"""The gauges of budgets and freezes: of many SLOs those with the least left, so that a scrape stays quick."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from functions._core.ports import KeyValues
from functions._core.slo.budget import STATUS_NUMBERS, ErrorBudget
from functions._core.slo.calculating import burn_over
from functions._core.slo.definition import Slo
from functions._core.slo.events import severity_of
from functions._core.slo.stored import active_freezes, policies
from functions._engine.wiring_slo import Calculated
from functions._observability.metrics import Gauge

SHOWN = 200
"""SLOs whose budgets are shown, and services whose freezes are: each is a handful of series in every scrape."""

HOURS = (1, 6, 24)
"""The windows of burn rates that are shown."""


async def gauges_of(done: Calculated, entries: KeyValues) -> Mapping[Gauge, float]:
    """Return the gauges after a round."""
    found: dict[Gauge, float] = {}
    for slo, budget in _lowest(done.slos, done.budgets):
        found |= _of_budget(slo, budget)
    for (kind, enabled), number in Counter((slo.kind.value, _word(slo.enabled)) for slo in done.slos).items():
        found["sla_slos_total", (kind, enabled)] = number
    known = await policies(entries)
    for (scope, enabled), number in Counter((one.scope.value, _word(one.enabled)) for one in known).items():
        found["sla_policies_total", (scope, enabled)] = number
    active = Counter((one.service_name, one.scope.value) for one in await active_freezes(entries))
    for labels, number in active.most_common(SHOWN):
        found["sla_freezes_active", labels] = number
    return found


def severities_of(violations: Iterable[ErrorBudget]) -> Sequence[str]:
    """Return how bad each of these violations is."""
    return [severity_of(budget) for budget in violations]


def _lowest(slos: Iterable[Slo], budgets: Mapping[str, ErrorBudget]) -> Sequence[tuple[Slo, ErrorBudget]]:
    found = [(slo, budgets[slo.slo_id]) for slo in slos if slo.slo_id in budgets]
    return sorted(found, key=lambda both: (both[1].error_budget_remaining, both[0].slo_id))[:SHOWN]


def _of_budget(slo: Slo, budget: ErrorBudget) -> Mapping[Gauge, float]:
    labels = (slo.slo_id, slo.service_name, slo.kind.value)
    found: dict[Gauge, float] = {
        ("sla_budget_remaining_percent", labels): budget.error_budget_remaining,
        ("sla_budget_consumed_percent", labels): budget.error_budget_consumed,
        ("sla_budget_status", labels): STATUS_NUMBERS[budget.status],
    }
    for hours in HOURS:
        if (burn := burn_over(budget, hours)) is not None:
            found["sla_burn_rate", (slo.slo_id, str(hours))] = burn.rate
    return found


def _word(value: bool) -> str:  # noqa: FBT001 it is the value
    return "true" if value else "false"
