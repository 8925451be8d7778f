"""What Prometheus reads, by the names of the catalogue. Counting never raises and decides nothing.

A measurement that cannot be taken is counted as such and logged once; whatever was being measured goes on.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from functions._core.step import Step
from functions._runtime.logs import log
from functions._runtime.metrics_catalogue import CATALOGUE, Kind, Metric
from functions._runtime.metrics_steps import Count, counts_of

MOST_SERIES = 500
"""Series of one metric; further label values are counted as measurements that could not be taken."""

ERRORS = "flowc_metrics_errors_total"


class Metrics:
    """The metrics of one platform, in a registry of its own."""

    def __init__(self, catalogue: Sequence[Metric] = CATALOGUE) -> None:
        """Begin at zero, with every series whose label values are known."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # its author publishes no type for it
        self.registry = CollectorRegistry()
        self.errors = 0
        self._families = {metric.name: _family(metric, self.registry) for metric in catalogue}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._sizes = dict.fromkeys(self._families, 0)
        self._logged: set[str] = set()
        for metric in catalogue:
            if all(metric.labels.values()):
                for values in product(*metric.labels.values()):
                    self._child(metric.name, values)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter or gauge."""
        try:
            (self._children.get((name, labels)) or self._child(name, labels)).inc(by)
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken(name, error)

    def time(self, name: str, value: float, *labels: str) -> None:
        """Add a value, such as a duration in seconds, to a distribution."""
        try:
            (self._children.get((name, labels)) or self._child(name, labels)).observe(value)
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken(name, error)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        try:
            (self._children.get((name, labels)) or self._child(name, labels)).set(value)
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken(name, error)

    def observe(self, step: Step) -> None:
        """Count a committed step."""
        try:
            self.take(counts_of(step))
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken("step", error)

    def take(self, counts: Iterable[Count]) -> None:
        """Take several measurements: `(how, name, value, labels)`, `how` being `count`, `time` or `set`."""
        for how, name, value, labels in counts:
            if how == "count":
                self.count(name, *labels, by=value)
            elif how == "time":
                self.time(name, value, *labels)
            else:
                self.set(name, value, *labels)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:  # noqa: ANN401 a series of any kind
        if self._sizes[name] >= MOST_SERIES:
            raise LookupError(f"{name} has {MOST_SERIES} series already")
        family = self._families[name]
        child = family.labels(*labels) if labels else family
        self._children[name, labels] = child
        self._sizes[name] += 1
        return child

    def _not_taken(self, name: str, error: Exception) -> None:
        self.errors += 1
        if ERRORS in self._families:
            self._families[ERRORS].inc()
        if name not in self._logged:
            self._logged.add(name)
            log.error("metrics.not_taken", metric=name, error=repr(error))


def _family(metric: Metric, registry: CollectorRegistry) -> Any:  # noqa: ANN401 prometheus_client has no common class
    labels = tuple(metric.labels)
    if metric.kind is Kind.COUNTER:
        return Counter(metric.name, metric.help, labels, registry=registry)
    if metric.kind is Kind.GAUGE:
        return Gauge(metric.name, metric.help, labels, registry=registry)
    return Histogram(metric.name, metric.help, labels, registry=registry, buckets=metric.buckets)
