"""The fifteen alerts of error budgets and freezes, and the route by which an Alertmanager sends alerts of SLOs.

They are the original's, by the platform's metrics. Two of them are about parts that it does not have: what a database
of its own was is the store, and in place of a cache, which the store is, there is the server of metrics. Budgets and
freezes have series only where there are some, so an alert without a sample is quiet, and no alert of missing data
stands beside it: `SLAManagementSystemDown` says that nothing is reported at all.
"""

from collections.abc import Mapping, Sequence

from infra.generate.alerts import CALLS, METRICS, Rule, alert_lines, annotations_of, group_lines, head_lines, share_of

CALCULATIONS = "sla_calculations_total"
CALCULATION = "sla_calculation_duration_seconds"
QUERIES = "sla_prometheus_queries_total"
STATUS = "sla_budget_status"
BURN = "sla_burn_rate"
ACTIVE = "sla_freezes_active"
ACTIVATED = "sla_freezes_activated_total"
RECONCILED = "sla_reconcile_total"

DASHBOARD = "/d/flow-c-sla"
"""The dashboard of budgets and freezes, below the address of Grafana."""

SLO_LABEL = "slo"
"""The label by which an alert names an SLO."""


BY_SERVICE = f"max by (service_name, scope) ({ACTIVE})"

HEALTH: Sequence[Rule] = (
    Rule(
        alert="SLAManagementSystemDown",
        severity="critical",
        signal=f"absent({CALCULATIONS})",
        comparison=">",
        threshold=0,
        lasting="5m",
        reads=(CALCULATIONS,),
        summary="Nobody calculates error budgets",
        description="No process reports calculations. Is the platform up and scraped?",
    ),
    Rule(
        alert="HighErrorRate",
        severity="warning",
        signal=share_of(CALCULATIONS, 'status="error"', "30m"),
        comparison=">",
        threshold=0.05,
        lasting="10m",
        reads=(CALCULATIONS,),
        summary="Error budgets cannot be calculated",
        description="More than 5 % of the calculations failed: the last budgets stay. The log says why: budget.failed.",
    ),
    Rule(
        alert="SlowCalculations",
        severity="warning",
        signal=f"histogram_quantile(0.95, sum by (le) (rate({CALCULATION}_bucket[30m])))",
        comparison=">=",
        threshold=10,
        lasting="10m",
        reads=(f"{CALCULATION}_bucket",),
        summary="Error budgets take long to calculate",
        description="One calculation in twenty takes 10 s or more: the server of metrics or the store is slow.",
    ),
    Rule(
        alert="StoreDown",
        severity="critical",
        signal=share_of(CALLS, 'status="error"', "5m"),
        comparison=">",
        threshold=0.5,
        lasting="2m",
        reads=(CALLS,),
        summary="The store is away",
        description="More than half of the calls of the store end in an error: no budget and no freeze can be stored.",
    ),
    Rule(
        alert="MetricsServerDown",
        severity="warning",
        signal=share_of(QUERIES, 'status="error"', "15m"),
        comparison=">",
        threshold=0.5,
        lasting="10m",
        reads=(QUERIES,),
        summary="The server of metrics gives no values",
        description="More than half of the queries failed: SLOs over Prometheus keep their last budgets.",
    ),
)

BUDGETS: Sequence[Rule] = (
    Rule(
        alert="CriticalBudgetExhausted",
        severity="critical",
        signal=f"max by (slo_id, service_name) ({STATUS})",
        comparison=">=",
        threshold=3,
        lasting="5m",
        reads=(STATUS,),
        summary="An error budget is spent",
        description="Nothing is left of the budget of an SLO of {{ $labels.service_name }}: flowc budget shows it.",
    ),
    Rule(
        alert="MultipleCriticalBudgets",
        severity="critical",
        signal=f"count(max by (slo_id) ({STATUS}) >= 2)",
        comparison=">=",
        threshold=3,
        lasting="5m",
        reads=(STATUS,),
        summary="Several error budgets are nearly spent",
        description="Three or more budgets are CRITICAL or EXHAUSTED: look for what they have in common.",
    ),
    Rule(
        alert="HighBurnRateFast",
        severity="critical",
        signal=f'max by (slo_id) ({BURN}{{window_hours="1"}})',
        comparison=">=",
        threshold=14.4,
        lasting="2m",
        reads=(BURN,),
        summary="An error budget burns very fast",
        description="An hour like the last one spends 2 % of a budget of 30 days.",
    ),
    Rule(
        alert="HighBurnRateSlow",
        severity="warning",
        signal=f'max by (slo_id) ({BURN}{{window_hours="6"}})',
        comparison=">=",
        threshold=6,
        lasting="15m",
        reads=(BURN,),
        summary="An error budget burns fast",
        description="Six hours like the last ones spend 5 % of a budget of 30 days.",
    ),
)

