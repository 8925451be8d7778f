"""Trees that correct a duration table: trained by scikit-learn, and exported to lists that plain Python evaluates.

The export is checked each time against the library's own predictions; trees that say anything else are not returned.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple

from functions._core.learning.duration_table import DurationTable, TableNumbers
from functions._core.learning.features import FEATURES
from functions._core.learning.training import Featured
from functions._core.learning.trees import Ensemble, Sum, Tree, TreeModel, faults_of_trees

if TYPE_CHECKING:
    import numpy as np

CHECKED = 500
"""Rows on which the export is compared with the library."""

EQUAL = 1e-9
"""How far, as a logarithm, the two may be apart: sums in another order."""

PARTS = (0.5, 0.9)
"""The quantiles that are predicted."""

FEWEST_ROWS = 400
"""Rows below which trees only learn noise."""


class TreeSettings(NamedTuple):
    """How trees are trained."""

    trees: int = 40
    """Trees of each quantile."""
    leaves: int = 10
    """Leaves of a tree at most."""
    rate: float = 0.12
    """How much of what is left a tree corrects."""
    smallest_leaf: int = 30
    """Rows of a leaf at least."""


CANDIDATES = (TreeSettings(), TreeSettings(trees=25, leaves=6, rate=0.2), TreeSettings(trees=60, leaves=20, rate=0.08))
"""The settings that are compared, on the last fifth of the rows."""


def trees_for(
    table: TableNumbers, rows: Featured, settings: Mapping[str, float] = {}, *, seed: int = 21
) -> TreeModel | None:
    """Return trees for what a table leaves of the rows, by the `settings` or, without any, the best of `CANDIDATES`.

    None where the rows are too few, or scikit-learn is not there (extra `learn`).
    """
    if find_spec("sklearn") is None:
        return None
    left = _left(table, rows)
    known = [(values, both) for (_, values), both in zip(rows, left, strict=True) if both is not None]
    if len(known) < FEWEST_ROWS:
        return None
    import numpy as np
    import sklearn.ensemble  # noqa: F401 what is loaded later is not limited
    from threadpoolctl import threadpool_limits

    features = np.asarray([values for values, _ in known], dtype=np.float64)
    targets = np.asarray([both for _, both in known], dtype=np.float64)
    with threadpool_limits(1):  # threads that wait for each other on a busy machine take many times as long
        chosen = _read_settings(settings) if settings else _best(features, targets, seed)
        p50, p90 = (
            exported(_fitted(features, targets[:, which], part, chosen, seed), features[-CHECKED:])
            for which, part in enumerate(PARTS)
        )
    model = TreeModel(features=FEATURES, p50=p50, p90=p90, settings=dict(chosen._asdict()))
    faults = faults_of_trees(model, len(FEATURES))
    if faults:
        raise ValueError("; ".join(faults))
    return model


def _best(features: "np.ndarray", targets: "np.ndarray", seed: int) -> TreeSettings:
    """Return the candidate that is best on the last fifth of the rows, trained on the others."""
    cut = len(features) * 4 // 5

    def loss(one: TreeSettings) -> float:
        return sum(
            _loss(
                _fitted(features[:cut], targets[:cut, which], part, one, seed),
                features[cut:],
                targets[cut:, which],
                part,
            )
            for which, part in enumerate(PARTS)
        )

    return min(CANDIDATES, key=loss)


def _read_settings(given: Mapping[str, float]) -> TreeSettings:
    return TreeSettings(int(given["trees"]), int(given["leaves"]), given["rate"], int(given["smallest_leaf"]))


def exported(regressor: Any, features: "np.ndarray") -> Ensemble:  # noqa: ANN401 the library has no types
    """Return a fitted `HistGradientBoostingRegressor` as lists; raise `ValueError` where they say anything else."""
    trees = tuple(_tree(stage[0].nodes) for stage in regressor._predictors)  # noqa: SLF001 there is no public way
    ensemble = Ensemble(base=float(regressor._baseline_prediction.ravel()[0]), trees=trees)  # noqa: SLF001
    plain = Sum(ensemble)
    for row, expected in zip(features.tolist(), regressor.predict(features).tolist(), strict=True):
        if abs(plain.value(row) - expected) > EQUAL:
            raise ValueError(f"exported trees say {plain.value(row)}, the library {expected}")
    return ensemble


def _tree(nodes: "np.ndarray") -> Tree:
    leaf = nodes["is_leaf"].astype(bool).tolist()
    return Tree(
        feature=tuple(-1 if end else place for end, place in zip(leaf, nodes["feature_idx"].tolist(), strict=True)),
        threshold=tuple(0.0 if end else at for end, at in zip(leaf, nodes["num_threshold"].tolist(), strict=True)),
        left=tuple(0 if end else place for end, place in zip(leaf, nodes["left"].tolist(), strict=True)),
        right=tuple(0 if end else place for end, place in zip(leaf, nodes["right"].tolist(), strict=True)),
        value=tuple(value if end else 0.0 for end, value in zip(leaf, nodes["value"].tolist(), strict=True)),
    )


def _left(table: TableNumbers, rows: Featured) -> Sequence[tuple[float, float] | None]:
    """Return by how much, as a logarithm, each row was longer than the p50 and the p90 of the table."""
    predictor = DurationTable(table, "trained")
    found: list[tuple[float, float] | None] = []
    for row, _ in rows:
        logs = predictor.logs(row.work, row.worker_id)
        actual = log(max(1, row.actual_ms or 0))
        found.append(None if logs is None or row.actual_ms is None else (actual - logs[0], actual - logs[1]))
    return found


def _fitted(features: "np.ndarray", targets: "np.ndarray", part: float, settings: TreeSettings, seed: int) -> Any:  # noqa: ANN401
    from sklearn.ensemble import HistGradientBoostingRegressor

    regressor = HistGradientBoostingRegressor(
        loss="quantile",
        quantile=part,
        max_iter=settings.trees,
        max_leaf_nodes=settings.leaves,
        learning_rate=settings.rate,
        min_samples_leaf=settings.smallest_leaf,
        max_bins=64,
        early_stopping=False,
        random_state=seed,
    )
    return regressor.fit(features, targets)


def _loss(regressor: Any, features: "np.ndarray", targets: "np.ndarray", part: float) -> float:  # noqa: ANN401
    from sklearn.metrics import mean_pinball_loss

    return float(mean_pinball_loss(targets, regressor.predict(features), alpha=part))
