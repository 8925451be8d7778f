"""Every metric of the platform, as data: `/metrics`, the alert rules, the dashboard and their tests are made of it.

A label with known values names them all, and the series of its counters exist from the start, at zero: what never
happened is told apart from what nobody measures. A gauge exists in a process that counts it, once it has. No label
holds an id.
"""

from collections.abc import Sequence

from functions._core.events.healing import HealingAct
from functions._core.events.policies import PolicyAct
from functions._core.events.telemetry import STEPS
from functions._core.machine.tables import ENDED_FLOWS, ENDED_TICKETS
from functions._core.placement.signals import SignalKind
from functions._core.rate_limits import DAY, READ, STRANGER, WORKER, WRITE
from functions._core.records.audits import IncidentType, Severity
from functions._core.records.policies import Beyond
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import Health, RiskBand, TaskType, TicketStatus
from functions._observability.learning_catalogue import LEARNING
from functions._observability.metric import FLOW_BUCKETS, OPEN, STEP_BUCKETS, Kind, Metric, counter, gauge, seconds

BANDS = tuple(band.value for band in RiskBand)
FLOW_ENDS = tuple(sorted(ENDED_FLOWS))
TICKET_ENDS = tuple(sorted(ENDED_TICKETS))
TASK_TYPES = tuple(kind.value for kind in TaskType)
STEP_NAMES = tuple(step for step, _ in STEPS)
FRAME = "frame"
WORKER_TYPE = "WORKER"
HEDGED = ("begun", "not_begun", "won_by_first", "won_by_second", "one_given_up")
"""What becomes of second attempts: each that begins ends in one of the last three, or with its ticket."""

TO_WORKERS = ("ticket.assigned", "ticket.cancelled")

INCIDENTS = tuple(kind.value for kind in IncidentType)
SEVERITIES = tuple(severity.value for severity in Severity)

HELD_BACK = ("flows", "budget", "freeze", *(beyond.value for beyond in Beyond))
"""The limit of all flows, a spent budget, a freeze, or what the plan says for one more flow of its key."""

LIMITS = (
    "function",
    "approval",
    "deadline",
    "pause",
    "compensation",
    "sink",
    "no_worker",
    "no_capacity",
    "acknowledgement",
    "start_to_close",
    "heartbeat",
    "schedule_to_start",
    "sign_of_life",
)
"""What is waited for, as in the table of time limits in docs/guides/scheduling.md."""

INTERNAL_FAILURES = ("internal", "sla_timeout", "ticket_failed")
"""Reasons of failure that are the platform's or its workers', and count against the success rate."""

USER_FAILURES = (
    "budget_spent",
    "cancelled",
    "cyclic_dependencies",
    "invalid_decision",
    "invalid_plan",
    "no_tickets",
    "plan_expired",
    "policy_denied",
)
TOKEN_REFUSALS = ("bad_token", "expired_token", "foreign_token")
SIGNATURE_REFUSALS = ("bad_signature", "not_signed", "stale_signature")
"""Codes of refusals that alerts read, and that have to be there at zero."""

SCHEDULED = ("STARTED", "QUEUED", "SKIPPED", "MISSED", "REFUSED")
"""What becomes of a moment of a schedule: `RunResult`, whose models most functions do not import."""

PIPELINE_ENDS = ("completed", "failed", "rejected", "cancelled", "timed_out")
FORGE_STAGES = ("select_template", "compose_code", "validate_code", "run_tests", "package", "approve")
STAGE_ENDS = ("completed", "failed", "skipped")
ISSUE_SEVERITIES = ("critical", "high", "medium", "low", "info")
"""Words of `PipelineResult`; `_core.forge.stages`, which has the stages, is imported by few processes."""

