"""Four kinds of anomaly in the rows of tickets: durations, resources, failures and load that are not as usual. Pure.

Usual is what tickets of the same kind did before: `UsualWork` knows their quantiles. Figures are compared as
logarithms, as the same factor is the same surprise for short work and for long. What is less than double, or more than
half, is no anomaly.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import expm1, log, log1p, sqrt
from typing import Literal, NamedTuple

from functions._core.learning.distributions import binomial_tail
from functions._core.learning.history import TicketRow
from functions._core.learning.load_forecast import LoadForecast
from functions._core.learning.series import UnusableSeries, checked, median, quantile
from functions._core.records.record import Record
from functions._core.records.values import TaskType, TicketStatus, Timestamp, Word

MAX_ROWS = 50_000
"""Rows that are looked at in one call: they take a second or two, which an event loop gives to a thread."""

LEAST_ROWS = 20
"""Rows of a kind of work from which on its quantiles say what is usual."""

UNUSUAL = 3.5
"""Spreads from the middle from which on a figure is an anomaly: one in 4,000 by chance."""

DOUBTFUL = 2.0
"""Spreads from what is usual for its kind that a duration has to be away, too, when it is far from its prediction: so a
model that is wrong makes no anomalies."""

LEAST_SPREAD = 0.2
"""The least spread of a logarithm: with `UNUSUAL` of it a figure is double or half of what is usual."""

CAUTION = 2.0
"""Quantiles of few rows may be anything: spreads count for more by this much over the root of the rows: by 45 % for 20
rows, by 10 % for 400. On generated histories it halves what is found without being there, and costs a tenth of the
rest."""

NORMAL_90 = 1.2816
"""Standard deviations between the median and the 90th percentile of a normal distribution."""

NORMAL_95 = 1.6449
"""Standard deviations between the median and the 95th percentile: the bounds of a forecast lie there."""

LEAST_TRIALS = 5
"""Tickets of a worker, or of a kind of work, from which on its failures are counted ..."""

LEAST_FAILURES = 3
"""... and failures, fewer of which are no pattern."""

CHANCE = 0.01
"""The probability by chance below which failures are a pattern, over all that are looked at."""

TWICE = 2.0
"""How many times more often than usual a pattern of failures comes."""

CERTAIN = 100.0
"""Scores end here."""

Entity = Literal["ticket", "worker", "task_type", "load"]
"""What an anomaly is about."""


class AnomalyKind(Word):
    """What is not as usual."""

    DURATION = "DURATION"
    """Work took much longer, or was done much sooner."""
    RESOURCES = "RESOURCES"
    """Work took more time of workers over its attempts, or its parameters or its output are much larger or smaller."""
    FAILURES = "FAILURES"
    """A worker, or a kind of work, fails much more often."""
    LOAD = "LOAD"
    """Many more, or many fewer, came than was forecast."""


class RowAnomaly(Record):
    """Something in a history that is not as usual."""

    kind: AnomalyKind
    """What is not as usual."""
    entity_type: Entity
    """What it is about."""
    entity_id: str
    """The id of the ticket or worker, the kind of work, or the measure of the load."""
    flow_id: str | None = None
    """The flow of a ticket."""
    at: Timestamp
    """When it was: the end of the ticket, of the last one that counts, or the begin of the bucket."""
    measure: str
    """The figure: actual_ms, worker_ms, parameters_bytes, output_bytes, failure_share, arrivals."""
    value: float
    """What it was."""
    expected_low: float
    """What it would have been at least, were it usual."""
    expected_high: float
    """What it would have been at most."""
    score: float
    """How unusual it is, in spreads, negative below; of failures the negative decimal logarithm of their chance."""


class Usual(NamedTuple):
    """The logarithms of a figure of a kind of work."""

    middle: float
    below: float
    """The spread below the middle, as a standard deviation."""
    above: float
    """The spread above it."""

    def score(self, logarithm: float) -> float:
        """Return how many spreads a logarithm is from the middle."""
        distance = logarithm - self.middle
        return max(-CERTAIN, min(CERTAIN, distance / (self.above if distance > 0 else self.below)))


Kind = tuple[object, ...]
"""What makes work alike, the more of it the longer."""


def kinds_of(row: TicketRow) -> tuple[Kind, ...]:
    """Return the kinds of work that a ticket is of, the narrowest first."""
    narrow = (row.task_type, row.capabilities, row.domain, row.task_id)
    return narrow, narrow[:2], narrow[:1]


def _worker_ms(row: TicketRow) -> float | None:
    """Return the worker milliseconds of a ticket that was tried more than once, were its attempts alike."""
    return float(row.attempts * row.actual_ms) if row.actual_ms is not None and row.attempts > 1 else None


MEASURES: Mapping[str, Callable[[TicketRow], float | None]] = {
    "actual_ms": lambda row: row.actual_ms,
    "parameters_bytes": lambda row: row.parameters_bytes,
    "output_bytes": lambda row: row.output_bytes if row.status is TicketStatus.COMPLETED else None,
}
"""Figures whose quantiles are known; None where a ticket has none."""


class UsualWork:
    """What is usual for each kind of work: quantiles of its figures, and how often it fails.

    Durations are those of a worker like the others: how much slower or faster each worker is, over all that it does, is
    taken out of them and put in again. A slow worker makes no anomaly of each of its tickets.
    """

    def __init__(self, rows: Iterable[TicketRow]) -> None:
        """Take tickets that ended before those that are looked at, at most `MAX_ROWS` of them."""
        known = list(_bounded(rows))
        self._ended: Counter[Kind] = Counter()
        self._failed: Counter[Kind] = Counter()
        for row in known:
            if (failed := _failed(row)) is not None:
                kinds = (*kinds_of(row), ())
                self._ended.update(kinds)
                self._failed.update(kinds if failed else ())
        self._by_worker: Mapping[str | None, float] = {}
        self._by_worker = self._effects(known, _grouped(known, "actual_ms", self._by_worker))
        self._usual = {
            (measure, kind): usual
            for measure in MEASURES
            for kind, usual in _grouped(known, measure, self._by_worker if measure == "actual_ms" else {}).items()
        }

    @staticmethod
    def _effects(rows: Iterable[TicketRow], usual: Mapping[Kind, Usual]) -> Mapping[str | None, float]:
        """Return how far the logarithms of each worker's durations are from the middle of their kinds."""
        away: dict[str | None, list[float]] = defaultdict(list)
        for row in rows:
            if row.actual_ms is not None and (found := usual.get(kinds_of(row)[0])) is not None:
                away[row.worker_id].append(log1p(max(0, row.actual_ms)) - found.middle)
        return {worker: median(values) for worker, values in away.items() if len(values) >= LEAST_ROWS}

    def of(self, measure: str, row: TicketRow) -> Usual | None:
        """Return what is usual for the narrowest kind of a ticket that is known; None where none is."""
        found = (self._usual.get((measure, kind)) for kind in kinds_of(row))
        usual = next(filter(None, found), None)
        if usual is None or measure != "actual_ms":
            return usual
        return usual._replace(middle=usual.middle + self._by_worker.get(row.worker_id, 0.0))

    def failure_rate(self, row: TicketRow) -> float:
        """Return how often work of the kind of a ticket fails, by its narrowest kind that is known; above 0."""
        kinds = (*kinds_of(row), ())
        kind = next((kind for kind in kinds if self._ended[kind] >= LEAST_ROWS), ())
        return (self._failed[kind] + 1) / (self._ended[kind] + LEAST_ROWS)


