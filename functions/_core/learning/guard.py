"""A predictor whose word is looked at before anybody follows it: whatever is unusable counts as no prediction.

A model may raise, say NaN, zero or a century, or take its time. Nothing of that reaches a flow: `Guarded` answers with
usable quantiles or with None, asks for a bounded number of them, and gives a slow model up. What was unusable is
counted in `UNUSABLE`.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final, TypeVar, cast

from functions._core.learning.predictions import PlannedWork, Predictor, Quantiles, Serving
from functions._core.ports import Ports

LONGEST_MS = 10**12
"""Milliseconds that work is predicted to take at most, 31 years: more is no prediction."""

EVALUATIONS = 2_000
"""Questions that one step asks a model at most: with 10 µs each, less than an event loop notices."""

PATIENCE = timedelta(milliseconds=25)
"""How long the answers of one step may take in all; a model that is slower is asked nothing more in this step."""

REMEMBERED = 4_096
"""Kinds of work, and pairs of them with workers, whose prediction is remembered while one model serves: plans and
workers come again."""

PLANS = 512
"""Plans between C1 and C2 of which it is remembered what was said."""

T = TypeVar("T")

UNUSABLE: Counter[str] = Counter()
"""How often a prediction was not used in this process: `error`, `no_number`, `out_of_bounds`, `slow`, `many`."""

Kind = tuple[Any, ...]
"""All that a prediction depends on: the fields of `PlannedWork` in their order, of the moment the day and the hour."""


UNKNOWN: Final = object()
"""What nothing was said of. Large plans are looked at in a thread: what one look finds, another may just forget."""

_work_of: Callable[..., PlannedWork] = PlannedWork


class _Memory:
    """What one model has said."""

    def __init__(self, predictor: Predictor | None) -> None:
        self.predictor = predictor
        self.quantiles: dict[Kind, Quantiles | None] = {}
        self.paces: dict[tuple[object, ...], dict[str, float]] = {}
        self.plans: dict[Hashable, object] = {}


_memory = _Memory(None)


class Guarded:
    """What is predicted in one step, by the model that serves."""

    def __init__(self, serving: Serving, now: Callable[[], datetime]) -> None:
        """Ask the model of `serving`; `now` is the clock that says how long that takes."""
        self.acts = serving.acts
        self._waits_ms = serving.waits_ms
        self._predictor = serving.predictor
        self._now = now
        self._left = EVALUATIONS
        self._until: datetime | None = None
        self._slow = False
        self._memory = _remembered(serving.predictor)
        self.model = _version(serving.predictor)

    def quantiles(self, *known_before: Any, at: datetime) -> Quantiles | None:  # noqa: ANN401 fields of any type
        """Return how long work takes by whoever gets it; None where that is not known.

        `known_before` are the fields of `PlannedWork` in their order, but for `at`.
        """
        known, key = self._memory.quantiles, (*known_before, at.weekday(), at.hour)
        found = known.get(key, UNKNOWN)
        if found is not UNKNOWN:
            return cast("Quantiles | None", found)
        if not self._may_ask():
            return None
        said = self._asked(_work_of(*known_before, at), None)
        if len(known) >= REMEMBERED:
            known.clear()
        known[key] = said
        return said

    def of_plan(self, key: Hashable, ask: Callable[[], T], *, again: bool) -> T:
        """Return what is said of a plan: C2 follows what C1 was told, where both are in one process.

        `again` asks in any case.
        """
        plans = self._memory.plans
        said = UNKNOWN if again else plans.get(key, UNKNOWN)
        if said is UNKNOWN:
            said = ask()
            if len(plans) >= PLANS:
                plans.clear()
            plans[key] = said
        return cast("T", said)

    def pace(self, kind: tuple[object, ...], work: Callable[[], PlannedWork], worker_id: str) -> float:
        """Return how much longer a worker needs for a kind of work than whoever gets it; 1 where it is not known.

        `work` makes an example of it.
        """
        memory = self._memory.paces
        paces = memory.get(kind)
        if paces is None:
            if len(memory) >= REMEMBERED:
                memory.clear()
            paces = memory[kind] = {}
        pace = paces.get(worker_id)
        if pace is None:
            example = work()
            anybody = self._asked(example, None) if self._may_ask() else None
            if anybody is None or not self._may_ask():
                return 1.0
            own = self._asked(example, worker_id)
            if len(paces) >= REMEMBERED:
                paces.clear()
            pace = paces[worker_id] = 1.0 if own is None else own.p50_ms / anybody.p50_ms
        return pace

    def wait_ms(self, capabilities: Iterable[str]) -> int:
        """Return how long work waits for a worker: as its scarcest capability, else as any work; 0 if unknown."""
        known = [self._waits_ms[one] for one in capabilities if one in self._waits_ms]
        longest = max(known, default=self._waits_ms.get("", 0))
        return int(longest) if isfinite(longest) and 0 <= longest <= LONGEST_MS else 0

    def _asked(self, work: PlannedWork, worker_id: str | None) -> Quantiles | None:
        try:
            p50, p90 = self._predictor.quantiles(work, worker_id)
            usable = isfinite(p50) and isfinite(p90)
        except Exception:  # noqa: BLE001 whatever a model raises, no flow is harmed by it
            UNUSABLE["error"] += 1
            return None
        if not usable:
            UNUSABLE["no_number"] += 1
            return None
        if not 1 <= p50 <= p90 <= LONGEST_MS:
            UNUSABLE["out_of_bounds"] += 1
            return None
        return Quantiles(int(p50), int(p90))

    def _may_ask(self) -> bool:
        """Whether another question may be asked in this step."""
        if self._slow:
            return False
        if self._left <= 0:
            UNUSABLE["many"] += 1
            return False
        if self._until is None:
            self._until = self._now() + PATIENCE
        elif self._now() > self._until:
            self._slow = True
            UNUSABLE["slow"] += 1
            return False
        self._left -= 1
        return True


async def guarded(ports: Ports) -> Guarded | None:
    """Return the model that serves now, for one step; None where nothing is predicted."""
    try:
        serving = await ports.predictions.serving()
        return None if serving is None else Guarded(serving, ports.clock.now)
    except Exception:  # noqa: BLE001 it must not raise; if it does, no flow is harmed by it
        UNUSABLE["error"] += 1
        return None


def _version(predictor: Predictor) -> str:
    return str(predictor.version)[:100]


def _remembered(predictor: Predictor) -> _Memory:
    """Return what is remembered of a model: of the last one that served alone."""
    global _memory  # noqa: PLW0603 as hashes of tickets are kept: the same questions have the same answers
    if _memory.predictor is not predictor:
        _memory = _Memory(predictor)
    return _memory
