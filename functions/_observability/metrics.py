"""What Prometheus reads, by the names of the catalogue. Counting never raises and decides nothing.

A measurement that cannot be taken is counted as such and logged once; whatever was being measured goes on.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, product
from time import monotonic
from typing import TYPE_CHECKING

from functions._core.records.change_set import ChangeSet
from functions._observability.catalogue import CATALOGUE
from functions._observability.logs import log
from functions._observability.metric import Kind, Metric
from functions._observability.step_metrics import Count, counts_of

if TYPE_CHECKING:  # imported when somebody looks: most functions of a cluster are never asked
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family

    from functions._observability.origin_names import OriginName

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

    def __add__(self, other: "Distribution") -> "Distribution":
        both = Distribution(self.bounds)
        both.numbers = [one + another for one, another in zip(self.numbers, other.numbers, strict=True)]
        both.total = self.total + other.total
        return both


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
        from functions._observability.origin_names import ORIGIN_NAMES

        for metric in self._catalogue.values():
            yield _family(metric.name, metric.help, metric.kind, tuple(metric.labels), self._series(metric))
        for origin in ORIGIN_NAMES:
            if (source := self._catalogue.get(origin.metric)) is not None:
                text = f"The origin's name for {source.name}: {source.help}"
                series = _added_up(source, origin, self._series(source))
                yield _family(origin.name, text, source.kind, tuple(origin.labels), series)

    def _series(self, metric: Metric) -> Mapping[Labels, float | Distribution]:
        """Return the series of a metric that are there now."""
        if metric.kind is Kind.GAUGE:
            shown = self._gauges if monotonic() < self._gauges_until else {}
            return {labels: value for (name, labels), value in shown.items() if name == metric.name}
        numbers = self._distributions if metric.kind is Kind.HISTOGRAM else self._numbers
        return {labels: numbers[metric.name, labels] for labels in self._labels[metric.name]}

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


def _family(
    name: str, text: str, kind: Kind, names: Labels, series: Mapping[Labels, "float | Distribution"]
) -> "Family":
    """Return series as `prometheus_client` has them."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, text, labels=names)
        for labels, found in series.items():
            if isinstance(found, Distribution):
                bounds = (*(str(float(bound)) for bound in found.bounds), "+Inf")
                histogram.add_metric(labels, list(zip(bounds, accumulate(found.numbers), strict=True)), found.total)
        return histogram
    family = (GaugeMetricFamily if kind is Kind.GAUGE else CounterMetricFamily)(name, text, labels=names)
    for labels, number in series.items():
        if not isinstance(number, Distribution):
            family.add_metric(labels, number)
    return family


def _added_up(
    metric: Metric, origin: "OriginName", series: Mapping[Labels, "float | Distribution"]
) -> Mapping[Labels, "float | Distribution"]:
    """Return the series under the labels of the origin."""
    summed: dict[Labels, float | Distribution] = {}
    for labels, number in series.items():
        named = dict(zip(metric.labels, labels, strict=True))
        if all(named[label] in values for label, values in origin.where.items()):
            key = tuple(named[label] for label in origin.labels.values())
            # Both are of one kind, that of the metric.
            summed[key] = summed[key] + number if key in summed else number  # type: ignore[operator]
    return summed