def _grouped(rows: Iterable[TicketRow], measure: str, by_worker: Mapping[str | None, float]) -> Mapping[Kind, Usual]:
    """Return what is usual of a figure for each kind of work with enough of it, without the effects of workers."""
    figures: dict[Kind, list[float]] = defaultdict(list)
    for row in rows:
        if (value := MEASURES[measure](row)) is not None:
            for kind in kinds_of(row):
                figures[kind].append(log1p(max(0.0, value)) - by_worker.get(row.worker_id, 0.0))
    return {kind: _usual(values) for kind, values in figures.items() if len(values) >= LEAST_ROWS}


def _usual(values: list[float]) -> Usual:
    ordered = sorted(values)
    low, middle, high = (quantile(ordered, share) for share in (0.1, 0.5, 0.9))
    wider = (1 + CAUTION / sqrt(len(ordered))) / NORMAL_90
    return Usual(middle, max(LEAST_SPREAD, wider * (middle - low)), max(LEAST_SPREAD, wider * (high - middle)))


def _failed(row: TicketRow) -> bool | None:
    """Whether a ticket has failed; None where it was given up without a word about its work."""
    return row.status is TicketStatus.FAILED if row.status in {TicketStatus.COMPLETED, TicketStatus.FAILED} else None


def _bounded(rows: Iterable[TicketRow]) -> Iterator[TicketRow]:
    for number, row in enumerate(rows):
        if number == MAX_ROWS:
            raise UnusableSeries(f"more than {MAX_ROWS} tickets are not looked at in one call")
        yield row