SHARES = (0.1, 0.2, 0.3, 0.4, 0.49, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

RATE_LIMITS = (READ, WRITE, WORKER, STRANGER, DAY)
SIGNALS = tuple(kind.value for kind in SignalKind)
REGISTRY_OPERATIONS = ("discover", "get", "register", "deregister")


FLOWS: Sequence[Metric] = (
    seconds("neural_hive_flow_c_duration_seconds", "From a decision to its flow's end", FLOW_BUCKETS, status=FLOW_ENDS),
    seconds("neural_hive_flow_c_steps_duration_seconds", "Steps C1 to C6 of a flow", STEP_BUCKETS, step=STEP_NAMES),
    counter("neural_hive_flow_c_success_total", "Flows ended COMPLETED"),
    counter("neural_hive_flow_c_failures_total", "Flows ended otherwise", reason=USER_FAILURES + INTERNAL_FAILURES),
    counter("neural_hive_flow_c_sla_violations_total", "Flows that missed their deadline"),
    seconds("neural_hive_flow_c_workflow_query_duration_seconds", "Questions about a flow", query_name=OPEN),
    counter("neural_hive_flow_c_workflow_query_failures_total", "Questions refused", query_name=OPEN, reason=OPEN),
    counter("neural_hive_flow_c_ticket_validation_failures_total", "Plans that C1 refused", reason=OPEN),
    counter("flowc_decisions_total", "Decisions that became a flow"),
    counter("flowc_transitions_total", "Transitions of flows and tickets, by event", type=OPEN),
    counter("flowc_timeouts_total", "Time limits that ran out, by what was waited for", limit=LIMITS),
    counter(
        "flowc_held_back_total",
        "Flows beyond a limit or a spent budget, tickets that a freeze holds back",
        limit=HELD_BACK,
    ),
    counter(
        "flowc_guard_verdicts_total",
        "Verdicts of guards, and of people after them, that stopped work or let it go on",
        stage=("plan", "ticket"),
        finding=("allow", "deny", "quarantine", "unavailable"),
    ),
    counter("orchestration_workflows_started_total", "Flows whose plan was accepted", risk_band=BANDS),
    counter("orchestration_workflows_completed_total", "Flows ended, by status", status=FLOW_ENDS),
    seconds("orchestration_workflow_duration_seconds", "From a decision to the outcome", FLOW_BUCKETS, status=OPEN),
    gauge("orchestration_workflows_active", "Flows that have not ended"),
    counter("orchestration_validations_total", "Plans validated", result=("accepted", "refused")),
    seconds("orchestration_validation_duration_seconds", "C1 at work on a plan"),
    counter("orchestration_sla_violations_total", "Deadlines missed", risk_band=BANDS, scope=("flow", "ticket")),
    counter("orchestration_deadline_approaching_total", "Flows and tickets that came at risk", risk_band=BANDS),
    counter("orchestration_compensations_total", "Compensations ended", status=("compensated", "not_compensated")),
    counter("orchestration_incidents_total", "Incidents raised", type=INCIDENTS, severity=SEVERITIES),
    gauge("orchestration_sla_remaining_seconds", "SLA left to the open flow with least", "seconds", risk_band=BANDS),
)

TICKETS: Sequence[Metric] = (
    counter("orchestration_tickets_generated_total", "Tickets made", task_type=TASK_TYPES, risk_band=BANDS),
    counter("orchestration_tickets_completed_total", "Tickets ended", task_type=TASK_TYPES, status=TICKET_ENDS),
    seconds("orchestration_ticket_generation_duration_seconds", "C2 at work on a plan"),
    gauge("tickets_by_status", "Tickets in the store", status=tuple(status.value for status in TicketStatus)),
    counter("ticket_status_transitions_total", "Tickets that changed their status", from_=OPEN, to=OPEN),
    counter("ticket_retries_total", "Attempts made again after a failure or a timeout"),
    counter("ticket_reassignments_total", "Tickets taken from a worker that could not do them"),
    counter("flowc_hedges_total", "Second attempts beside one that runs, by what became of them", result=HEDGED),
    counter("webhooks_enqueued_total", "Messages owed to workers", event_type=TO_WORKERS),
    counter("webhooks_sent_total", "Messages that a worker has taken", event_type=TO_WORKERS),
    counter("webhooks_failed_total", "Messages not taken", reason=("busy", "refused", "unreachable", "failed")),
    seconds("webhooks_duration_seconds", "POST to a worker, to its answer"),
    counter("jwt_tokens_generated_total", "Tokens made for assignments"),
    counter("jwt_validation_failures_total", "Tokens of reports that were refused", reason=TOKEN_REFUSALS),
    counter("flowc_reports_refused_total", "Reports of workers that were not taken", code=OPEN),
)

WORKERS: Sequence[Metric] = (
    counter(
        "neural_hive_service_registry_calls_total",
        "Calls of the registry",
        operation=REGISTRY_OPERATIONS,
        status=("ok", "conflict", "error"),
    ),
    seconds("neural_hive_service_registry_latency_seconds", "Calls of the registry", operation=REGISTRY_OPERATIONS),
    counter("agents_registered_total", "Registrations", type=(WORKER_TYPE,)),
    counter("agents_deregistered_total", "Workers that left in good order", type=(WORKER_TYPE,)),
    counter("agents_marked_unhealthy_total", "Workers that fell silent", type=(WORKER_TYPE,)),
    counter("agents_suspended_total", "Circuit breakers of workers opened", type=(WORKER_TYPE,)),
    counter("agents_removed_total", "Workers forgotten", type=(WORKER_TYPE,), reason=("silent",)),
    gauge("agents_active", "Registered workers", type=(WORKER_TYPE,), status=tuple(health.value for health in Health)),
    counter("heartbeats_received_total", "Signs of life", status=tuple(health.value for health in Health)),
    counter("flowc_leases_total", "Requests of workers that ask for their tickets", result=("given", "empty")),
    counter("flowc_leased_tickets_total", "Tickets that such workers were given", time=("first", "again")),
    counter("discovery_requests_total", "C3 asked for workers", result=("found", "waiting", "error")),
    seconds("discovery_duration_seconds", "C3 at work"),
    counter("pheromone_deposits_total", "Signals left on the trails of workers", kind=SIGNALS),
    Metric(
        "agents_matched", Kind.HISTOGRAM, "Candidates of a ticket", buckets=(0, 1, 2, 5, 10, 20, 50), unit="workers"
    ),
    Metric(
        "matching_candidates_evaluated",
        Kind.HISTOGRAM,
        "Workers that a look at the registry found",
        buckets=(0, 1, 5, 10, 50, 100, 500, 1000),
        unit="workers",
    ),
    counter("health_checks_total", "Silent agents probed, see FLOWC_PROBE_AGENTS", result=("well", "silent")),
)

TELEMETRY: Sequence[Metric] = (
    counter("neural_hive_flow_c_telemetry_published_total", "Events the sink has", step=(*STEP_NAMES[:-1], FRAME)),
    counter("neural_hive_flow_c_telemetry_lost_total", "Events given up: refused, or an hour in the buffer"),
    gauge("neural_hive_flow_c_telemetry_buffer_size", "Telemetry events that wait for the sink", "events"),
)

EVENTS_IN = ("matched", "kept", "duplicate", "refused")
"""What becomes of an event of a user."""

WEBHOOKS: Sequence[Metric] = (
    counter("flowc_events_in_total", "Events of users by what became of them", result=EVENTS_IN),
    counter("sla_reconcile_total", "Looks at documents of SLOs", result=("unchanged", "repaired", "failed")),
    counter("flowc_webhooks_enqueued_total", "Events put into the queues of webhook subscribers"),
    counter("flowc_webhooks_delivered_total", "Events that a webhook has taken"),
    counter("flowc_webhooks_repeated_total", "Tries of a webhook that failed and are repeated"),
    counter("flowc_webhooks_failed_total", "Events that a webhook refused, or has not taken in ten tries"),
    counter("flowc_webhooks_disabled_total", "Subscriptions disabled, as their webhook answered 410"),
    counter("flowc_schedules_due_total", "Looks at a schedule whose wake-up had come"),
    counter("flowc_schedules_runs_total", "Moments of schedules, by what became of them", result=SCHEDULED),
    seconds("flowc_schedules_lateness_seconds", "From when a scheduled run is due to its flow", FLOW_BUCKETS),
    counter(
        "flowc_sla_policies_applied_total",
        "Actions of flow SLA policies, by what became of them",
        action=tuple(act.value for act in PolicyAct),
        result=("done", "not_done"),
    ),
    counter(
        "flowc_healing_actions_total",
        "Actions of playbooks, by what became of them",
        action=tuple(act.value for act in HealingAct),
        result=("done", "not_done"),
    ),
    counter("flowc_healing_ended_total", "Incidents that playbooks dealt with", state=("resolved", "escalated")),
    counter("flowc_jobs_leaked_total", "Jobs of executors that nobody wants and that could not be ended"),
    seconds("flowc_webhooks_duration_seconds", "POST to a webhook, to its answer"),
    gauge("flowc_webhooks_waiting", "Events that wait for a webhook", "events"),
    counter(
        "signature_validation_failures_total", "Incoming webhooks whose signature was refused", code=SIGNATURE_REFUSALS
    ),
)

FORGE: Sequence[Metric] = (
    counter("forge_pipelines_total", "Pipelines of the code forge that ended", status=PIPELINE_ENDS),
    gauge("forge_pipelines_active", "Pipelines under way, reviewed ones included; absent without a forge", "pipelines"),
    seconds("forge_pipeline_duration_seconds", "Pipeline, from its request to its end", FLOW_BUCKETS),
    seconds("forge_queue_wait_seconds", "Request of a pipeline, to the begin of its first stage", FLOW_BUCKETS),
    counter("forge_stage_total", "Stages of pipelines that ended, by status", stage=FORGE_STAGES, status=STAGE_ENDS),
    seconds("forge_stage_duration_seconds", "Stage of a pipeline", STEP_BUCKETS, stage=FORGE_STAGES),
    counter("forge_artifacts_total", "Artifacts of pipelines that completed", type=OPEN),
    counter("forge_approvals_total", "Pipelines by who has decided on them", class_=("auto", "reviewed", "rejected")),
    counter("forge_reviews_total", "Reviews that began"),
    counter("forge_issues_total", "Findings in the code of pipelines", severity=ISSUE_SEVERITIES),
    counter("forge_tests_total", "Tests of pipelines", result=("passed", "failed", "skipped")),
    counter("forge_signatures_total", "Packaged artifacts of pipelines", result=("signed", "unsigned")),
    Metric("forge_validation_score", Kind.HISTOGRAM, "What tools make of the code, 0 to 1", {}, SHARES, "ratio"),
    Metric("forge_approval_score", Kind.HISTOGRAM, "Scores of the approval gate, 0 to 1", {}, SHARES, "ratio"),
    Metric("forge_coverage", Kind.HISTOGRAM, "Lines that the tests of pipelines cover, 0 to 1", {}, SHARES, "ratio"),
)
"""They are counted of the result of a pipeline, when that is committed."""

PLATFORM: Sequence[Metric] = (
    counter("flowc_events_handled_total", "Events handled", function=OPEN, outcome=OPEN),
    seconds("flowc_event_duration_seconds", "From taking an event up to its commit", function=OPEN),
    counter("flowc_events_postponed_total", "Failed tries that are repeated after a pause"),
    gauge("flowc_queue_depth", "Events that wait to be handled", "events"),
    gauge("flowc_approvals_late", "Approvals that have waited for more than half of their time", "approvals"),
    counter("flowc_dead_letters_total", "Events given up", function=OPEN, code=OPEN),
    counter("ticket_dlq_total", "Events given up, of whatever function and for whatever reason"),
    counter("flowc_dead_letters_dropped_total", "Dead letters dropped, the oldest first, because there were too many"),
    counter("flowc_unreadable_records_total", "Stored records that could not be read", kind=tuple(RecordKind)),
    counter("flowc_records_forgotten_total", "Records of ended flows removed after their retention"),
    counter("api_requests_total", "HTTP requests", method=OPEN, route=OPEN, code=OPEN),
    seconds("api_request_duration_seconds", "HTTP requests", method=OPEN, route=OPEN),
    counter("api_rate_limited_total", "HTTP requests refused by a limit, see FLOWC_RATE_LIMITS", limit=RATE_LIMITS),
    counter("api_errors_total", "HTTP requests answered 4xx or 5xx", method=OPEN, route=OPEN, code=OPEN),
    counter("flowc_metrics_errors_total", "Measurements that could not be taken: a fault of the platform's code"),
)

SLO_LABELS = {"slo_id": OPEN, "service_name": OPEN, "slo_type": OPEN}
"""Labels of the gauges of budgets: the one kind of id that is a label, as people choose SLOs, and few are shown."""

SCOPES = ("GLOBAL", "NAMESPACE", "SERVICE")

BUDGETS = (
    counter(
        "sla_calculations_total",
        "Calculations of error budgets",
        status=("success", "no_data", "counting", "error"),
    ),
    seconds("sla_calculation_duration_seconds", "Calculation of one error budget", (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)),
    gauge("sla_budget_remaining_percent", "What is left of an error budget", "%", **SLO_LABELS),
    gauge("sla_budget_consumed_percent", "What is used of an error budget", "%", **SLO_LABELS),
    gauge("sla_budget_status", "Class of an error budget, from 0, HEALTHY, to 3, EXHAUSTED", "", **SLO_LABELS),
    gauge("sla_burn_rate", "Burn rate of an error budget", "", slo_id=OPEN, window_hours=("1", "6", "24")),
    gauge("sla_slos_total", "SLOs", "SLOs", slo_type=OPEN, enabled=("true", "false")),
    gauge("sla_policies_total", "Freeze policies", "policies", scope=SCOPES, enabled=("true", "false")),
    counter("sla_slo_violations_total", "SLOs found to be violated", severity=("warning", "critical")),
    counter("sla_policy_evaluations_total", "Looks at policies", result=("activated", "resolved", "unchanged")),
    gauge("sla_freezes_active", "Freezes that last", "freezes", service_name=OPEN, scope=SCOPES),
    counter("sla_freezes_activated_total", "Freezes that began", scope=SCOPES),
    counter("sla_freezes_resolved_total", "Freezes that ended", scope=SCOPES),
    seconds("sla_freeze_duration_seconds", "Freeze, to its end", (60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)),
    counter("sla_prometheus_queries_total", "Queries of SLOs at Prometheus", status=("success", "no_data", "error")),
    seconds("sla_prometheus_query_duration_seconds", "Query of an SLO at Prometheus, to its answer"),
    counter("sla_alertmanager_webhooks_received_total", "Alerts that came from Alertmanager", status=OPEN),
    counter("sla_events_published_total", "Events about budgets and freezes", event_type=OPEN),
)


CATALOGUE: Sequence[Metric] = (
    *(*FLOWS, *TICKETS, *WORKERS, *TELEMETRY, *WEBHOOKS, *FORGE, *PLATFORM, *BUDGETS, *LEARNING),
)
