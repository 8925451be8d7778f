"""The panels of the Grafana dashboards: rows of titles and queries, of the catalogue's metrics and the alert rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.generate.alerts import (
    BUFFER,
    CALLS,
    DECISIONS,
    DELIVERED,
    DISCOVERY,
    DURATION,
    FAILURES,
    GENERATED,
    LETTERS,
    QUEUE,
    RULES,
    SIGNATURES,
    STEP,
    SUCCESS,
    TICKETS,
    TOKENS,
    UNDELIVERED,
    VIOLATIONS,
    WORKERS,
)

RATE = "$__rate_interval"
FAILED_STAGES = 'forge_stage_total{status="failed"}'


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: a title, its queries with their legends, and the unit of their values."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"


def quantiles(name: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Return the quantiles of a distribution, each as one line; with `by` the 95th of each value of a label."""
    groups = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple(
        (f"histogram_quantile({q}, sum by ({groups}) (rate({name}_bucket[{RATE}])))", f"{legend}p{int(q * 100)}")
        for q in ((0.95,) if by else (0.5, 0.95, 0.99))
    )


def rate(name: str, by: str) -> tuple[tuple[str, str], ...]:
    """Return the rates of a counter by the values of a label."""
    return ((f"sum by ({by}) (rate({name}[{RATE}]))", f"{{{{{by}}}}}"),)


def _total(name: str, legend: str) -> tuple[str, str]:
    return (f"sum(increase({name}[$__range]))", legend)


STATES = tuple((rule.state, f"{rule.alert} {{{{step}}}}" if "step" in rule.signal else rule.alert) for rule in RULES)
GOOD_RATE = next(rule.signal for rule in RULES if rule.alert == "FlowCLowSuccessRate")

Rows = Sequence[tuple[str, Sequence[Panel]]]

FLOW_C: Rows = (
    ("State", (Panel("Objectives", STATES, kind="state-timeline"),)),
    (
        "Flows",
        (
            Panel("Success rate", ((GOOD_RATE, "success"),), "percentunit", "gauge"),
            Panel("Decisions, flows", (_total(DECISIONS, "decisions"), _total(SUCCESS, "completed")), kind="stat"),
            Panel("Active flows", (("max(orchestration_workflows_active)", "active"),)),
            Panel("Failures by reason", rate(FAILURES, "reason")),
            Panel("Flows ended", rate("orchestration_workflows_completed_total", "status")),
        ),
    ),
    (
        "Latency and steps",
        (
            Panel("Flow duration", (*quantiles(DURATION), ("vector(14400)", "SLA")), "s"),
            Panel("Step duration", quantiles(STEP, "step"), "s"),
            Panel("Functions at work", quantiles("flowc_event_duration_seconds", "function"), "s"),
        ),
    ),
    (
        "Tickets",
        (
            Panel("Tickets by status", (("max by (status) (tickets_by_status)", "{{status}}"),)),
            Panel("Tickets generated", rate("orchestration_tickets_generated_total", "task_type")),
            Panel("Tickets ended", rate("orchestration_tickets_completed_total", "status")),
            Panel(
                "Retries, reassignments",
                tuple(
                    (f"sum(rate({name}[{RATE}]))", name)
                    for name in ("ticket_retries_total", "ticket_reassignments_total")
                ),
            ),
        ),
    ),
    (
        "SLA",
        (
            Panel("Deadlines missed", (_total(VIOLATIONS, "missed"),), kind="stat"),
            Panel("Time limits that ran out", rate("flowc_timeouts_total", "limit")),
            Panel(
                "Least time left", (("min by (risk_band) (orchestration_sla_remaining_seconds)", "{{risk_band}}"),), "s"
            ),
        ),
    ),
    (
        "Workers",
        (
            Panel("Workers by health", (("max by (status) (agents_active)", "{{status}}"),)),
            Panel("Registry calls", rate("neural_hive_service_registry_calls_total", "status")),
            Panel("Discovery", (*quantiles("discovery_duration_seconds"),), "s"),
            Panel("Messages not taken", rate("webhooks_failed_total", "reason")),
        ),
    ),
    (
        "Code forge",
        (
            Panel("Pipelines ended", rate("forge_pipelines_total", "status")),
            Panel("Pipelines under way", (("max(forge_pipelines_active)", "active"),)),
            Panel("Stage duration", quantiles("forge_stage_duration_seconds", "stage"), "s"),
            Panel("Stages that failed", ((f"sum by (stage) (rate({FAILED_STAGES}[{RATE}]))", "{{stage}}"),)),
            Panel("Approvals", rate("forge_approvals_total", "class")),
            Panel("Approval score", quantiles("forge_approval_score"), "percentunit"),
            Panel("Artifacts", rate("forge_artifacts_total", "type")),
            Panel("Findings by severity", rate("forge_issues_total", "severity")),
        ),
    ),
    (
        "Telemetry, queue, API",
        (
            Panel("Telemetry buffer", ((f"max({BUFFER})", "waiting"),)),
            Panel(
                "Telemetry",
                (
                    (f"sum(rate(neural_hive_flow_c_telemetry_published_total[{RATE}]))", "published"),
                    (f"sum(rate(neural_hive_flow_c_telemetry_lost_total[{RATE}]))", "lost"),
                ),
            ),
            Panel("Queue depth", (("max(flowc_queue_depth)", "events"),)),
            Panel("Dead letters", rate("flowc_dead_letters_total", "function")),
            Panel("API requests", rate("api_requests_total", "code")),
            Panel("API duration", quantiles("api_request_duration_seconds", "route"), "s"),
        ),
    ),
)


