"""Whether a series drives another one: Granger's test by lagged regression, effects, and confounders. Pure.

A series is called a cause of another one when its past says more about the other's present than the other's own past
does. That is a statement about time, not about mechanisms: what drives both is named where it is among the series.
Series that only grow are given by their differences; of two that grow, each seems to drive the other one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from functions._core.insights.correlation import coefficient
from functions._core.insights.regression import Design
from functions._core.learning.distributions import fisher_tail
from functions._core.learning.series import UnusableSeries, centred, checked, paired, product

LEAST_POINTS = 12
"""Fewer points leave nothing to compare lags by."""

MAX_LAG = 5
"""How far back a cause is looked for, in points."""

MAX_GIVEN = 3
"""Other series whose past is known in a test: each makes it longer by half."""

MAX_OTHERS = 20
"""Series that are looked at as confounders; 20 of 2,000 points take a second, which an event loop gives to a thread."""

SURE = 0.05
"""The p value below which a cause counts as one."""

STRONG = 0.5
"""The size of the correlation with both, from which on a third series is named as a confounder."""

NOTHING = 1e-12
"""The share of the variance that counts as fully explained."""


class GrangerLag(NamedTuple):
    """The test with a certain number of lags."""

    lag: int
    """How many points back it looked."""
    f: float
    """The F figure: how much more the past of the cause explains than chance would."""
    p_value: float
    """The probability, 0 to 1, of such a figure by chance."""
    explained: float
    """The share, 0 to 1, of what was left unexplained that the past of the cause explains: partial R²."""


class Granger(NamedTuple):
    """Whether the past of a series says something about another one."""

    best: GrangerLag
    """The number of lags with the lowest p value."""
    p_value: float
    """Its p value times the numbers of lags that were tried, 1 at most: so that trying more finds no more."""
    lags: tuple[GrangerLag, ...]
    """Each number of lags, from 1 on."""

    @property
    def causes(self) -> bool:
        """Whether it is a cause."""
        return self.p_value < SURE


class CausalEffect(NamedTuple):
    """How much a cause moves what it drives."""

    lag: int
    """After how many points, at most."""
    per_unit: float
    """How much the effect rises in all, over the lags, when the cause was higher by one for a point at each of them."""
    standardised: float
    """The same in standard deviations of the effect by one of the cause."""
    explained: float
    """The share, 0 to 1, of what the effect's own past leaves unexplained."""


class Confounder(NamedTuple):
    """A third series that may be why two go together."""

    name: str
    """The series."""
    with_cause: float
    """Its correlation with the cause, the strongest up to `MAX_LAG` points back."""
    with_effect: float
    """Its correlation with the effect, likewise."""
    explains: bool
    """Whether the cause says nothing more once the past of this series is known."""


