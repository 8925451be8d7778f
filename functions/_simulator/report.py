"""What many runs say together: how flows ended, when, how likely the SLA is met, and which invariants were violated."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from textwrap import wrap

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.explain.spans import counted
from functions._simulator.run import Result

SHARES = (0.5, 0.9, 0.99, 1.0)
BARS = 10
WIDTH = 40
COLUMNS = 100
REASONS = 20
"""Reasons why flows were rejected that are told, the most frequent."""

Z = 1.96
"""Standard deviations that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """The results of all runs."""

    results: Sequence[Result]

    @property
    def broken(self) -> Sequence[Result]:
        """The runs in which an invariant was violated."""
        return [result for result in self.results if result.violations]

    @property
    def finishes(self) -> Sequence[float]:
        """Seconds from decision to end of every flow that ended COMPLETED, sorted."""
        return sorted(r.seconds for r in self.results if r.seconds is not None and r.outcome == "COMPLETED")

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many flows ended how, the most frequent first."""
        return dict(Counter(result.outcome for result in self.results).most_common())

    @property
    def struck(self) -> Mapping[str, int]:
        """How often each fault struck, by its name."""
        total: Counter[str] = Counter()
        for result in self.results:
            total.update(result.struck)
        return dict(sorted(total.items()))

    @property
    def rejected_because(self) -> Mapping[str, int]:
        """How many flows were rejected for each reason, the most frequent first."""
        return dict(Counter(reason for r in self.results for reason in r.rejected_because).most_common(REASONS))

    @property
    def in_time(self) -> int:
        """How many flows were COMPLETED within their deadline."""
        return sum(result.in_time for result in self.results)

    def quantiles(self) -> Mapping[str, float]:
        """Return the finish times within which a share of the completed flows was done."""
        finishes = self.finishes
        return {
            f"p{share * 100:g}" if share < 1 else "max": finishes[ceil(share * len(finishes)) - 1]
            for share in SHARES
            if finishes
        }

    def as_json(self) -> Mapping[str, object]:
        """Return everything as JSON values."""
        low, high = interval(self.in_time, len(self.results))
        return {
            "runs": len(self.results),
            "outcomes": self.outcomes,
            "rejected_because": self.rejected_because,
            "finish_seconds": self.quantiles(),
            "sla": {"met": self.in_time, "probability": self.in_time / len(self.results), "low": low, "high": high},
            "faults": self.struck,
            "broken": [
                {"seed": r.seed, "promise": v.sentence, "detail": v.detail} for r in self.broken for v in r.violations
            ],
            "fingerprints": {result.seed: result.fingerprint for result in self.results},
        }

    def lines(self) -> Iterator[str]:
        """Yield the report for people, without what was broken."""
        total = len(self.results)
        yield "How the flows ended"
        yield from (f"  {name:<12}{number:>7}  {number / total:>6.1%}" for name, number in self.outcomes.items())
        if self.rejected_because:
            yield "Why flows were rejected"
            yield from (
                f"  {counted(number, 'time')}: {UNPRINTABLE.sub('?', r)}" for r, number in self.rejected_because.items()
            )
        if self.finishes:
            yield "Seconds from decision to end, of those that were COMPLETED"
            yield "  " + "   ".join(f"{name} {seconds:.1f}" for name, seconds in self.quantiles().items())
            yield from (f"  {line}" for line in histogram(self.finishes))
        low, high = interval(self.in_time, total)
        met = f"The SLA was met in {self.in_time} of {total} runs: {self.in_time / total:.1%}"
        yield f"{met} (95 % interval {low:.1%} to {high:.1%})"
        if self.struck:
            yield "How often each fault struck"
            told = ", ".join(f"{name} {number}" for name, number in self.struck.items())
            yield from wrap(told, COLUMNS, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def interval(hits: int, total: int) -> tuple[float, float]:
    """Return the Wilson interval at 95 % of a share that was seen as `hits` of `total`."""
    share, square = hits / total, Z * Z / total
    middle, half = share + square / 2, Z * sqrt(share * (1 - share) / total + square / (4 * total))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def histogram(values: Sequence[float]) -> Iterator[str]:
    """Yield the lines of bars of equal width for sorted `values`; none where all are the same."""
    found = bars(values, BARS)
    if len(found) < BARS:
        return
    most = max(count for _, _, count in found)
    for low, high, count in found:
        yield f"{low:>8.1f} … {high:<8.1f}{count:>6}  {'█' * round(count / most * WIDTH)}".rstrip()


def bars(values: Sequence[float], number: int) -> Sequence[tuple[float, float, int]]:
    """Return where bars of equal width begin and end, and how many of the sorted `values` are in each.

    It is one bar where all values are the same, and none without values.
    """
    if not values:
        return []
    low, high = values[0], values[-1]
    step = (high - low) / number
    if not step:
        return [(low, high, len(values))]
    counts = Counter(min(number - 1, int((value - low) / step)) for value in values)
    return [(low + bar * step, low + (bar + 1) * step, counts[bar]) for bar in range(number)]
