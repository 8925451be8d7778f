"""An isolation forest on one series of figures (Liu, Ting and Zhou, 2008). Pure: chance follows from a seed.

A tree cuts a sample of the line at random places until each part holds one value. A point that is far from the others
is alone after few cuts. On a line a tree is a list of intervals with their depths, so a tree is evaluated for all
points at once, by where its intervals begin among them: the cost grows with the trees, hardly with the points.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import ceil, log, log2

TREES = 100
"""Trees of a forest: the paper's number, from which on scores hardly change."""

SAMPLE = 256
"""Points that each tree is made of, at most: the paper's number."""

EULER = 0.5772156649015329
"""The constant of Euler, of sums of 1/k."""


class SeededChance:
    """Numbers that look random and follow from a seed: the generator SplitMix64, which is the same everywhere."""

    def __init__(self, seed: int) -> None:
        self._state = seed % 2**64

    def whole(self) -> int:
        """Return a number below 2**64."""
        self._state = (self._state + 0x9E3779B97F4A7C15) % 2**64
        mixed = self._state
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        return mixed ^ (mixed >> 31)

    def share(self) -> float:
        """Return a number from 0 to below 1."""
        return (self.whole() >> 11) / 2**53

    def sample(self, values: Sequence[float], size: int) -> list[float]:
        """Return some of the values, each place at most once."""
        pool = list(values)
        for place in range(size):
            other = place + self.whole() % (len(pool) - place)
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:size]


def isolation_scores(values: Sequence[float], seed: int, trees: int = TREES) -> list[float]:
    """Return a score for each of at least two points, from 0 (deep among others) to 1 (alone at once)."""
    chance = SeededChance(seed)
    ordered = sorted(values)
    size = min(SAMPLE, len(values))
    depths = [0.0] * len(ordered)
    for _ in range(trees):
        steps = [0.0] * (len(ordered) + 1)
        before = 0.0
        for begin, depth in _intervals(sorted(chance.sample(values, size)), chance):
            steps[bisect_left(ordered, begin)] += depth - before
            before = depth
        for place, depth in enumerate(accumulate(steps[:-1])):
            depths[place] += depth
    usual = mean_depth(size) * trees
    score = {value: 2 ** (-depth / usual) for value, depth in zip(ordered, depths, strict=True)}
    return [score[value] for value in values]


def mean_depth(points: int) -> float:
    """Return the depth at which a random tree of so many points ends on the average: the paper's c(n)."""
    if points <= 1:
        return 0.0
    return 2 * (log(points - 1) + EULER) - 2 * (points - 1) / points if points > 2 else 1.0  # noqa: PLR2004


def _intervals(sample: Sequence[float], chance: SeededChance) -> Iterator[tuple[float, float]]:
    """Yield the intervals of a tree from the left to the right: where each one begins, and its depth."""
    limit = ceil(log2(max(len(sample), 2)))
    waiting = [(float("-inf"), 0, len(sample), 0)]
    while waiting:
        begin, low, high, depth = waiting.pop()
        lowest, highest = sample[low], sample[high - 1]
        cut = lowest + (highest - lowest) * chance.share()
        middle = bisect_left(sample, cut, low, high) if lowest < highest else low
        if depth == limit or not low < middle < high:
            if lowest == highest or depth == limit:
                yield begin, depth + mean_depth(high - low)
            else:  # the cut fell on the lowest value, which leaves nothing on its left: another one
                waiting.append((begin, low, high, depth))
            continue
        waiting.append((cut, middle, high, depth + 1))
        waiting.append((begin, low, middle, depth + 1))