def granger(
    cause: Sequence[float], effect: Sequence[float], given: Sequence[Sequence[float]] = (), max_lag: int = MAX_LAG
) -> Granger:
    """Return whether the past of `cause` says something about `effect`, beside the past of it and of those `given`.

    With lags of 1 to `max_lag`, fewer for short series. Of the others all lags are known at once: what the cause has
    from them only later is nothing that it says. Raises `UnusableSeries`.
    """
    first, second = paired(cause, effect, LEAST_POINTS)
    others = [checked(other, len(first), len(first)) for other in given]
    if len(others) > MAX_GIVEN or not 1 <= max_lag <= MAX_LAG:
        raise UnusableSeries(f"lags are 1 to {MAX_LAG}, and at most {MAX_GIVEN} other series are known")
    most = min(max_lag, (len(first) - 4) // (3 + 2 * len(others)))
    if most < 1:
        raise UnusableSeries("the series are too short for so many others")
    if others:
        design = _design(first, second, others, most)
        lags = tuple(_tested(design, len(first) - most, most * (1 + len(others)), lag) for lag in range(1, most + 1))
    else:
        designs = (_design(first, second, (), lag) for lag in range(1, most + 1))
        lags = tuple(_tested(design, len(first) - lag, lag, lag) for lag, design in enumerate(designs, 1))
    best = min(lags, key=lambda one: (one.p_value, one.lag))
    return Granger(best, min(1.0, best.p_value * len(lags)), lags)


def _design(cause: Sequence[float], effect: Sequence[float], others: Sequence[Sequence[float]], lags: int) -> Design:
    """Return the effect with so many lags of itself, of the others, and last of the cause."""
    columns = [_back(series, back, lags) for series in (effect, *others, cause) for back in range(1, lags + 1)]
    return Design(columns, effect[lags:])


def _tested(design: Design, points: int, known: int, lag: int) -> GrangerLag:
    """Return the test of so many columns of the cause, beside those that are known."""
    without, whole = design.fit(known), design.fit(known + lag)
    between, within = whole.rank - without.rank, points - whole.rank - 1
    gained = without.left - whole.left
    if between == 0 or without.left < NOTHING or gained <= 0:
        return GrangerLag(lag, 0.0, 1.0, 0.0)
    if whole.left < NOTHING:
        return GrangerLag(lag, 1 / NOTHING, 0.0, 1.0)
    f = (gained / between) / (whole.left / within)
    return GrangerLag(lag, f, fisher_tail(f, between, within), gained / without.left)


def _back(series: Sequence[float], back: int, begin: int) -> Sequence[float]:
    """Return what a series was so many points before each one from `begin` on."""
    return series[begin - back : len(series) - back]


def causal_effect(cause: Sequence[float], effect: Sequence[float], lag: int) -> CausalEffect:
    """Return how much a cause moves its effect within so many points; raises `UnusableSeries`."""
    first, second = paired(cause, effect, LEAST_POINTS)
    if not 1 <= lag <= min(MAX_LAG, (len(first) - 4) // 3):
        raise UnusableSeries(f"lags are 1 to {MAX_LAG}, and a third of the points at most")
    design = _design(first, second, (), lag)
    without, whole = design.fit(lag), design.fit(2 * lag)
    per_unit = sum(whole.slopes[lag:])
    moved, moves = (product(about, about) for about in (centred(second), centred(first)))
    standardised = per_unit * (moves / moved) ** 0.5 if moved > 0 else 0.0
    explained = (without.left - whole.left) / without.left if without.left > NOTHING else 0.0
    return CausalEffect(lag, per_unit, standardised, max(0.0, explained))


def detect_confounders(
    cause: Sequence[float], effect: Sequence[float], others: Mapping[str, Sequence[float]], lag: int = MAX_LAG
) -> tuple[Confounder, ...]:
    """Return the series that may be why `cause` seems to drive `effect`, those that explain it first.

    One that goes with both of them (|r| > `STRONG`), or whose past leaves the cause nothing to say. Raises
    `UnusableSeries`.
    """
    first, second = paired(cause, effect, LEAST_POINTS)
    if len(others) > MAX_OTHERS:
        raise UnusableSeries(f"at most {MAX_OTHERS} series are looked at as confounders")
    causes = granger(first, second, max_lag=lag).causes
    found = []
    for name, values in others.items():
        other = checked(values, len(first), len(first))
        with_cause, with_effect = strongest(other, first), strongest(other, second)
        explains = causes and not granger(first, second, [other], lag).causes
        if explains or min(abs(with_cause), abs(with_effect)) > STRONG:
            found.append(Confounder(name, with_cause, with_effect, explains))
    return tuple(sorted(found, key=lambda one: (not one.explains, -abs(one.with_cause * one.with_effect), one.name)))


def strongest(earlier: Sequence[float], later: Sequence[float]) -> float:
    """Return the correlation with the largest size of a series with another one 0 to `MAX_LAG` points later."""
    found = (coefficient(earlier[: len(earlier) - back], later[back:]) for back in range(MAX_LAG + 1))
    return max(found, key=abs)
