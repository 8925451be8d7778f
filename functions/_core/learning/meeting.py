"""The probability that a flow meets its deadline, from what is predicted for the tasks on its critical path.

The time of a task is log-normal, given by its median and the time within which nine tenths are done; the times of tasks
after each other are added by mean and variance, and their sum is taken to be log-normal, too: it is never negative, and
skewed as durations are. Waits for workers are added as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import erf, exp, log, sqrt

from functions._core.learning.predictions import Quantiles

Z90 = 1.2815515655446004
"""The quantile 0.9 of the standard normal distribution."""

WIDEST = 3.0
"""The standard deviation of the logarithm that is counted at most: beyond, a mean says nothing about likely times."""


@dataclass(frozen=True, slots=True)
class TimeTaken:
    """How long something takes, as a log-normal distribution; `sigma` is 0 where it is certain."""

    mu: float
    """The logarithm of the median in milliseconds."""
    sigma: float
    """The standard deviation of the logarithm."""
    shift_ms: float = 0.0
    """Milliseconds that it takes in any case, before that."""

    def probability(self, within_ms: float) -> float:
        """Return the probability, 0 to 1, that it takes no longer."""
        left = within_ms - self.shift_ms
        if left <= 0:
            return 0.0
        if self.sigma == 0:
            return float(log(left) >= self.mu)
        return 0.5 * (1 + erf((log(left) - self.mu) / (self.sigma * sqrt(2))))

    @property
    def quantiles(self) -> Quantiles:
        """The milliseconds within which half, and nine tenths, are done."""
        p50, p90 = (round(self.shift_ms + exp(self.mu + z * self.sigma)) for z in (0.0, Z90))
        return Quantiles(max(1, p50), max(1, p90))


def time_of_all(parts: Iterable[Quantiles], waits_ms: float = 0.0) -> TimeTaken:
    """Return how long parts take after each other, and what they wait for workers in all; at least one part."""
    mean = variance = 0.0
    for part in parts:
        sigma = min(WIDEST, log(part.p90_ms / part.p50_ms) / Z90)
        mean_of_part = part.p50_ms * exp(sigma * sigma / 2)
        mean += mean_of_part
        variance += mean_of_part * mean_of_part * (exp(sigma * sigma) - 1)
    if mean <= 0:
        raise ValueError("there is no part that takes time")
    spread = log(1 + variance / (mean * mean))
    return TimeTaken(log(mean) - spread / 2, sqrt(spread), waits_ms)
