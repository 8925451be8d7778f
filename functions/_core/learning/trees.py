"""Gradient-boosted quantile trees in plain Python: they correct what a duration table says.

They are trained elsewhere (`functions/_learning`), and come here as flat lists. Eighty trees take about 40 µs, ten
times as long as a table: whoever predicts for many tickets asks once for each kind of work.
"""

from collections.abc import Mapping, Sequence
from math import exp, isfinite, log
from typing import Any

from functions._core.learning.duration_table import FURTHEST, LARGEST, DurationTable, Resources, TableNumbers, bounded
from functions._core.learning.features import FEATURES, Profile, features_of
from functions._core.learning.predictions import PlannedWork, Quantiles
from functions._core.records.record import Record

MOST_TREES = 200
"""Trees of one quantile: more would cost a plan of many tasks milliseconds."""

MOST_NODES = 127
"""Nodes of a tree."""

DEEPEST = 32
"""Steps from the root of a tree to a leaf at most; a circle would have no end."""


class Tree(Record):
    """A binary tree as lists with one place for each node; the root is the first."""

    feature: tuple[int, ...]
    """The place of the feature that is compared; -1 in a leaf."""
    threshold: tuple[float, ...]
    """Work whose feature is at most that goes to the left; 0 in a leaf."""
    left: tuple[int, ...]
    """The node to the left, further back in the lists; 0 in a leaf."""
    right: tuple[int, ...]
    """The node to the right, further back, too."""
    value: tuple[float, ...]
    """What a leaf adds; 0 in any other node."""


class Ensemble(Record):
    """Trees whose leaves are added up."""

    base: float
    """What is added before all trees."""
    trees: tuple[Tree, ...] = ()
    """The trees; the rate of learning is within their leaves."""

    def value(self, features: Sequence[float]) -> float:
        """Return the sum for the features of a piece of work."""
        return Sum(self).value(features)


class Sum:
    """An ensemble at work: its trees as tuples within tuples, which are walked twice as fast as lists."""

    def __init__(self, ensemble: Ensemble) -> None:
        """Take an ensemble in which nothing was found wrong."""
        self._base, self._trees = ensemble.base, [_nested(tree) for tree in ensemble.trees]

    def value(self, features: Sequence[float]) -> float:
        """Return the sum for the features of a piece of work."""
        total = self._base
        for root in self._trees:
            node = root
            while node.__class__ is tuple:
                place, threshold, left, right = node
                node = left if features[place] <= threshold else right
            total += node
        return total


def _nested(tree: Tree) -> Any:  # noqa: ANN401 a number, or a tuple with two of the same
    """Return a tree as (place, threshold, left, right), or as the number of its leaf; children stand behind parents."""
    made: list[Any] = [*tree.value]
    for node in range(len(made) - 1, -1, -1):
        if tree.feature[node] >= 0:
            made[node] = tree.feature[node], tree.threshold[node], made[tree.left[node]], made[tree.right[node]]
    return made[0]


class TreeModel(Record):
    """The trees of both quantiles: they say by how much, as a logarithm, the table is too low."""

    features: tuple[str, ...]
    """The names of the features that they were trained with, in order."""
    p50: Ensemble
    """The trees of the p50."""
    p90: Ensemble
    """The trees of the p90."""
    settings: Mapping[str, float] = {}
    """The settings of their training."""


class BoostedTable:
    """A table that trees correct; it is a `Predictor`."""

    def __init__(self, table: TableNumbers, trees: TreeModel, profile: Profile, version: str) -> None:
        """Take a table and trees in which nothing was found wrong, and the profile of what was done lately."""
        self.version = version
        self._table, self._profile = DurationTable(table, version), profile
        self._sums = Sum(trees.p50), Sum(trees.p90)

    def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
        """See `Predictor.quantiles`; work of a type that the table does not know takes what its plan says."""
        logs = self._table.logs(work, worker_id)
        if logs is None:
            return self._table.quantiles(work, worker_id)
        return corrected(logs, self._sums, features_of(work, self._profile, worker_id), work.estimate_ms)

    def resources(self, work: PlannedWork) -> Resources:
        """Return what work takes of the fleet, as the table alone says: its factors were learnt beside its p50."""
        return self._table.resources(work)


def corrected(
    logs: tuple[float, float], sums: tuple[Sum, Sum], features: Sequence[float], estimate_ms: int
) -> Quantiles:
    """Return the quantiles that a table says, as logarithms, corrected by trees."""
    estimate = log(estimate_ms)
    one, other = (
        min(max(known + trees.value(features) - estimate, -FURTHEST), FURTHEST)
        for known, trees in zip(logs, sums, strict=True)
    )
    return bounded(estimate_ms * exp(one), estimate_ms * exp(other))


def faults_of_trees(model: TreeModel, features: int) -> Sequence[str]:
    """Return why trees cannot be used; nothing for those that can. Each walk through a tree ends."""
    if model.features != FEATURES:
        return ["its trees were trained with other features"]
    ensembles = (model.p50, model.p90)
    if any(len(one.trees) > MOST_TREES for one in ensembles):
        return [f"it has more than {MOST_TREES} trees"]
    sound = all(_sound(tree, features) for one in ensembles for tree in one.trees)
    return [] if sound and all(_small(one.base) for one in ensembles) else ["a tree of it is unsound"]


def _sound(tree: Tree, features: int) -> bool:
    nodes = len(tree.feature)
    lists = (tree.threshold, tree.left, tree.right, tree.value)
    if not 1 <= nodes <= MOST_NODES or any(len(one) != nodes for one in lists):
        return False
    depths = [0] * nodes
    for node, place in enumerate(tree.feature):
        if place < 0:
            continue
        ahead = (tree.left[node], tree.right[node])
        if place >= features or not all(node < one < nodes for one in ahead) or not isfinite(tree.threshold[node]):
            return False
        for one in ahead:
            depths[one] = depths[node] + 1
    return max(depths) <= DEEPEST and all(_small(value) for value in tree.value)


def _small(number: float) -> bool:
    return isfinite(number) and abs(number) <= LARGEST
