"""Counts the queries that workflows are asked by name."""

from functions._observability.metrics import Metrics


class QueryMetrics:
    """Told of each query: its name, its seconds, and why it failed, if it did."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, query_name: str, seconds: float, failure: str | None) -> None:
        """Time the query, and count it when it failed."""
        self._metrics.time("neural_hive_flow_c_workflow_query_duration_seconds", seconds, query_name)
        if failure is not None:
            self._metrics.count("neural_hive_flow_c_workflow_query_failures_total", query_name, failure)
