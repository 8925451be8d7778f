"""Flows on a fleet of which a quarter fails one task in three, in the simulator; how often are tickets tried again?"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from unittest.mock import patch

import msgspec

from functions._core.decision.sample import Shape, sample_decision
from functions._core.placement.pheromones import NO_TRAILS, Trails
from functions._engine.pheromones import LearnedPheromones
from functions._simulator.plans import Scenario, worker
from functions._simulator.run import simulate

CAPABILITIES = ("python", "shell", "terraform")
WORKERS, SLOTS, FAILING = 8, 4, 2
SHARE = 1 / 3
"""The share of its tasks that a failing worker fails."""

FLOWS, TASKS, PAUSE = 16, 25, 15.0
"""Flows of a world, tasks of each, and the seconds between two arrivals."""


@dataclass(frozen=True)
class Ran:
    """One world: retries, the tickets that each worker was given, and how long it took, in seconds."""

    retries: int
    given: tuple[int, ...]
    seconds: float

    @property
    def to_failing(self) -> float:
        """The share of the tickets that the failing workers were given."""
        return sum(self.given[:FAILING]) / sum(self.given)


def scenario(seed: int, *, flows: int = FLOWS, tasks: int = TASKS, pause: float = PAUSE) -> Scenario:
    """Return flows that leave about half of the fleet idle on average."""
    decisions = [
        sample_decision(tasks, list(Shape)[number % len(Shape)], 1000 * seed + number, CAPABILITIES)
        | {"sla_deadline_seconds": 14_400}
        for number in range(flows)
    ]
    fleet = [worker(number + 1, CAPABILITIES, SLOTS) for number in range(WORKERS)]
    failing = {registration.worker_id: SHARE for registration in fleet[:FAILING]}
    return Scenario(decisions, fleet, failing=failing, pause=pause)


def ran(seed: int, **shape: float) -> Ran:
    """Run one world."""
    result = simulate(seed, ["none"], scenario(seed, **shape), keep_history=True)  # type: ignore[arg-type]
    assert not result.violations, result.violations
    lines = [msgspec.json.decode(line) for line in result.history]
    given = [line["worker_id"] for line in lines if line["type"] == "ticket.assigned"]
    return Ran(
        retries=sum(line["type"] == "ticket.retried" for line in lines),
        given=tuple(given.count(f"worker-{number + 1}") for number in range(WORKERS)),
        seconds=result.seconds or 0.0,
    )


@contextmanager
def nothing_learned() -> Iterator[None]:
    """Let every pheromone be the constant 0.5."""

    async def none(_self: LearnedPheromones, _domain: str) -> Trails:
        return NO_TRAILS

    with patch.object(LearnedPheromones, "trails", none):
        yield


def interval(values: list[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean, and the ends of its confidence interval."""
    mean, error = fmean(values), stdev(values) / len(values) ** 0.5
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return mean, mean - reach, mean + reach
