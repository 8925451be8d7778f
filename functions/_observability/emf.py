"""Metrics as CloudWatch reads them from the log: what one invocation has counted, in one line of embedded metrics.

Few of the catalogue's metrics, without labels: each name and set of dimensions is one that CloudWatch charges for.
"""

from collections.abc import Mapping
from typing import Any

from functions._observability.metrics import Metrics

NAMES: Mapping[str, str] = {
    "flowc_events_handled_total": "EventsHandled",
    "flowc_dead_letters_total": "DeadLetters",
    "flowc_timeouts_total": "Timeouts",
    "orchestration_workflows_started_total": "FlowsStarted",
    "orchestration_deadline_approaching_total": "SlaAtRisk",
    "orchestration_sla_violations_total": "SlaViolated",
    "orchestration_incidents_total": "Incidents",
    "ticket_retries_total": "TicketsRetried",
}
"""Metrics of the catalogue, all series of one taken together."""

ENDS: Mapping[tuple[str, str], str] = {
    ("orchestration_workflows_completed_total", "COMPLETED"): "FlowsCompleted",
    ("orchestration_workflows_completed_total", "FAILED"): "FlowsFailed",
    ("orchestration_workflows_completed_total", "TIMED_OUT"): "FlowsTimedOut",
    ("orchestration_workflows_completed_total", "CANCELLED"): "FlowsCancelled",
    ("orchestration_workflows_completed_total", "REJECTED"): "FlowsRejected",
    ("orchestration_tickets_completed_total", "COMPLETED"): "TicketsCompleted",
    ("orchestration_tickets_completed_total", "FAILED"): "TicketsFailed",
}
"""Likewise, of the series whose last label says how something has ended."""

FAILED, DURATION = "EventsFailed", "EventDuration"


class EmbeddedMetrics:
    """What is told of one function; `told` are the totals that CloudWatch knows already."""

    def __init__(self, metrics: Metrics, function: str, namespace: str) -> None:
        from aws_lambda_powertools.metrics import Metrics as Embedded

        self._metrics = metrics
        self._embedded: Any = Embedded(namespace=namespace, service=function)
        self._told = dict(metrics.totals())

    def failed(self) -> None:
        """Count an event that was not handled."""
        self._embedded.add_metric(FAILED, "Count", 1)

    def took(self, seconds: float) -> None:
        """Tell how long an event took."""
        self._embedded.add_metric(DURATION, "Milliseconds", round(seconds * 1000, 3))

    def flush(self) -> None:
        """Write what was counted since the last time, if anything was."""
        totals = dict(self._metrics.totals())
        counted: dict[str, float] = {}
        for (name, labels), total in totals.items():
            shown = NAMES.get(name) or (ENDS.get((name, labels[-1])) if labels else None)
            more = total - self._told.get((name, labels), 0)
            if shown is not None and more:
                counted[shown] = counted.get(shown, 0) + more
        self._told = totals
        for shown, more in counted.items():
            self._embedded.add_metric(shown, "Count", more)
        if self._embedded.metric_set:
            self._embedded.flush_metrics()
