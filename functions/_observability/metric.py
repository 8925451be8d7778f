"""What a metric is: its name, its kind, its labels and their values. The catalogues are made of such."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


OPEN: tuple[str, ...] = ()
"""The values of a label that are found as they come; they are few, because they come from code."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of series. `labels` maps each label to its known values; `buckets` are upper bounds in `unit`."""

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    unit: str = ""

    @property
    def series(self) -> frozenset[str]:
        """The names that queries may use."""
        if self.kind is Kind.HISTOGRAM:
            return frozenset(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return frozenset({self.name})


CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FLOW_BUCKETS = (0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0)
STEP_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 600.0, 900.0, 3600.0, 14_400.0)


def counter(name: str, text: str, **labels: tuple[str, ...]) -> Metric:
    """Return a metric that only grows."""
    return Metric(name, Kind.COUNTER, text, {label.rstrip("_"): values for label, values in labels.items()})


def gauge(name: str, text: str, unit: str = "", **labels: tuple[str, ...]) -> Metric:
    """Return a metric that goes up and down."""
    return Metric(name, Kind.GAUGE, text, labels, unit=unit)


def seconds(name: str, text: str, buckets: tuple[float, ...] = CALL_BUCKETS, **labels: tuple[str, ...]) -> Metric:
    """Return a distribution of durations."""
    return Metric(name, Kind.HISTOGRAM, text, labels, buckets, "seconds")
