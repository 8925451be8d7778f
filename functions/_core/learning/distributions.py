"""How likely chance alone makes a figure: tails of the distributions of Student, Fisher and of counts. Pure.

They are incomplete beta functions, whose continued fraction is evaluated by the method of
Lentz (Numerical Recipes, 6.4): exact to about ten digits, in a number of steps that grows with the root of the degrees
of freedom.
"""

from math import exp, inf, lgamma, log, log1p, sqrt

from functions._core.learning.series import UnusableSeries

STEPS = 10_000
"""Steps of a continued fraction at most: degrees of freedom up to 10**7 need fewer."""

CLOSE = 1e-14
"""The fraction is done when a step changes it by a smaller share."""

TINY = 1e-300
"""What stands for zero where the fraction would divide by it."""


def student_two_sided(t: float, freedom: float) -> float:
    """Return the probability that a figure of Student's distribution is as far from 0 as `t`, or farther."""
    square = t * t
    return beta_share(freedom / 2, 0.5, freedom / (freedom + square)) if square < inf else 0.0


def fisher_tail(f: float, between: float, within: float) -> float:
    """Return the probability that a figure of the F distribution, with these degrees of freedom, is `f` or more."""
    if f <= 0:
        return 1.0
    return beta_share(within / 2, between / 2, within / (within + between * f)) if f < inf else 0.0


def binomial_tail(hits: int, trials: int, chance: float) -> float:
    """Return the probability of so many hits or more, in so many trials that each hit with a chance of 0 to 1."""
    if hits <= 0:
        return 1.0
    if hits > trials:
        return 0.0
    return beta_share(hits, trials - hits + 1, chance)


def normal_of_student(t: float, freedom: float) -> float:
    """Return the normal figure that is as rare as a figure of Student's distribution, with the sign of that.

    The approximation of Wallace (1959), which is within 0.03 from 7 degrees of freedom on.
    """
    size = sqrt(freedom * log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return size if t >= 0 else -size


def student_of_normal(z: float, freedom: float) -> float:
    """Return the figure of Student's distribution that is as rare as a normal figure: `normal_of_student` backwards."""
    size = z * (8 * freedom + 3) / (8 * freedom + 1)
    root = sqrt(freedom * (exp(size * size / freedom) - 1))
    return root if z >= 0 else -root


def beta_share(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, 0 to 1; `a` and `b` are above 0, x is clamped to 0 to 1."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return min(1.0, front * _fraction(a, b, x) / a)
    return max(0.0, 1 - front * _fraction(b, a, 1 - x) / b)


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, where it converges fast."""
    upper, lower = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    whole = lower
    for m in range(1, STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / _nonzero(1 + even * lower)
        upper = _nonzero(1 + even / upper)
        whole *= lower * upper
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        lower = 1 / _nonzero(1 + odd * lower)
        upper = _nonzero(1 + odd / upper)
        change = lower * upper
        whole *= change
        if abs(change - 1) < CLOSE:
            return whole
    raise UnusableSeries("there are too many points to say how likely this is")


def _nonzero(value: float) -> float:
    return value if abs(value) > TINY else TINY
