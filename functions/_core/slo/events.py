"""The events about budgets and freezes. The same calculation, and the same freeze, has the same ids each time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.routes import TRANSITIONS
from functions._core.machine.step_builder import derived_id
from functions._core.records.record import as_json
from functions._core.records.values import NAMESPACE
from functions._core.slo.budget import DEFAULT_THRESHOLDS, ErrorBudget, Thresholds
from functions._core.slo.definition import Slo
from functions._core.slo.freezing import FreezeEvent

UPDATED, VIOLATED = "sla.budget.updated", "sla.slo.violated"
ACTIVATED, RESOLVED = "sla.freeze.activated", "sla.freeze.resolved"
"""The types of the events, without prefix and version."""

NOT_TOLD = frozenset({"applied", "quiet"})
"""Fields of a freeze that nobody outside needs."""


def budget_events(
    slo: Slo, budget: ErrorBudget, *, violation: bool, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> Sequence[CloudEvent]:
    """Return the events of a calculation; with `violation` it is the first that found the SLO violated."""
    told: dict[str, Any] = {name: value for name, value in as_json(budget).items() if name in _TOLD}
    told |= {"slo_name": slo.name, "burn_rates": {f"{one.window_hours:g}": one.rate for one in budget.burn_rates}}
    events = [_event(UPDATED, budget.budget_id, slo.slo_id, budget.calculated_at, told)]
    if violation:
        data = {name: told[name] for name in _TOLD_OF_VIOLATION} | {"severity": severity_of(budget, thresholds)}
        events.append(_event(VIOLATED, budget.budget_id, slo.slo_id, budget.calculated_at, data))
    return events


def severity_of(budget: ErrorBudget, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> str:
    """Return how bad a violation is, by the burn rate over an hour."""
    fast = any(one.window_hours == 1 and one.rate >= thresholds.burn_critical for one in budget.burn_rates)
    return "critical" if fast else "warning"


def freeze_event(freeze: FreezeEvent) -> CloudEvent:
    """Return the event about a freeze that has begun, or ended."""
    event_type, at = (ACTIVATED, freeze.triggered_at) if freeze.resolved_at is None else (RESOLVED, freeze.resolved_at)
    data = {name: value for name, value in as_json(freeze).items() if name not in NOT_TOLD}
    return _event(event_type, freeze.event_id, freeze.event_id, at, data)


def _event(event_type: str, key: str, subject: str, at: datetime, data: dict[str, Any]) -> CloudEvent:
    return CloudEvent(
        id=derived_id(str(NAMESPACE), event_type, key),
        source=TRANSITIONS,
        type=type_of(event_type),
        time=at,
        subject=subject,
        data=data,
        extensions={"partitionkey": subject},
    )


_TOLD = frozenset(
    {
        "budget_id",
        "slo_id",
        "service_name",
        "calculated_at",
        "sli_value",
        "slo_target",
        "sample_count",
        "error_budget_consumed",
        "error_budget_remaining",
        "status",
        "exhaustion_earliest",
        "exhaustion_latest",
        "violations_count",
    }
)
_TOLD_OF_VIOLATION = (
    "slo_id",
    "slo_name",
    "service_name",
    "budget_id",
    "calculated_at",
    "sli_value",
    "slo_target",
    "error_budget_consumed",
)
