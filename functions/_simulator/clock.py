"""The time in a simulated world: virtual, and it can jump."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When a simulated flow begins unless a run says otherwise: the same every time."""


class SimulatedClock:
    """The clock of the loop as a date, in whole milliseconds; implements `ports.Clock`."""

    def __init__(self, seconds: Callable[[], float], start: datetime = START) -> None:
        self._seconds = seconds
        self._start = start

    def now(self) -> datetime:
        """Return the virtual time."""
        now = self._start + timedelta(seconds=self._seconds())
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def jump(self, by: timedelta) -> None:
        """Set the clock, forward or back, without any time passing."""
        self._start += by