def rates(*names: str) -> tuple[tuple[str, str], ...]:
    """Return the rates of several counters, each as one line with its name."""
    return tuple((f"sum(rate({name}[{RATE}]))", name) for name in names)


def _compared(name: str, *alerts: str) -> Panel:
    """Return the states of some alerts: good, bad or no data."""
    return Panel(name, tuple((rule.state, rule.alert) for rule in RULES if rule.alert in alerts), kind="state-timeline")


TICKET_SERVICE: Rows = (
    (
        "State",
        (_compared("Alerts", "FlowCTicketBacklog", "FlowCApprovalsLate", "FlowCDeadLetters", "FlowCTokenFailures"),),
    ),
    (
        "Tickets",
        (
            Panel("By status", ((f"max by (status) ({TICKETS})", "{{status}}"),)),
            Panel("Made, by type", rate(GENERATED, "task_type")),
            Panel("Ended, by status", rate("orchestration_tickets_completed_total", "status")),
            Panel("Changes of status", rate("ticket_status_transitions_total", "to")),
            Panel("Tried again, given to others", rates("ticket_retries_total", "ticket_reassignments_total")),
            Panel("Given up", rates(LETTERS)),
        ),
    ),
    (
        "API",
        (
            Panel("Requests", rate("api_requests_total", "code")),
            Panel("Errors", rate("api_errors_total", "route")),
            Panel("Duration", quantiles("api_request_duration_seconds", "route"), "s"),
            Panel("Refused by limits", rate("api_rate_limited_total", "limit")),
        ),
    ),
    (
        "Messages to workers",
        (
            Panel("Owed and taken", rates("webhooks_enqueued_total", "webhooks_sent_total")),
            Panel("Not taken", rate("webhooks_failed_total", "reason")),
            Panel("Duration", quantiles("webhooks_duration_seconds"), "s"),
        ),
    ),
    (
        "Webhooks",
        (
            Panel("Deliveries", rates(DELIVERED, "flowc_webhooks_repeated_total", UNDELIVERED)),
            Panel("Duration", quantiles("flowc_webhooks_duration_seconds"), "s"),
            Panel("Disabled", rates("flowc_webhooks_disabled_total")),
        ),
    ),
    (
        "Tokens and signatures",
        (
            Panel("Tokens made", rates("jwt_tokens_generated_total")),
            Panel("Tokens refused", rate(TOKENS, "reason")),
            Panel("Signatures refused", rate(SIGNATURES, "code")),
        ),
    ),
)

