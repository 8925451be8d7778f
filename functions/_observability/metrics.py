"""What Prometheus reads, by the names of the catalogue. Counting never raises and decides nothing.

A measurement that cannot be taken is counted as such and logged once; whatever was being measured goes on.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, product
from time import monotonic
from typing import TYPE_CHECKING

from functions._core.records.change_set import ChangeSet
from functions._observability.catalogue import CATALOGUE, Kind, Metric
from functions._observability.logs import log
from functions._observability.step_metrics import Count, counts_of

if TYPE_CHECKING:  # imported when somebody looks: most functions of a cluster are never asked
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family

Labels = tuple[str, ...]

MOST_SERIES = 2_000
"""Series of one metric; further label values are counted as measurements that could not be taken. The most are those of
requests: some 70 routes with some ten statuses each."""

ERRORS = "flowc_metrics_errors_total"

GAUGES_LAST = 90.0
"""Seconds for which gauges are shown: they were counted in the store, which others change. A tick comes each minute."""

Gauge = tuple[str, Labels]
"""The name of a gauge, and the values of its labels."""


class Distribution:
    """How many values fell up to each bound, and their sum."""

    __slots__ = ("bounds", "numbers", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.numbers = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        self.numbers[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The metrics of one platform: plain numbers, turned into series when somebody looks.

    Used by one event loop: it takes no locks, which costs a fraction of what prometheus_client's own counters do.
    """

    def __init__(self, catalogue: Sequence[Metric] = CATALOGUE) -> None:
        """Begin at zero, with every series whose label values are known; gauges begin when they are `shown`."""
        self.errors = 0
        self._catalogue: Mapping[str, Metric] = {metric.name: metric for metric in catalogue}
        self._numbers: dict[tuple[str, Labels], float] = {}
        self._distributions: dict[tuple[str, Labels], Distribution] = {}
        self._labels: dict[str, list[Labels]] = {metric.name: [] for metric in catalogue}
        self._gauges: Mapping[Gauge, float] = {}
        self._gauges_until = 0.0
        self._logged: set[str] = set()
        self._registry: CollectorRegistry | None = None
        for metric in catalogue:
            if all(metric.labels.values()) and metric.kind is not Kind.GAUGE:
                for labels in product(*metric.labels.values()):
                    self._begin(metric.name, labels, distribution=metric.kind is Kind.HISTOGRAM)

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        try:
            if (name, labels) not in self._numbers:
                self._begin(name, labels, distribution=False)
            self._numbers[name, labels] += by
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken(name, error)

    def time(self, name: str, value: float, *labels: str) -> None:
        """Add a value, such as a duration in seconds, to a distribution."""
        try:
            if (name, labels) not in self._distributions:
                self._begin(name, labels, distribution=True)
            self._distributions[name, labels].add(value)
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken(name, error)

    def show(self, gauges: Mapping[Gauge, float]) -> None:
        """Show these gauges and no others, until they are too old: a process shows only what it has counted itself."""
        try:
            for name, labels in gauges:
                self._check(name, labels, Kind.GAUGE)
            self._gauges, self._gauges_until = dict(gauges), monotonic() + GAUGES_LAST
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken("gauges", error)

    def observe(self, step: ChangeSet) -> None:
        """Count a committed step."""
        try:
            self.take(counts_of(step))
        except Exception as error:  # noqa: BLE001 a metric must not stop what it measures
            self._not_taken("step", error)

    def take(self, counts: Iterable[Count]) -> None:
        """Take several measurements: `(how, name, value, labels)`, `how` being `count` or `time`."""
        for how, name, value, labels in counts:
            if how == "count":
                self.count(name, *labels, by=value)
            else:
                self.time(name, value, *labels)

    def totals(self) -> Mapping[tuple[str, Labels], float]:
        """Return every counter as it is."""
        return self._numbers

    def text(self) -> bytes:
        """Return the exposition format."""
        from prometheus_client import CollectorRegistry, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            self._registry.register(self)
        return generate_latest(self._registry)

    def collect(self) -> Iterator["Family"]:
        """Yield every family that has series; what `prometheus_client` asks a collector for."""
        for metric in self._catalogue.values():
            yield self._family(metric)

    def _family(self, metric: Metric) -> "Family":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        names = tuple(metric.labels)
        if metric.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=names)
            for labels in self._labels[metric.name]:
                found = self._distributions[metric.name, labels]
                bounds = (*(str(float(bound)) for bound in found.bounds), "+Inf")
                histogram.add_metric(labels, list(zip(bounds, accumulate(found.numbers), strict=True)), found.total)
            return histogram
        if metric.kind is Kind.GAUGE:
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=names)
            for (name, labels), value in self._gauges.items() if monotonic() < self._gauges_until else ():
                if name == metric.name:
                    gauge.add_metric(labels, value)
            return gauge
        family = CounterMetricFamily(metric.name, metric.help, labels=names)
        for labels in self._labels[metric.name]:
            family.add_metric(labels, self._numbers[metric.name, labels])
        return family

    def _begin(self, name: str, labels: Labels, *, distribution: bool) -> None:
        metric = self._check(name, labels, Kind.HISTOGRAM if distribution else Kind.COUNTER)
        if len(self._labels[name]) >= MOST_SERIES:
            raise LookupError(f"{name} has {MOST_SERIES} series already")
        if distribution:
            self._distributions[name, labels] = Distribution(metric.buckets)
        else:
            self._numbers[name, labels] = 0.0
        self._labels[name].append(labels)

    def _check(self, name: str, labels: Labels, kind: Kind) -> Metric:
        metric = self._catalogue[name]
        if kind is not metric.kind:
            raise LookupError(f"{name} is a {metric.kind}")
        if len(labels) != len(metric.labels):
            raise LookupError(f"{name} has the labels {tuple(metric.labels)}, not {len(labels)}")
        return metric

    def _not_taken(self, name: str, error: Exception) -> None:
        self.errors += 1
        if (ERRORS, ()) in self._numbers:
            self._numbers[ERRORS, ()] += 1
        if name not in self._logged:
            self._logged.add(name)
            log.error("metrics.not_taken", metric=name, error=repr(error))