def duration_anomalies(rows: Iterable[TicketRow], usual: UsualWork) -> tuple[RowAnomaly, ...]:
    """Return completed tickets whose work took much longer or much less than predicted, or than is usual."""
    found = []
    for row in _bounded(rows):
        if row.actual_ms is None:
            continue
        of_kind, predicted = usual.of("actual_ms", row), _predicted(row)
        basis = predicted or of_kind
        logarithm = log1p(max(0, row.actual_ms))
        doubtful = predicted is not None and of_kind is not None and abs(of_kind.score(logarithm)) <= DOUBTFUL
        if basis is not None and not doubtful and abs(basis.score(logarithm)) > UNUSUAL:
            found.append(_of_ticket(AnomalyKind.DURATION, row, "actual_ms", row.actual_ms, basis))
    return tuple(found)


def _predicted(row: TicketRow) -> Usual | None:
    if row.prediction is None or not 0 < row.prediction.p50_ms <= row.prediction.p90_ms:
        return None
    spread = max(LEAST_SPREAD, log(row.prediction.p90_ms / row.prediction.p50_ms) / NORMAL_90)
    return Usual(log1p(row.prediction.p50_ms), spread, spread)


def resource_anomalies(rows: Iterable[TicketRow], usual: UsualWork) -> tuple[RowAnomaly, ...]:
    """Return tickets that took much more of workers' time over attempts, or have much larger or smaller payloads.

    A ticket comes once for each figure; the time over attempts is compared with what one attempt usually takes.
    """
    found = []
    for row in _bounded(rows):
        figures = [("worker_ms", "actual_ms", _worker_ms(row))]
        figures += [(name, name, MEASURES[name](row)) for name in ("parameters_bytes", "output_bytes")]
        for measure, base, value in figures:
            basis = usual.of(base, row)
            if value is None or basis is None:
                continue
            score = basis.score(log1p(max(0.0, value)))
            if score > UNUSUAL or (score < -UNUSUAL and measure != "worker_ms"):
                found.append(_of_ticket(AnomalyKind.RESOURCES, row, measure, value, basis))
    return tuple(found)


def _of_ticket(kind: AnomalyKind, row: TicketRow, measure: str, value: float, usual: Usual) -> RowAnomaly:
    return RowAnomaly(
        kind=kind,
        entity_type="ticket",
        entity_id=row.ticket_id,
        flow_id=row.flow_id,
        at=row.completed_at,
        measure=measure,
        value=float(value),
        expected_low=max(0.0, expm1(usual.middle - UNUSUAL * usual.below)),
        expected_high=expm1(usual.middle + UNUSUAL * usual.above),
        score=usual.score(log1p(max(0.0, value))),
    )