FREEZES: Sequence[Rule] = (
    Rule(
        alert="FreezeActivated",
        severity="warning",
        signal=f"sum by (scope) (increase({ACTIVATED}[10m]))",
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(ACTIVATED,),
        summary="A freeze has begun",
        description="A policy of scope {{ $labels.scope }} has frozen its target: flowc freeze list says which.",
    ),
    Rule(
        alert="LongRunningFreeze",
        severity="warning",
        signal=BY_SERVICE,
        comparison=">",
        threshold=0,
        lasting="2h",
        reads=(ACTIVE,),
        summary="A freeze lasts long",
        description="{{ $labels.service_name }} has been frozen for more than two hours: flowc freeze list.",
    ),
    Rule(
        alert="MultipleActiveFreezes",
        severity="critical",
        signal=f"sum({BY_SERVICE})",
        comparison=">=",
        threshold=3,
        lasting="5m",
        reads=(ACTIVE,),
        summary="Several freezes last",
        description="Three or more freezes last at a time: look for what they have in common.",
    ),
)

OPERATOR: Sequence[Rule] = (
    Rule(
        alert="OperatorDown",
        severity="critical",
        signal=f"absent({RECONCILED})",
        comparison=">",
        threshold=0,
        lasting="15m",
        reads=(RECONCILED,),
        summary="Nobody reconciles documents",
        description="No process reports that it looks at SLODefinition and SLAPolicy. Is reconcile_resources up?",
    ),
    Rule(
        alert="ReconciliationErrors",
        severity="warning",
        signal=f'sum(increase({RECONCILED}{{result="failed"}}[30m]))',
        comparison=">",
        threshold=0,
        lasting="10m",
        reads=(RECONCILED,),
        summary="Documents cannot be reconciled",
        description="Documents could not be compared with what they stand for; the log line documents.failed says why.",
    ),
    Rule(
        alert="CRDSyncFailures",
        severity="warning",
        signal=f'(sum(rate({RECONCILED}{{result="failed"}}[30m])) / sum(rate({RECONCILED}[30m])))',
        comparison=">",
        threshold=0.5,
        lasting="15m",
        reads=(RECONCILED,),
        summary="Most documents are not in force",
        description="More than half of the looks at documents end in an error: their status says what is wrong.",
    ),
)

GROUPS: Mapping[str, Sequence[Rule]] = {
    "flow-c-sla-health": HEALTH,
    "flow-c-sla-budgets": BUDGETS,
    "flow-c-sla-freezes": FREEZES,
    "flow-c-sla-operator": OPERATOR,
}
"""The alerts by the names of their groups."""

SLA_RULES: Sequence[Rule] = tuple(rule for group in GROUPS.values() for rule in group)


def labels_of(rule: Rule) -> dict[str, str]:
    """Return the labels of an alert: one about an SLO names it, for the route."""
    about = {SLO_LABEL: "{{ $labels.slo_id }}"} if rule.signal.startswith("max by (slo_id") else {}
    return {"severity": rule.severity, **about}


def sla_rules_file() -> str:
    """Return the rule file of Prometheus."""
    lines = head_lines(METRICS)
    for name, rules in GROUPS.items():
        lines += group_lines(name)
        for rule in rules:
            about = annotations_of(rule, DASHBOARD)
            lines += alert_lines(rule.alert, rule.expr, rule.lasting, labels_of(rule), about)
    return "\n".join(lines) + "\n"


def alertmanager_file() -> str:
    """Return an example of an Alertmanager's configuration, whose route sends what carries the label of an SLO."""
    return f"""\
# An example: alerts that carry the label `{SLO_LABEL}` reach Flow C, which calculates the budget of that SLO at once
# and enforces its policies; `continue` lets them reach people, too. Made by `make observability`; do not edit.
route:
  receiver: people
  routes:
    - receiver: sla-management-system-webhook
      matchers: ['{SLO_LABEL}!=""']
      group_by: [{SLO_LABEL}, service]
      group_wait: 10s
      group_interval: 1m
      repeat_interval: 4h
      continue: true
    - receiver: people
receivers:
  - name: people
  - name: sla-management-system-webhook
    webhook_configs:
      - url: http://127.0.0.1:8080/webhooks/alertmanager
        send_resolved: true
        max_alerts: 500
        http_config:
          authorization:
            type: Bearer
            # The value of FLOWC_ALERT_WEBHOOK_SECRET.
            credentials_file: /run/secrets/flowc-alert-secret
"""
