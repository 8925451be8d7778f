"""The panels of the dashboard of executors: by family first, then by executor."""

from infra.generate.executor_alerts import ANSWERS, FAILING, LEAKED, TASKS
from infra.generate.panels import Panel, Rows, quantiles, rate, rates

BOTH = "family, executor"
ACTIVE = "worker_tasks_active"


def _by_both(name: str) -> tuple[tuple[str, str], ...]:
    return ((f"sum by ({BOTH}) (rate({name}[$__rate_interval]))", "{{family}}:{{executor}}"),)


EXECUTORS: Rows = (
    (
        "Tickets",
        (
            Panel("At work", ((f"sum by ({BOTH}) ({ACTIVE})", "{{family}}:{{executor}}"),)),
            Panel("Ended", rate(TASKS, "status")),
            Panel("Failing, by family", ((FAILING, "{{family}}"),), "percentunit"),
            Panel("Failures by error", rate("worker_task_failures_total", "kind")),
            Panel("Duration", quantiles("worker_task_duration_seconds", "executor"), "s"),
            Panel("Simulated, timed out", rates("worker_simulated_total", "worker_timeouts_total")),
        ),
    ),
    (
        "Jobs",
        (
            Panel("Begun, found again", rates("worker_jobs_started_total", "worker_jobs_adopted_total")),
            Panel("Cancelled, not ended", rates("worker_jobs_cancelled_total", LEAKED)),
            Panel("Start", quantiles("worker_start_duration_seconds", "executor"), "s"),
            Panel("Looks at jobs", _by_both("worker_poll_total")),
            Panel("Look", quantiles("worker_poll_duration_seconds", "executor"), "s"),
            Panel("Looks given up", _by_both("worker_poll_failures_total")),
        ),
    ),
    (
        "Services",
        (
            Panel("Calls by status", rate(ANSWERS, "status")),
            Panel("Call", quantiles("worker_api_latency_seconds", "executor"), "s"),
            Panel("Repeated, asked to wait", rates("worker_retries_total", "worker_rate_limited_total")),
            Panel("Waiting", _by_both("worker_wait_seconds_total"), "s"),
        ),
    ),
    (
        "Logs and artifacts",
        (
            Panel("Written", _by_both("worker_log_bytes_total"), "Bps"),
            Panel("Logs in the store", rate("worker_logs_total", "result")),
            Panel("Artifacts", rates("worker_artifacts_total")),
            Panel("Size of artifacts", rates("worker_artifact_bytes_total"), "Bps"),
        ),
    ),
    (
        "Families",
        (
            Panel("Findings by severity", rate("worker_findings_total", "severity")),
            Panel("Tests", rate("worker_tests_total", "result")),
            Panel("Coverage", quantiles("worker_coverage_ratio"), "percentunit"),
            Panel("Deployments", rate("worker_deployments_total", "result")),
        ),
    ),
)
