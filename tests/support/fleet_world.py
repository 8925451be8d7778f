"""A fleet of workers and the plans that it works on, seeded, with the truth about both; see `histories`."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log, pi, sin
from typing import Any

from functions._core.learning.predictions import PlannedWork
from functions._core.planning.graph import Schedule, Work, dependants, schedule
from functions._core.records.values import TaskType
from tests.conftest import ROOT
from tests.support.plans import SHAPES

START = datetime(2026, 3, 2, tzinfo=UTC)
"""When the first flow may arrive: a Monday."""

WRONG = (0.3, 5.0)
"""How many times its estimate a kind of work takes, at the least and at the most."""

Edges = Sequence[tuple[str, tuple[str, ...]]]
"""Tasks, each with those that it depends on."""


@dataclass(frozen=True)
class Kind:
    """A kind of work, and the truth about it."""

    name: str
    task_type: TaskType
    capabilities: tuple[str, ...]
    factor: float
    """Times its estimate that it takes, before worker, size and hour."""
    growth: float
    """The power of the size, in thousands of bytes, that its duration grows by."""
    noise: float
    """Standard deviation of the logarithm of its duration."""
    failure_rate: float
    """The part of its attempts that fail."""


@dataclass(frozen=True)
class PlanOfWorld:
    """A plan that comes again: its tasks, the kind of each, and what each takes where nothing makes a difference."""

    plan_id: str
    domain: str
    edges: Edges
    kinds: Mapping[str, Kind]
    base_ms: Mapping[str, float]
    followers: Mapping[str, tuple[str, ...]]

    def estimate_ms(self, task_id: str) -> int:
        """Return what the plan expects of a task."""
        return max(1, round(self.base_ms[task_id] / self.kinds[task_id].factor))

    def timed(self, received_at: datetime, deadline: datetime) -> Schedule:
        """Return the schedule of the plan by its estimates."""
        works = [Work(name, after, self.estimate_ms(name)) for name, after in self.edges]
        return schedule(works, received_at, deadline)

    @property
    def true_path_ms(self) -> float:
        """The critical path by what the tasks really take."""
        ends: dict[str, float] = {}
        for name, after in self.edges:
            ends[name] = self.base_ms[name] + max((ends[one] for one in after), default=0.0)
        return max(ends.values())


class FleetWorld:
    """A fleet, the plans that it works on, and the truth about both."""

    def __init__(self, seed: int, *, workers: int = 8, slots: int = 1, recorded: bool = True) -> None:
        """Draw all of it; `recorded` workflows are among the plans where they are at hand.

        400 flows a day keep 8 slots busy for a third of the time, at noon for most of it; 400 in 14 days seldom wait.
        """
        draw = random.Random(f"{seed}/world")
        self.seed, self.slots = seed, slots
        self.worker_factors = {f"worker-{n}": exp(draw.gauss(0, 0.2)) for n in range(workers)}
        self.worker_factors["worker-0"] *= 2.5
        self.gpu_workers = frozenset(list(self.worker_factors)[: max(1, workers // 2)])
        self.hour_swing = draw.uniform(0.15, 0.35)
        self.kinds: dict[str, Kind] = {}
        """The kinds by the ids of their tasks; tasks that run the same program are of one kind."""
        self._programs: dict[str, Kind] = {}
        self._draw = draw
        self.plans = [self._seeded_plan(shape) for shape in SHAPES]
        self.plans += [self._recorded_plan(name, tasks) for name, tasks in _recorded()] if recorded else []

    def true_ms(self, work: PlannedWork, worker_id: str | None, base_ms: float) -> float:
        """Return the median duration of work by a worker (None: one of factor 1), without noise."""
        kind = self.kinds[work.task_id]
        by_worker = 1.0 if worker_id is None else self.worker_factors[worker_id]
        return base_ms * by_worker * self.size_factor(kind, work.parameters_bytes) * self.hour_factor(work.at)

    def size_factor(self, kind: Kind, size: int) -> float:
        """Return by what the size of its input makes work of a kind longer."""
        return float((max(1, size) / 1000) ** kind.growth)

    def hour_factor(self, at: datetime) -> float:
        """Return by what the hour makes work longer: most at 14:00 UTC, least at 02:00."""
        return 1 + self.hour_swing * sin(2 * pi * (at.hour + at.minute / 60 - 8) / 24)

    def load(self, at: datetime) -> float:
        """Return the part of the highest rate of arrivals: by day more than by night, at weekends a third."""
        return (0.55 + 0.45 * sin(2 * pi * (at.hour + at.minute / 60 - 8) / 24)) * (0.35 if at.weekday() > 4 else 1.0)

    def can(self, worker_id: str, kind: Kind) -> bool:
        """Whether a worker offers what a kind of work needs."""
        return "gpu" not in kind.capabilities or worker_id in self.gpu_workers

    def _kind(self, name: str) -> Kind:
        """Return the kind of a program, drawn when it is new."""
        if name not in self._programs:
            draw = self._draw
            self._programs[name] = Kind(
                name,
                draw.choice([TaskType.EXECUTE, TaskType.QUERY, TaskType.TRANSFORM, TaskType.BUILD, TaskType.TEST]),
                ("execute", "gpu") if draw.random() < 0.25 else ("execute",),
                exp(draw.uniform(log(WRONG[0]), log(WRONG[1]))),
                draw.choice([0.0, 0.0, 0.2, 0.4]),
                draw.uniform(0.1, 0.35),
                draw.choice([0.0, 0.01, 0.03, 0.12]),
            )
        return self._programs[name]

    def _plan(self, name: str, edges: Edges, programs: Mapping[str, str], base_ms: Mapping[str, float]) -> PlanOfWorld:
        levels = schedule([Work(task, after, 1) for task, after in edges], START, START).timings
        edges = sorted(edges, key=lambda edge: levels[edge[0]].level)
        followers = dependants([Work(task, after, 1) for task, after in edges])
        kinds = {task: self._kind(programs[task]) for task, _ in edges}
        self.kinds |= kinds
        domain = self._draw.choice(["BUSINESS", "TECHNICAL", "BEHAVIOR"])
        return PlanOfWorld(f"plan-{name}", domain, edges, kinds, base_ms, followers)

    def _seeded_plan(self, shape: str) -> PlanOfWorld:
        edges = [
            (f"{shape}-{name}", tuple(f"{shape}-{one}" for one in after)) for name, after in SHAPES[shape](self._draw)
        ]
        base = {name: 1000 * exp(self._draw.gauss(1.6, 0.9)) for name, _ in edges}
        programs = {name: name.rstrip("0123456789") for name, _ in edges}
        if shape != "mosaic":  # the names of its tasks say what they do
            programs = {name: f"{shape} {number % 6}" for number, name in enumerate(programs)}
        return self._plan(shape, edges, programs, base)

    def _recorded_plan(self, name: str, tasks: Sequence[Mapping[str, Any]]) -> PlanOfWorld:
        edges = [(str(task["task_id"]), tuple(task.get("dependencies", ()))) for task in tasks]
        total = sum(task.get("estimated_duration_ms") or 1000 for task in tasks)
        scale = 8000 * len(tasks) / total  # recorded workflows of an hour would fill the fleet alone
        base = {str(task["task_id"]): max(50.0, (task.get("estimated_duration_ms") or 1000) * scale) for task in tasks}
        programs = {str(task["task_id"]): str(task["parameters"]["program"]) for task in tasks}
        return self._plan(name, edges, programs, base)


def _recorded() -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Yield the recorded workflows that are at hand, by name."""
    for path in sorted((ROOT.parent / "shared" / "real-plans").glob("*.json")):
        data = json.loads(path.read_text())
        plan = data.get("data", data)["cognitive_plan"]
        yield path.stem.split("-")[0] + path.stem[-3:], (json.loads(plan) if isinstance(plan, str) else plan)["tasks"]
