"""Exponential smoothing with a damped trend, a daily and a weekly season, all additive (Holt, Winters, Taylor). Pure.

Level, trend and seasons follow the series at rates that are searched for, one after the other, so that forecasts of the
last days, made from several moments in them, are as close as they can be to what came then.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from functions._core.learning.series import mean


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast each part follows the series, 0 (never) to 1 (at once), and how much of a trend lasts."""

    level: float = 0.1
    trend: float = 0.0
    day: float = 0.1
    week: float = 0.1
    damping: float = 0.98
    """The share of the trend that is left after a step."""


CHOICES: Mapping[str, Sequence[float]] = {
    "level": (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7),
    "day": (0.0, 0.05, 0.1, 0.2, 0.4),
    "week": (0.0, 0.05, 0.1, 0.2, 0.4),
    "trend": (0.0, 0.005, 0.02, 0.1),
    "damping": (0.9, 0.98, 0.995),
}
"""The rates that the search tries, part by part."""

ROUNDS = 2
"""How often the search goes through the parts; a third time finds nothing more."""

Seasons = tuple[int, int]
"""Steps of a day and of a week; a season of 1 step is none."""


@dataclass(slots=True)
class Smoothing:
    """Where level, trend and seasons are after some steps of a series."""

    rates: Rates
    level: float
    trend: float = 0.0
    day: list[float] = field(default_factory=lambda: [0.0])
    """The season by the step of the day."""
    week: list[float] = field(default_factory=lambda: [0.0])
    """The season by the step of the week, beside that of the day."""
    step: int = 0
    """How many steps were taken."""

    def take(self, value: float) -> float:
        """Take one more step, and return what was expected there."""
        rates, at_day, at_week = self.rates, self.step % len(self.day), self.step % len(self.week)
        day, week = self.day[at_day], self.week[at_week]
        lasting = rates.damping * self.trend
        expected = self.level + lasting + day + week
        before, start = self.level, self.level + lasting
        self.level = start + rates.level * (value - day - week - start)
        self.trend = lasting + rates.trend * (self.level - before - lasting)
        self.day[at_day] = day + rates.day * (value - start - week - day)
        self.week[at_week] = week + rates.week * (value - start - day - week)
        self.step += 1
        return expected

    def ahead(self, steps: int) -> list[float]:
        """Return what is expected at the next steps."""
        found, share, lasting = [], self.rates.damping, 0.0
        for place in range(self.step, self.step + steps):
            lasting += share * self.trend
            share *= self.rates.damping
            found.append(self.level + lasting + self.day[place % len(self.day)] + self.week[place % len(self.week)])
        return found


def started(series: Sequence[float], rates: Rates, seasons: Seasons) -> Smoothing:
    """Return the smoothing before its first step: the mean of the first weeks or days, and its seasons.

    A season is there when the series has at least two of it.
    """
    day, week = (length if len(series) >= 2 * length else 1 for length in seasons)
    begin = series[: 2 * max(day, week)]
    level = mean(begin)
    daily = [mean(begin[step::day]) - level for step in range(day)]
    weekly = [mean(begin[step::week]) - level - daily[step % day] for step in range(week)]
    return Smoothing(rates, level, 0.0, daily, weekly if week > 1 else [0.0])


def backtest(
    series: Sequence[float], rates: Rates, seasons: Seasons, origins: Sequence[int], steps: int
) -> Iterator[tuple[int, list[float]]]:
    """Yield forecasts of at most so many steps from each origin, the earliest first, by what came before it alone."""
    smoothing = started(series[: origins[0]], rates, seasons)
    values = iter(series)
    for origin in origins:
        for value in islice(values, origin - smoothing.step):
            smoothing.take(value)
        yield origin, smoothing.ahead(min(steps, len(series) - origin))


def error_of(series: Sequence[float], rates: Rates, seasons: Seasons, origins: Sequence[int], steps: int) -> float:
    """Return the mean size of the errors of the forecasts from the origins."""
    errors = [
        abs(expected - value)
        for origin, forecast in backtest(series, rates, seasons, origins, steps)
        for expected, value in zip(forecast, series[origin : origin + steps], strict=True)
    ]
    return mean(errors)


def searched(series: Sequence[float], seasons: Seasons, origins: Sequence[int], steps: int) -> Rates:
    """Return the rates whose forecasts from the origins are closest to what came."""
    best = Rates()
    least = error_of(series, best, seasons, origins, steps)
    for _ in range(ROUNDS):
        before = best
        for part, choices in CHOICES.items():
            for choice in choices:
                tried = replace(best, **{part: choice})
                if tried != best and (error := error_of(series, tried, seasons, origins, steps)) < least:
                    best, least = tried, error
        if best == before:
            break
    return best


def smoothed(series: Sequence[float], rates: Rates, seasons: Seasons) -> Smoothing:
    """Return where the parts are at the end of a series."""
    smoothing = started(series, rates, seasons)
    for value in series:
        smoothing.take(value)
    return smoothing
