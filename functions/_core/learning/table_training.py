"""Training of a duration table from rows, in plain Python: 50,000 rows take some seconds, so beside the event loop."""

from collections import defaultdict
from collections.abc import Sequence
from math import log, log1p
from typing import TypeVar

from functions._core.learning.duration_table import GroupNumbers, TableNumbers, group_names
from functions._core.learning.history import TicketRow
from functions._core.learning.series import quantile
from functions._core.records.record import Record
from functions._core.records.values import TicketStatus

Name = TypeVar("Name", str, int)

TABLE_BYTES = 440 * 1024
"""About how large the groups of a table may be as JSON; the rest of 512 KiB is for workers and what a model adds."""

NUMBERS_BYTES = 56
"""Bytes of the numbers of a group as JSON, and of what stands around them."""

FEWEST = 3
"""Rows that a task has to have for a group of its own."""

MOST_WORKERS = 500
"""Workers that a table knows: those with the most rows."""

LONGEST_NAME = 400
"""Characters of a group's name, or a worker's; work with a longer one counts in the group around it."""


class TableSettings(Record):
    """How a table is trained. The defaults are a good guess; `tuning` finds better ones for a fleet."""

    groups: float = 4.0
    """Rows that the group around a group is worth, where its mean is drawn towards that."""
    spread: float = 12.0
    """The same where its quantiles are: those of few rows tell little."""
    workers: float = 15.0
    """Rows that "a worker is as the others are" is worth."""
    hours: float = 60.0
    """Rows that "an hour is as the others are" is worth."""
    slopes: float = 8.0
    """What "estimate and size change nothing more" is worth, as a sum of squared logarithms."""
    rounds: int = 4
    """How often the effects are fitted to what the others leave."""


def usable(row: TicketRow) -> bool:
    """Whether a row says how long work takes."""
    return row.status is TicketStatus.COMPLETED and row.actual_ms is not None and row.actual_ms >= 0


def fitted(rows: Sequence[TicketRow], settings: TableSettings | None = None) -> TableNumbers:
    """Return the table of rows; those that are not `usable` are left out. Without any it knows nothing."""
    return _Fit([row for row in rows if usable(row)], settings or TableSettings()).table()