def failure_anomalies(rows: Iterable[TicketRow], usual: UsualWork) -> tuple[RowAnomaly, ...]:
    """Return workers and types of tasks that fail much more often than is usual for such work.

    A worker is compared with what its kinds of work usually do, and with what other workers do with them now: so work
    that is broken puts no blame on who has it. A type is looked at without its worst worker, for the same reason.
    """
    ended = [row for row in _bounded(rows) if _failed(row) is not None]
    by_worker: dict[str, list[TicketRow]] = defaultdict(list)
    by_type: dict[str, list[TicketRow]] = defaultdict(list)
    for row in ended:
        by_type[str(row.task_type)].append(row)
        if row.worker_id is not None:
            by_worker[row.worker_id].append(row)
    looked_at = len(by_worker) + len(by_type)
    found = []
    totals = Counter((row.task_type, _failed(row)) for row in ended)
    for worker, own in by_worker.items():
        others = totals - Counter((row.task_type, _failed(row)) for row in own)

        rates = [max(usual.failure_rate(row), _rate_now(row, others)) for row in own]
        found += _pattern("worker", worker, own, rates, looked_at)
    for task_type, own in by_type.items():
        rest = _without_worst(own)
        found += _pattern("task_type", task_type, rest, list(map(usual.failure_rate, rest)), looked_at)
    return tuple(sorted(found, key=lambda one: (-one.score, one.entity_id)))


def _rate_now(row: TicketRow, others: Mapping[tuple[TaskType, bool | None], int]) -> float:
    """Return how often work of a ticket's type fails with other workers now; 0 where they have too little of it."""
    fails, works = (others.get((row.task_type, failed), 0) for failed in (True, False))
    return fails / (fails + works) if fails + works >= LEAST_TRIALS else 0.0


def _without_worst(rows: Sequence[TicketRow]) -> list[TicketRow]:
    """Return the tickets without those of the worker with the most failures, where several workers had them."""
    failures = Counter(row.worker_id for row in rows if _failed(row))
    workers = {row.worker_id for row in rows}
    worst = max(failures, key=lambda worker: (failures[worker], str(worker)), default=None)
    return [row for row in rows if row.worker_id != worst] if len(workers) > 1 and failures else list(rows)


def _pattern(
    entity: Literal["worker", "task_type"],
    name: str,
    rows: Sequence[TicketRow],
    rates: Sequence[float],
    looked_at: int,
) -> list[RowAnomaly]:
    failures = sum(bool(_failed(row)) for row in rows)
    if len(rows) < LEAST_TRIALS or failures < LEAST_FAILURES:
        return []
    expected = min(1.0, sum(rates) / len(rows))
    chance = binomial_tail(failures, len(rows), expected)
    share = failures / len(rows)
    if chance * looked_at >= CHANCE or share < TWICE * expected:
        return []
    return [
        RowAnomaly(
            kind=AnomalyKind.FAILURES,
            entity_type=entity,
            entity_id=name,
            at=max(row.completed_at for row in rows),
            measure="failure_share",
            value=share,
            expected_low=0.0,
            expected_high=min(1.0, expected + UNUSUAL * sqrt(expected * (1 - expected) / len(rows))),
            score=min(CERTAIN, -log(chance) / log(10)) if chance > 0 else CERTAIN,
        )
    ]


def load_anomalies(arrivals: Sequence[float], forecast: LoadForecast, name: str = "arrivals") -> tuple[RowAnomaly, ...]:
    """Return buckets in which many more or many fewer came than was forecast, from the forecast's first bucket on.

    At most as many arrivals as the forecast has buckets count; raises `UnusableSeries` for those that are no numbers.
    """
    found = []
    for value, point in zip(checked(arrivals, 0), forecast.points, strict=False):
        spread = max(1.0, sqrt(point.value), (point.high - point.value) / NORMAL_95)
        score = (value - point.value) / spread
        if abs(score) > UNUSUAL:
            anomaly = RowAnomaly(
                kind=AnomalyKind.LOAD,
                entity_type="load",
                entity_id=name,
                at=point.start,
                measure=name,
                value=value,
                expected_low=max(0.0, point.value - UNUSUAL * spread),
                expected_high=point.value + UNUSUAL * spread,
                score=max(-CERTAIN, min(CERTAIN, score)),
            )
            found.append(anomaly)
    return tuple(found)


def ticket_anomalies(rows: Sequence[TicketRow], usual: UsualWork) -> tuple[RowAnomaly, ...]:
    """Return the anomalies of all kinds but load, in order of time."""
    found = (*duration_anomalies(rows, usual), *resource_anomalies(rows, usual), *failure_anomalies(rows, usual))
    return tuple(sorted(found, key=lambda one: (one.at, one.entity_id, one.measure)))
