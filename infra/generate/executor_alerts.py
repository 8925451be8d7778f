"""The alerts of executors, by the metrics of workers.

A worker without executors reports none of them, so an alert without a sample is quiet, and no alert of missing data
stands beside it.
"""

from collections.abc import Sequence

from infra.generate.alerts import Rule, alert_lines, annotations_of, group_lines, head_lines

TASKS = "worker_tasks_total"
LEAKED = "worker_jobs_leaked_total"
ANSWERS = "worker_api_calls_total"
SIMULATED = "worker_simulated_total"

DASHBOARD = "/d/flow-c-executors"
"""The dashboard of executors, below the address of Grafana."""


def _share(name: str, bad: str, of: str, by: str) -> str:
    return f"(sum by ({by}) (rate({name}{{{bad}}}[30m])) / sum by ({by}) (rate({name}{of}[30m])))"


FAILING = _share(TASKS, 'status=~"failed|timed_out"', '{status!="cancelled"}', "family")
UNANSWERED = _share(ANSWERS, 'status=~"none|5.."', "", "executor")

EXECUTOR_RULES: Sequence[Rule] = (
    Rule(
        alert="ExecutorJobLeaked",
        severity="critical",
        signal=f"sum by (executor) (increase({LEAKED}[1h]))",
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(LEAKED,),
        summary="A job of {{ $labels.executor }} could not be ended",
        description="Nobody wants it any more, and it may still run. `job.leaked` in the log of the worker has its id.",
    ),
    Rule(
        alert="ExecutorFailing",
        severity="warning",
        signal=FAILING,
        comparison=">",
        threshold=0.5,
        lasting="15m",
        reads=(TASKS,),
        summary="Most tickets of the family {{ $labels.family }} fail",
        description="More than half of them failed or took too long. `worker_task_failures_total` says by which error.",
    ),
    Rule(
        alert="ExecutorCallsFailing",
        severity="warning",
        signal=UNANSWERED,
        comparison=">",
        threshold=0.2,
        lasting="10m",
        reads=(ANSWERS,),
        summary="The service of {{ $labels.executor }} does not answer",
        description="One call in five has no answer, or a 5xx. `flowc doctor executor` says whether it can be reached.",
    ),
    Rule(
        alert="ExecutorSimulated",
        severity="warning",
        signal=f"sum by (executor) (increase({SIMULATED}[1h]))",
        comparison=">",
        threshold=0,
        lasting="0m",
        reads=(SIMULATED,),
        summary="Tickets of {{ $labels.executor }} are only simulated",
        description="Nothing is done for them (WORKER_ALLOW_SIMULATION): a tool or a service is missing.",
    ),
)


def executor_rules_file() -> str:
    """Return the rule file of Prometheus."""
    lines = [*head_lines("the catalogue of executors' metrics"), *group_lines("flow-c-executors")]
    for rule in EXECUTOR_RULES:
        about = annotations_of(rule, DASHBOARD)
        lines += alert_lines(rule.alert, rule.expr, rule.lasting, {"severity": rule.severity}, about)
    return "\n".join(lines) + "\n"
