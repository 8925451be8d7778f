"""The panels of the dashboard of error budgets and freezes: seven rows, as the original's."""

from infra.generate.alerts import CALLS
from infra.generate.panels import Panel, Rows, quantiles, rate, rates
from infra.generate.slo_alerts import (
    ACTIVATED,
    BURN,
    BY_SERVICE,
    CALCULATION,
    CALCULATIONS,
    QUERIES,
    RECONCILED,
    SLA_RULES,
    STATUS,
)

REMAINING, CONSUMED = "sla_budget_remaining_percent", "sla_budget_consumed_percent"
BUDGET = "{{service_name}} {{slo_id}}"


def _burning(hours: str) -> tuple[tuple[str, str], ...]:
    return ((f'max by (slo_id) ({BURN}{{window_hours="{hours}"}})', "{{slo_id}}"),)


SLA: Rows = (
    (
        "Overview",
        (
            Panel("Least left", ((f"min({REMAINING})", "least left"),), "percent", "gauge"),
            Panel("SLOs", (('sum(sla_slos_total{enabled="true"})', "SLOs"),), kind="stat"),
            Panel("Frozen", ((f"sum({BY_SERVICE})", "freezes"),), kind="stat"),
        ),
    ),
    (
        "Budgets",
        (
            Panel("Left", ((f"min by (slo_id, service_name) ({REMAINING})", BUDGET),), "percent"),
            Panel("Used", ((f"max by (slo_id, service_name) ({CONSUMED})", BUDGET),), "percent"),
            Panel("Class, 0 healthy to 3 exhausted", ((f"max by (slo_id, service_name) ({STATUS})", BUDGET),)),
        ),
    ),
    (
        "Burn rates",
        (
            Panel("Last hour", (*_burning("1"), ("vector(14.4)", "critical"))),
            Panel("Last six hours", (*_burning("6"), ("vector(6)", "fast"))),
            Panel("Last day", (*_burning("24"), ("vector(1)", "lasts for its window"))),
        ),
    ),
    (
        "Freezes",
        (
            Panel("Active, by service", ((BY_SERVICE, "{{service_name}} {{scope}}"),)),
            Panel("Begun, ended", rates(ACTIVATED, "sla_freezes_resolved_total")),
            Panel("Duration", quantiles("sla_freeze_duration_seconds"), "s"),
        ),
    ),
    (
        "SLOs",
        (
            Panel("By type", (("sum by (slo_type) (sla_slos_total)", "{{slo_type}}"),)),
            Panel("Found violated", rate("sla_slo_violations_total", "severity")),
            Panel("Policies", (("sum by (scope) (sla_policies_total)", "{{scope}}"),)),
        ),
    ),
    (
        "Integrations",
        (
            Panel("Queries at Prometheus", rate(QUERIES, "status")),
            Panel("Query duration", quantiles("sla_prometheus_query_duration_seconds"), "s"),
            Panel("Alerts that came in", rate("sla_alertmanager_webhooks_received_total", "status")),
            Panel("Documents", rate(RECONCILED, "result")),
        ),
    ),
    (
        "Health",
        (
            Panel("Alerts", tuple((rule.state, rule.alert) for rule in SLA_RULES), kind="state-timeline"),
            Panel("Calculations", rate(CALCULATIONS, "status")),
            Panel("Calculation", quantiles(CALCULATION), "s"),
            Panel("Calls of the store", rate(CALLS, "status")),
        ),
    ),
)
"""As many panels as the original's: twenty-one, and a few more."""
