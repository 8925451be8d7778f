"""Models that tests predict with: they say what they are made to say, of all work or by the id of its task."""

from collections.abc import Mapping
from datetime import UTC, datetime

from functions._core.learning.guard import Guarded
from functions._core.learning.predictions import PlannedWork, Quantiles, Serving

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Told:
    """A model that says what it was told; work that it was told nothing of takes its estimate, at most twice that."""

    version = "told:1"

    def __init__(
        self, by_task: Mapping[str, tuple[int, int]] | None = None, pace: Mapping[str, float] | None = None
    ) -> None:
        """Take quantiles in ms by task id, and how much longer workers need, by worker id."""
        self.by_task, self.workers = by_task or {}, pace or {}

    def quantiles(self, work: PlannedWork, worker_id: str | None = None) -> Quantiles:
        """See `Predictor.quantiles`."""
        p50, p90 = self.by_task.get(work.task_id, (work.estimate_ms, 2 * work.estimate_ms))
        times = self.workers.get(worker_id or "", 1.0)
        return Quantiles(round(p50 * times), round(p90 * times))


class Serves:
    """The port of predictions with one model."""

    def __init__(self, model: Told, *, acts: bool = True, waits: Mapping[str, int] | None = None) -> None:
        """Let `model` serve; the flow follows it where it `acts`."""
        self._serving = Serving(model, acts, waits or {})

    async def serving(self) -> Serving | None:
        """See `Predictions.serving`."""
        return self._serving


def guarded_by(model: Told, *, acts: bool = True, waits: Mapping[str, int] | None = None) -> Guarded:
    """Return the guard of a model in one step, for which no time passes."""
    return Guarded(Serving(model, acts, waits or {}), lambda: AT)