class _Fit:
    """One training: the effects are fitted in turns, each to what the others leave of the log ratios."""

    def __init__(self, rows: Sequence[TicketRow], settings: TableSettings) -> None:
        self.settings, self.rows = settings, rows
        works = [row.work for row in rows]
        self.estimates = [log(work.estimate_ms) for work in works]
        self.sizes = [log1p(work.parameters_bytes) for work in works]
        self.ratios = [
            log(max(1, row.actual_ms or 0)) - estimate for row, estimate in zip(rows, self.estimates, strict=True)
        ]
        self.hours = [work.at.hour for work in works]
        self.kinds = [work.task_type for work in works]
        self.workers = [row.worker_id or "" for row in rows]
        self.chains = [group_names(work) for work in works]
        self.centre = (_mean(self.estimates), _mean(self.sizes))
        self.members = self._members()
        self.deepest = [next(name for name in reversed(chain) if name in self.members) for chain in self.chains]
        self.means: dict[str, float] = {}
        self.slopes: dict[str, tuple[float, float]] = {}
        self.of_workers: dict[str, float] = {}
        self.of_hours = [0.0] * 24

    def _members(self) -> dict[str, list[int]]:
        """Return the rows of each group that has enough of them, types first, then the largest."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        levels: dict[str, int] = {}
        for index, chain in enumerate(self.chains):
            for level, name in enumerate(chain):
                found[name].append(index)
                levels[name] = level
        kept, size = dict[str, list[int]](), 0
        for name in sorted(found, key=lambda one: (levels[one], -len(found[one]), one)):
            size += len(name.encode(errors="replace")) + 5 * name.count("\x1f") + NUMBERS_BYTES
            few = levels[name] == 2 and len(found[name]) < FEWEST  # noqa: PLR2004 the level of tasks
            if levels[name] and (size > TABLE_BYTES or few or len(name) > LONGEST_NAME):
                continue
            kept[name] = found[name]
        return kept

    def table(self) -> TableNumbers:
        """Return the table."""
        if not self.rows:
            return TableNumbers()
        for _ in range(self.settings.rounds):
            self.means = self._group_means()
            self._fit_slopes()
            self._fit_workers()
            self._fit_hours()
        self.means = self._group_means()
        return TableNumbers(
            groups=self._groups(),
            slopes={kind: (_short(one), _short(other)) for kind, (one, other) in self.slopes.items()},
            workers={name: _short(offset) for name, offset in self.of_workers.items()},
            hours=tuple(_short(offset) for offset in self.of_hours),
            centre=(_short(self.centre[0]), _short(self.centre[1])),
            bounds=(min(self.estimates), max(self.estimates), min(self.sizes), max(self.sizes)),
        )

    def _effects(self, index: int) -> float:
        """Return what slopes, hour and worker add to a row."""
        slopes = self.slopes.get(self.kinds[index], (0.0, 0.0))
        return (
            slopes[0] * (self.estimates[index] - self.centre[0])
            + slopes[1] * (self.sizes[index] - self.centre[1])
            + self.of_hours[self.hours[index]]
            + self.of_workers.get(self.workers[index], 0.0)
        )

    def _group_means(self) -> dict[str, float]:
        """Return the mean of each group, drawn towards that of the group around it."""
        left = [ratio - self._effects(index) for index, ratio in enumerate(self.ratios)]
        whole, weight = _mean(left), self.settings.groups
        means: dict[str, float] = {}
        for name, indices in self.members.items():
            around = self._around(name, indices[0])
            prior = whole if around is None else means[around]
            means[name] = (sum(left[index] for index in indices) + weight * prior) / (len(indices) + weight)
        return means

    def _around(self, name: str, index: int) -> str | None:
        """Return the group around the group of a row, None for that of a type."""
        chain = self.chains[index]
        outer = [one for one in chain[: chain.index(name)] if one in self.members]
        return outer[-1] if outer else None

    def _fit_slopes(self) -> None:
        """Fit the slopes within the groups, so that groups of large work do not look like an effect of size."""
        for which, (values, lowest, highest) in enumerate(((self.estimates, -1.0, 0.5), (self.sizes, -1.0, 1.0))):
            left, own = self._left(), _within(values, self.deepest)
            products, squares = defaultdict[str, float](float), defaultdict[str, float](float)
            for index, kind in enumerate(self.kinds):
                known = self.slopes.get(kind, (0.0, 0.0))[which]
                products[kind] += own[index] * (left[index] + known * own[index])
                squares[kind] += own[index] * own[index]
            for kind, square in squares.items():
                slope = min(max(products[kind] / (square + self.settings.slopes), lowest), highest)
                other = self.slopes.get(kind, (0.0, 0.0))[1 - which]
                self.slopes[kind] = (other, slope) if which else (slope, other)
            self.means = self._group_means()

    def _fit_workers(self) -> None:
        counts = _offsets(self._left(without_worker=True), self.workers, self.settings.workers)
        named = sorted(((n, name, value) for name, (n, value) in counts.items() if name), reverse=True)
        self.of_workers = {name: value for _, name, value in named[:MOST_WORKERS] if len(name) <= LONGEST_NAME}

    def _fit_hours(self) -> None:
        left = self._left()
        known = [one + self.of_hours[hour] for one, hour in zip(left, self.hours, strict=True)]
        counts = _offsets(known, self.hours, self.settings.hours)
        self.of_hours = [counts[hour][1] if hour in counts else 0.0 for hour in range(24)]

    def _left(self, *, without_worker: bool = False) -> list[float]:
        """Return what is left of each ratio; `without_worker`: what its worker adds is left, too."""
        return [
            ratio
            - self.means[deepest]
            - self._effects(index)
            + (self.of_workers.get(self.workers[index], 0.0) if without_worker else 0.0)
            for index, (ratio, deepest) in enumerate(zip(self.ratios, self.deepest, strict=True))
        ]

    def _groups(self) -> dict[str, GroupNumbers]:
        """Return the numbers of each group, its quantiles drawn towards those of the group around it."""
        effects = [self._effects(index) for index in range(len(self.ratios))]
        found: dict[str, tuple[float, float, float, float, float]] = {}
        weight, pull = self.settings.groups, self.settings.spread
        for name, indices in self.members.items():
            rows, mean = len(indices), self.means[name]
            wider = (rows + weight) / max(rows + weight - 1, 1.0)  # as if the row itself had not been in the mean
            known = [(self.ratios[i] - mean - effects[i]) * wider for i in indices]
            unknown = [one + self.of_workers.get(self.workers[i], 0.0) for one, i in zip(known, indices, strict=True)]
            own = (*_halves(unknown), *_halves(known))
            around = self._around(name, indices[0])
            if around is not None:
                outer = found[around][1:]
                own = tuple((rows * a + pull * b) / (rows + pull) for a, b in zip(own, outer, strict=True))  # type: ignore[assignment]
            found[name] = (mean, *own)
        return {name: _shortened(group) for name, group in found.items()}


def _halves(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return quantile(ordered, 0.5), quantile(ordered, 0.9)


def _offsets(left: Sequence[float], names: Sequence[Name], weight: float) -> dict[Name, tuple[int, float]]:
    """Return how many rows a name has and what it adds, drawn towards nothing; all together add nothing."""
    sums: defaultdict[Name, float] = defaultdict(float)
    counts: defaultdict[Name, int] = defaultdict(int)
    for value, name in zip(left, names, strict=True):
        sums[name] += value
        counts[name] += 1
    found = {name: total / (counts[name] + weight) for name, total in sums.items()}
    middle = sum(value * counts[name] for name, value in found.items()) / max(len(left), 1)
    return {name: (counts[name], value - middle) for name, value in found.items()}


def _within(values: Sequence[float], names: Sequence[str]) -> list[float]:
    """Return by how much each value is above the mean of its group."""
    sums: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    for value, name in zip(values, names, strict=True):
        sums[name] += value
        counts[name] += 1
    return [value - sums[name] / counts[name] for value, name in zip(values, names, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _short(number: float) -> float:
    return round(number, 4)


def _shortened(group: Sequence[float]) -> GroupNumbers:
    mean, one, two, three, four = (round(number, 4) for number in group)
    return mean, one, two, three, four
