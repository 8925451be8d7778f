"""A search for the settings of a training: judged on rows that come later, so that it finds what will hold."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from functions._core.learning.duration_table import DurationTable
from functions._core.learning.evaluation import errors_of
from functions._core.learning.history import TicketRow
from functions._core.learning.table_training import TableSettings, fitted

ROWS = 4_000
"""Rows that a search looks at, the newest: each candidate is trained on them once for each fold."""

CANDIDATES = 8
"""Settings that are tried beside the defaults."""

FOLDS = (0.6, 0.8)
"""Each fold trains on this part of the rows, the first to end, and is judged on the next `STEP` of them."""

STEP = 0.2

CHOICES: dict[str, tuple[float, ...]] = {
    "groups": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
    "spread": (4.0, 8.0, 12.0, 25.0, 50.0),
    "workers": (3.0, 8.0, 15.0, 40.0, 1e6),
    "hours": (10.0, 30.0, 60.0, 200.0, 1e6),
    "slopes": (1.0, 4.0, 8.0, 30.0, 1e6),
}
"""What each setting is drawn from; the largest of the last three leave an effect out."""


class Search(NamedTuple):
    """What a search has found."""

    settings: TableSettings
    """The best settings."""
    score: float
    """Their mean pinball loss on the folds, in milliseconds."""
    default_score: float
    """That of the defaults, on the same folds; never below `score`."""
    tried: int
    """Settings that were tried, the defaults among them."""


def tuned(
    rows: Sequence[TicketRow],
    chance: Callable[[], float],
    candidates: int = CANDIDATES,
    goes_on: Callable[[], bool] = lambda: True,
) -> Search:
    """Return the best of the defaults and of some settings drawn by `chance`, which returns 0 <= x < 1.

    A search that `goes_on` ends keeps the best so far. The same rows and chance give the same.
    """
    newest = sorted(rows, key=lambda row: (row.completed_at, row.ticket_id))[-ROWS:]
    folds = [
        (newest[: int(len(newest) * part)], newest[int(len(newest) * part) : int(len(newest) * (part + STEP))])
        for part in FOLDS
    ]
    default = best = TableSettings()
    default_score = best_score = _score(default, folds)
    tried = 1
    for _ in range(candidates):
        if not goes_on():
            break
        candidate = _drawn(best, chance)
        score = _score(candidate, folds)
        tried += 1
        if score < best_score:
            best, best_score = candidate, score
    return Search(best, best_score, default_score, tried)


def _drawn(best: TableSettings, chance: Callable[[], float]) -> TableSettings:
    """Return the best settings with about half of them drawn again."""
    return best.but(
        **{
            name: choices[int(chance() * len(choices))]
            for name, choices in CHOICES.items()
            if chance() < 0.5  # noqa: PLR2004 half
        }
    )


def _score(settings: TableSettings, folds: Sequence[tuple[Sequence[TicketRow], Sequence[TicketRow]]]) -> float:
    """Return the mean pinball loss over the folds; infinite where none has rows to judge by."""
    losses = [
        found.pinball_ms
        for before, after in folds
        if (found := errors_of(DurationTable(fitted(before, settings), "tuning"), after)).rows
    ]
    return sum(losses) / len(losses) if losses else float("inf")
