"""The data of the events about budgets and freezes, as `functions/_core/slo/events.py` makes them of the records."""

from collections.abc import Mapping
from typing import Literal

from functions._core.records.values import Model, Timestamp

Status = Literal["HEALTHY", "WARNING", "CRITICAL", "EXHAUSTED"]
"""How much of a budget is left."""


class BudgetUpdated(Model):
    """Data of `sla.budget.updated`: the budget of an SLO as it was calculated. Percent are of the budget."""

    budget_id: str
    """Id of the calculation."""
    slo_id: str
    """The SLO."""
    slo_name: str
    """Its name."""
    service_name: str
    """Its service."""
    calculated_at: Timestamp
    """When it was calculated."""
    sli_value: float
    """The share of what was good in the window, 0 to 1."""
    slo_target: float
    """The share that has to be good, 0 to 1."""
    sample_count: int | None = None
    """Of how many flows or tickets; null where a query does not say."""
    error_budget_consumed: float
    """Percent of the budget that is used; above 100 when more errors came than are allowed."""
    error_budget_remaining: float
    """Percent of the budget that is left, not below 0."""
    status: Status
    """The class of what is left."""
    burn_rates: Mapping[str, float] = {}
    """How fast it burns: the rates by their windows in hours, such as `1` and `0.083333`."""
    exhaustion_earliest: Timestamp | None = None
    """When it may be spent at the earliest; null: not foreseeable."""
    exhaustion_latest: Timestamp | None = None
    """When it is spent at the latest; null: perhaps never."""
    violations_count: int = 0
    """How often within the window the SLO was found to be violated."""


class SloViolated(Model):
    """Data of `sla.slo.violated`: a calculation found more errors than are allowed, the one before did not."""

    slo_id: str
    """The SLO."""
    slo_name: str
    """Its name."""
    service_name: str
    """Its service."""
    budget_id: str
    """Id of the calculation."""
    calculated_at: Timestamp
    """When it was found."""
    sli_value: float
    """The share of what was good in the window, 0 to 1."""
    slo_target: float
    """The share that has to be good, 0 to 1."""
    error_budget_consumed: float
    """Percent of the budget that is used, above 100."""
    severity: Literal["warning", "critical"]
    """`critical` when the budget also burns at 14.4 times the allowed rate or more over one hour, else `warning`."""


class FreezeTold(Model):
    """Data of `sla.freeze.activated` and `sla.freeze.resolved`: a freeze that has begun, or ended."""

    event_id: str
    """Id of the freeze."""
    policy_id: str
    """The policy."""
    policy_name: str
    """Its name."""
    scope: Literal["NAMESPACE", "SERVICE", "GLOBAL"]
    """What is frozen."""
    target: str
    """The namespace or service; `*` for everything."""
    actions: tuple[Literal["BLOCK_DEPLOY", "BLOCK_SCALE", "ALERT_ONLY"], ...]
    """What is forbidden."""
    slo_id: str
    """The SLO whose budget it began with."""
    service_name: str
    """The service of that SLO."""
    trigger_reason: str
    """Why it began, in a sentence."""
    budget_remaining: float
    """What was left of that budget, in percent."""
    triggered_at: Timestamp
    """When it began."""
    resolved_at: Timestamp | None = None
    """When it ended; null while it lasts."""
    resolved_by: str | None = None
    """Who ended it: `budget`, `policy`, or the name of a person; null while it lasts."""
    resolve_reason: str | None = None
    """Why it ended, in a sentence; null while it lasts."""
