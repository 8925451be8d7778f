"""What CloudWatch finds in the log of one invocation."""

import json
from typing import Any

import pytest
from aws_lambda_powertools.metrics import Metrics as Powertools

from functions._observability.catalogue import CATALOGUE
from functions._observability.emf import DURATION, ENDS, FAILED, NAMES, EmbeddedMetrics
from functions._observability.metrics import Metrics


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_only_what_was_counted_since_the_last_time_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics()
    metrics.count("ticket_retries_total", by=5)
    embedded = EmbeddedMetrics(metrics, "monitor", "Test")
    # Powertools keeps one set for a process, which other tests have filled.
    Powertools(namespace="Test", service="monitor").clear_metrics()
    metrics.count("flowc_events_handled_total", "monitor", "Settled")
    metrics.count("flowc_events_handled_total", "monitor", "Duplicate")
    metrics.count("orchestration_workflows_completed_total", "TIMED_OUT")
    embedded.failed()
    embedded.took(0.0125)
    embedded.flush()
    embedded.flush()
    (line,) = lines(capsys)
    assert line.pop("_aws")["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert line == {
        "service": "monitor",
        "EventsHandled": [2.0],
        "FlowsTimedOut": [1.0],
        FAILED: [1.0],
        DURATION: [12.5],
    }


def test_every_metric_that_is_told_of_is_in_the_catalogue() -> None:
    labels = {metric.name: metric.labels for metric in CATALOGUE}
    assert set(NAMES) <= set(labels)
    for name, value in ENDS:
        last = list(labels[name].values())[-1]
        assert value in last
