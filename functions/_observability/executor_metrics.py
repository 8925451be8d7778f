"""Every metric of executors, as data: `/metrics` of a worker, the alert rules, the dashboard and their tests read it.

The families of executors share the names and differ by the labels `family` and `executor`. A worker begins the series
of its executors at zero, where their other labels are known.
"""

from collections.abc import Sequence

from functions._observability.metric import CALL_BUCKETS, OPEN, STEP_BUCKETS, Kind, Metric, counter, gauge, seconds

BY = {"family": OPEN, "executor": OPEN}
"""The labels that all of them have: the kind of work, and the executor that does it."""

ENDS = ("completed", "failed", "timed_out", "cancelled")
LOGS = ("kept", "cut", "lost")
"""What becomes of the log of a job where there is a store: the whole is kept, its beginning, or nothing."""

FINDINGS = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO")
TESTS = ("passed", "failed", "errors", "skipped")
DEPLOYMENTS = ("first", "updated", "rolled_back")
SHARES = (0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)

EXECUTOR_METRICS: Sequence[Metric] = (
    counter("worker_tasks_total", "Tickets that executors have had, by how that ended", **BY, status=ENDS),
    gauge("worker_tasks_active", "Tickets that executors have now", "tickets", **BY),
    seconds("worker_task_duration_seconds", "Ticket, to the end of its job", STEP_BUCKETS, **BY),
    counter("worker_task_failures_total", "Tickets that failed, by the type of the error", **BY, kind=OPEN),
    counter("worker_timeouts_total", "Tickets whose time was over before the end of their job", **BY),
    counter("worker_jobs_started_total", "Jobs that were started", **BY),
    counter("worker_jobs_adopted_total", "Jobs of an earlier attempt that were found again", **BY),
    counter("worker_jobs_cancelled_total", "Jobs that were ended as nobody wanted them any more", **BY),
    counter("worker_jobs_leaked_total", "Jobs that could not be ended: they may still run", **BY),
    seconds("worker_start_duration_seconds", "Start of a job, repetitions included", CALL_BUCKETS, **BY),
    counter("worker_poll_total", "Looks at jobs", **BY),
    seconds("worker_poll_duration_seconds", "Look at a job, repetitions included", CALL_BUCKETS, **BY),
    counter("worker_poll_failures_total", "Looks at jobs that were given up after all repetitions", **BY),
    counter("worker_retries_total", "Calls that were repeated after a passing fault", **BY),
    counter("worker_rate_limited_total", "Calls that a service asked to make later", **BY),
    counter("worker_wait_seconds_total", "Seconds waited before calls were repeated", **BY),
    counter(
        "worker_api_calls_total", "Calls of services, by status of the answer; `none`: none came", **BY, status=OPEN
    ),
    seconds("worker_api_latency_seconds", "Call of a service, to its answer", CALL_BUCKETS, **BY),
    counter("worker_log_bytes_total", "Bytes that jobs have written to their logs", **BY),
    counter("worker_logs_total", "Logs of jobs, by what became of them in the store", **BY, result=LOGS),
    counter("worker_artifacts_total", "Files that jobs have made and tasks asked for", **BY),
    counter("worker_artifact_bytes_total", "Bytes of these files", **BY),
    counter("worker_simulated_total", "Tickets for which nothing was done (WORKER_ALLOW_SIMULATION)", **BY),
    counter("worker_findings_total", "Findings of validations that succeeded", **BY, severity=FINDINGS),
    counter("worker_tests_total", "Tests of jobs that succeeded, by how they ended", **BY, result=TESTS),
    Metric("worker_coverage_ratio", Kind.HISTOGRAM, "Lines that tests cover, 0 to 1", BY, SHARES, "ratio"),
    counter("worker_deployments_total", "Deployments that succeeded", **BY, result=DEPLOYMENTS),
    counter("flowc_metrics_errors_total", "Measurements that could not be taken: a fault of the worker's code"),
)