REGISTRY: Rows = (
    (
        "State",
        (
            _compared(
                "Alerts", "FlowCWorkersUnavailable", "FlowCHeartbeatDrop", "FlowCDiscoverySlow", "FlowCStoreErrors"
            ),
        ),
    ),
    (
        "Workers",
        (
            Panel("By health", ((f"max by (status) ({WORKERS})", "{{status}}"),)),
            Panel("Registered, left", rates("agents_registered_total", "agents_deregistered_total")),
        ),
    ),
    (
        "Health",
        (
            Panel("Fell silent, forgotten", rates("agents_marked_unhealthy_total", "agents_removed_total")),
            Panel("Circuit breakers opened", rates("agents_suspended_total")),
        ),
    ),
    (
        "Discovery",
        (
            Panel("Asked", rate("discovery_requests_total", "result")),
            Panel("Duration", quantiles(DISCOVERY), "s"),
            Panel("Candidates of a ticket", quantiles("agents_matched")),
        ),
    ),
    (
        "Heartbeat",
        (
            Panel("Heartbeats", rate("heartbeats_received_total", "status")),
            Panel("Duration of requests", quantiles("api_request_duration_seconds", "route"), "s"),
        ),
    ),
    (
        "Store",
        (
            Panel("Registry calls", rate(CALLS, "operation")),
            Panel("Results", rate(CALLS, "status")),
            Panel("Registry latency", quantiles("neural_hive_service_registry_latency_seconds", "operation"), "s"),
        ),
    ),
)

ORCHESTRATION: Rows = (
    (
        "Overview",
        (
            Panel("Started", rate("orchestration_workflows_started_total", "risk_band")),
            Panel("Completed", rate("orchestration_workflows_completed_total", "status")),
            Panel("Success rate", ((GOOD_RATE, "success"),), "percentunit", "gauge"),
            Panel("Active", (("max(orchestration_workflows_active)", "active"),)),
        ),
    ),
    (
        "Duration",
        (
            Panel("Decision to end", quantiles(DURATION), "s"),
            Panel("Decision to outcome", quantiles("orchestration_workflow_duration_seconds"), "s"),
        ),
    ),
    (
        "Tickets",
        (
            Panel("Generated", rate(GENERATED, "risk_band")),
            Panel("Sent to workers", rate("webhooks_enqueued_total", "event_type")),
            Panel("Completed", rate("orchestration_tickets_completed_total", "status")),
        ),
    ),
    (
        "SLA",
        (
            Panel("Violations", rate("orchestration_sla_violations_total", "scope")),
            Panel(
                "Least time left", (("min by (risk_band) (orchestration_sla_remaining_seconds)", "{{risk_band}}"),), "s"
            ),
            Panel("Came at risk", rate("orchestration_deadline_approaching_total", "risk_band")),
        ),
    ),
    (
        "Retry",
        (
            Panel("Retries", rates("ticket_retries_total", "ticket_reassignments_total")),
            Panel("Compensations", rate("orchestration_compensations_total", "status")),
        ),
    ),
    (
        "Broker",
        (
            Panel("Events handled", rate("flowc_events_handled_total", "function")),
            Panel("Queue depth", ((f"max({QUEUE})", "events"),)),
            Panel("Put off, given up", rates("flowc_events_postponed_total", LETTERS)),
        ),
    ),
    (
        "Validation",
        (
            Panel("Plans", rate("orchestration_validations_total", "result")),
            Panel("C1 at work", quantiles("orchestration_validation_duration_seconds"), "s"),
        ),
    ),
    (
        "Consolidation",
        (
            Panel("Incidents", rate("orchestration_incidents_total", "severity")),
            Panel("Steps", quantiles(STEP, "step"), "s"),
        ),
    ),
    (
        "Telemetry",
        (
            Panel("Buffer", ((f"max({BUFFER})", "waiting"),)),
            Panel("Published", rate("neural_hive_flow_c_telemetry_published_total", "step")),
        ),
    ),
)
