"""The figures that a profile is made of, each of which fades with time: of tickets, of the last hour, of waits."""

from bisect import bisect_right
from math import exp, log, sqrt

from functions._core.records.record import Record

HALF_LIFE_S = 7 * 86_400.0
"""Seconds in which what is known of durations, successes and retries comes to count half."""

DAY_S = 86_400.0
"""Seconds in which a failure fades to a bit more than a third."""

HOUR_S = 3_600.0
"""Seconds in which lines and load fade to a bit more than a third, and within which a worker counts as present."""

WAIT_CELLS_MS = (0, *(50 * 2**step for step in range(18)))
"""Where the cells of the histogram of waits begin, in milliseconds: up to two hours."""

LARGE = 100
"""From here on a figure is stored with six digits, below it with four behind the point."""

_DECAY = log(2) / HALF_LIFE_S


class Group(Record, array_like=True):
    """What is known of the tickets of one group, as of the moment at which the last of them ended."""

    at: int = 0
    """Seconds since 1970."""
    ended: float = 0.0
    """How many ended that a worker had, the older ones counting less."""
    done: float = 0.0
    """How many of them were COMPLETED."""
    retries: float = 0.0
    """How often they were tried again in all."""
    failures: float = 0.0
    """How often work at them failed within about a day."""
    log_ms: float = 0.0
    """The mean logarithm of the milliseconds of those that were done."""
    log_ms_var: float = 0.0
    """The variance of that."""
    ratio: float = 0.0
    """The mean logarithm of how many times its estimate work took; of workers and hours, that beyond its kind."""
    ratio_var: float = 0.0
    """The variance of that."""

    @property
    def time_spread(self) -> float:
        """The standard deviation of the logarithm of the milliseconds."""
        return sqrt(max(0.0, self.log_ms_var))

    @property
    def spread(self) -> float:
        """The standard deviation of the ratio."""
        return sqrt(max(0.0, self.ratio_var))

    def with_ticket(self, at: int, retries: int, *, failed: bool, log_ms: float | None, ratio: float | None) -> "Group":
        """Return it with one more ticket; without durations it was not done."""
        age = max(0, at - self.at) if self.at else 0
        kept = exp(-age * _DECAY)
        done, times, ratios = self.done * kept, (self.log_ms, self.log_ms_var), (self.ratio, self.ratio_var)
        if log_ms is not None and ratio is not None:
            times, ratios = _with(done, *times, log_ms), _with(done, *ratios, ratio)
            done += 1
        return Group(
            at=max(at, self.at),
            ended=self.ended * kept + 1,
            done=done,
            retries=self.retries * kept + retries,
            failures=self.failures * exp(-age / DAY_S) + retries + failed,
            log_ms=times[0],
            log_ms_var=times[1],
            ratio=ratios[0],
            ratio_var=ratios[1],
        )

    def short(self) -> "Group":
        """Return it as it is stored."""
        return Group(
            at=self.at,
            ended=short(self.ended),
            done=short(self.done),
            retries=short(self.retries),
            failures=short(self.failures),
            log_ms=short(self.log_ms),
            log_ms_var=short(self.log_ms_var),
            ratio=short(self.ratio),
            ratio_var=short(self.ratio_var),
        )


NOTHING = Group()
"""A group of which nothing is known."""


class LastHour(Record, array_like=True):
    """What happened within about the last hour before `at`."""

    at: int = 0
    """Seconds since 1970."""
    ended: float = 0.0
    """Tickets that ended."""
    waited_ms: float = 0.0
    """Milliseconds that they had waited for workers, in all."""
    worked_ms: float = 0.0
    """Milliseconds that workers had worked on them, in all."""

    def with_ticket(self, at: int, waited_ms: int, worked_ms: int) -> "LastHour":
        """Return it with one more ticket."""
        kept = exp(-max(0, at - self.at) / HOUR_S) if self.at else 0.0
        return LastHour(
            at=max(at, self.at),
            ended=self.ended * kept + 1,
            waited_ms=self.waited_ms * kept + waited_ms,
            worked_ms=self.worked_ms * kept + worked_ms,
        )

    def short(self) -> "LastHour":
        """Return it as it is stored."""
        ended, waited_ms, worked_ms = short(self.ended), short(self.waited_ms), short(self.worked_ms)
        return LastHour(at=self.at, ended=ended, waited_ms=waited_ms, worked_ms=worked_ms)


class WaitTimes(Record, array_like=True):
    """How long tickets waited for a worker within about the last hour before `at`."""

    at: int = 0
    """Seconds since 1970."""
    cells: tuple[float, ...] = (0.0,) * len(WAIT_CELLS_MS)
    """How many waited how long, by the cells of `WAIT_CELLS_MS`."""

    def with_wait(self, at: int, waited_ms: int) -> "WaitTimes":
        """Return it with one more wait."""
        kept = exp(-max(0, at - self.at) / HOUR_S) if self.at else 0.0
        cells = [count * kept for count in self.cells]
        cells[bisect_right(WAIT_CELLS_MS, max(0, waited_ms)) - 1] += 1
        return WaitTimes(at=max(at, self.at), cells=tuple(cells))

    def short(self) -> "WaitTimes":
        """Return it as it is stored."""
        return WaitTimes(at=self.at, cells=tuple(map(short, self.cells)))

    @property
    def median_ms(self) -> int:
        """The wait that half of them had at most, within its cell as if they were spread evenly."""
        half, below = sum(self.cells) / 2, 0.0
        for place, count in enumerate(self.cells):
            if count > 0 and below + count >= half:
                begin, end = WAIT_CELLS_MS[place], WAIT_CELLS_MS[min(place + 1, len(WAIT_CELLS_MS) - 1)]
                return round(begin + (end - begin) * (half - below) / count) if place else 0
            below += count
        return 0


def _with(count: float, mean: float, var: float, value: float) -> tuple[float, float]:
    """Return mean and variance with one more value."""
    more = count + 1
    new = mean + (value - mean) / more
    return new, (count * var + (value - mean) * (value - new)) / more


def short(value: float) -> float:
    """Return a figure with few digits, as it is stored."""
    return round(value, 4) if abs(value) < LARGE else float(f"{value:.6g}")
