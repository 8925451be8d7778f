"""A model of how long work takes, as a small table: evaluated in plain Python, in some microseconds.

Theory of operation: the logarithm of a duration is the logarithm of the estimate, plus what the group of the work adds,
plus what follows from how large the estimate and the parameters are, from the hour and from the worker. Groups are
nested (type of task; its capabilities; the domain and the id of the task), and the deepest one that is known counts:
its numbers have been drawn towards those of the group around it, the more the fewer rows it had. Of a type that nobody
has done yet nothing is known, so the estimate stands.
"""

from collections.abc import Mapping, Sequence
from math import exp, expm1, isfinite, log, log1p
from typing import NamedTuple

from functions._core.learning.predictions import PlannedWork, Quantiles
from functions._core.records.record import Record

COLD_P90 = 2.0
"""How many times its estimate work takes at most, in nine of ten cases, where nothing is known of its type."""

LONGEST_MS = 10**12
"""The longest time that is predicted, in milliseconds: 31 years."""

FURTHEST = log(10_000)
"""How far, as a logarithm, a prediction is from its estimate at most: beyond that a model is wrong."""

LARGEST = 50.0
"""The largest number, either sign, that a table may hold: all are logarithms, which stay far below."""

SEPARATOR = "\x1f"
"""Stands between the parts of a group's name; no id has it, as it cannot be printed."""

GroupNumbers = tuple[float, float, float, float, float]
"""What a group adds, and above it the p50 and the p90 with the worker unknown, then both with the worker known."""


ResourceNumbers = tuple[float, float, float]
"""Of a group the logarithms of how often its work is given out, of the worker time as a factor of its p50, and of the
bytes of its output plus one, all in the mean."""


class Resources(NamedTuple):
    """What a ticket is expected to take of the fleet, in the mean over all of its ends."""

    attempts: float
    """How often it is given to a worker."""
    worker_ms: int
    """Milliseconds of workers' slots, over all attempts."""
    output_bytes: int | None
    """Bytes of its output as JSON; None where nothing is known of its type."""


class TableNumbers(Record):
    """The numbers of a table; all are natural logarithms of milliseconds, of bytes, or of ratios."""

    groups: Mapping[str, GroupNumbers] = {}
    """By the name of the group, see `group_names`."""
    slopes: Mapping[str, tuple[float, float]] = {}
    """By type of task: what one more of the logarithm of the estimate adds, and of the parameters' bytes plus one."""
    workers: Mapping[str, float] = {}
    """What a worker adds, by its id."""
    hours: tuple[float, ...] = (0.0,) * 24
    """What an hour of the day (UTC) adds."""
    centre: tuple[float, float] = (0.0, 0.0)
    """The logarithms of the estimate and of the bytes at which the slopes add nothing."""
    bounds: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """The lowest and the highest logarithm of an estimate that was seen, then of the bytes."""
    resources: Mapping[str, ResourceNumbers] = {}
    """What work takes of the fleet, by the name of the group; none in a table from before that was learnt."""


class DurationTable:
    """A table at work; it is a `Predictor`."""

    def __init__(self, table: TableNumbers, version: str) -> None:
        """Take a table that `faults_of` finds nothing in."""
        self.table, self.version = table, version
        self._groups, self._slopes = table.groups, table.slopes
        self._workers, self._hours = table.workers, table.hours

    def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
        """See `Predictor.quantiles`."""
        logs = self.logs(work, worker_id)
        if logs is None:
            return bounded(work.estimate_ms, work.estimate_ms * COLD_P90)
        return bounded(exp(logs[0]), exp(logs[1]))

    def logs(self, work: PlannedWork, worker_id: str | None = None) -> tuple[float, float] | None:
        """Return the logarithms of p50 and p90; None for work of a type that is not known."""
        kind = work.task_type
        able = SEPARATOR.join((kind, *work.capabilities))
        group = (
            self._groups.get(f"{able}{SEPARATOR * 2}{work.domain or ''}{SEPARATOR}{work.task_id}")
            or self._groups.get(f"{able}{SEPARATOR * 2}")
            or self._groups.get(kind)
        )
        if group is None:
            return None
        estimate = log(work.estimate_ms)
        added = group[0] + self._hours[work.at.hour]
        slopes = self._slopes.get(kind)
        if slopes is not None:
            low, high, least, most = self.table.bounds
            middle, size = self.table.centre
            added += slopes[0] * (min(max(estimate, low), high) - middle)
            added += slopes[1] * (min(max(log1p(work.parameters_bytes), least), most) - size)
        offset = None if worker_id is None else self._workers.get(worker_id)
        above, far_above = (group[1], group[2]) if offset is None else (group[3], group[4])
        added += offset or 0.0
        return (
            estimate + min(max(added + above, -FURTHEST), FURTHEST),
            estimate + min(max(added + far_above, -FURTHEST), FURTHEST),
        )

    def resources(self, work: PlannedWork) -> Resources:
        """Return what work takes, by whoever gets it; of a type that is not known one attempt, as long as its p50."""
        p50, known = self.quantiles(work).p50_ms, self.table.resources
        found = next((known[name] for name in reversed(group_names(work)) if name in known), None)
        if found is None:
            return Resources(1.0, p50, None)
        taken = round(exp(min(max(found[1], -FURTHEST), FURTHEST)) * p50)
        bytes_out = min(max(0, round(expm1(min(found[2], LARGEST)))), LONGEST_MS)
        return Resources(round(exp(min(max(found[0], 0.0), FURTHEST)), 3), min(max(1, taken), LONGEST_MS), bytes_out)


def group_names(work: PlannedWork) -> tuple[str, str, str]:
    """Return the names of the groups of work: its type, with its capabilities, with the domain and the id of its task.

    The second name ends in two separators, so that no capability makes it look like a third one.
    """
    able = SEPARATOR.join((work.task_type, *work.capabilities)) + SEPARATOR * 2
    return work.task_type, able, f"{able}{work.domain or ''}{SEPARATOR}{work.task_id}"


def bounded(p50_ms: float, p90_ms: float) -> Quantiles:
    """Return quantiles as whole milliseconds: 1 <= p50 <= p90 <= `LONGEST_MS`."""
    p50 = min(max(round(p50_ms), 1), LONGEST_MS)
    return Quantiles(p50, min(max(round(p90_ms), p50), LONGEST_MS))


def faults_of(table: TableNumbers) -> Sequence[str]:
    """Return why a table cannot be used; nothing for one that can."""
    numbers = [
        *(number for group in table.groups.values() for number in group),
        *(number for slopes in table.slopes.values() for number in slopes),
        *table.workers.values(),
        *table.hours,
        *table.centre,
        *table.bounds,
        *(number for group in table.resources.values() for number in group),
    ]
    faults = []
    if any(not isfinite(number) or abs(number) > LARGEST for number in numbers):
        faults.append(f"a number is not finite, or beyond {LARGEST:g}")
    if len(table.hours) != 24:  # noqa: PLR2004 hours of a day
        faults.append(f"it has {len(table.hours)} hours")
    return faults
