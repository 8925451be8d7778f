"""A clock for tests in which time passes only when they say so."""

from datetime import datetime, timedelta

from tests.support.builders import T0


class HandClock:
    """A wall clock, `time`, and a monotonic one, `ticks` in seconds; a test may also set one of them alone."""

    def __init__(self) -> None:
        self.time = T0
        self.ticks = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.ticks

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)
        self.ticks += seconds
