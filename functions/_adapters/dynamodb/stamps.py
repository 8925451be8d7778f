"""Positions in time: what orders history, flows, tickets, letters and telemetry.

A hybrid logical clock: microseconds since 1970, above everything that this process has given out or read. So what was
decided on something comes after it, whichever clocks were wrong. What happened at once, in processes that did not know
of each other, may come in any order.
"""

from zlib import crc32

from functions._core.ports import Clock

PER_MS = 1000


class Stamps:
    """Gives out positions; `name` is the process's, and no other process should have it."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self._name = name
        self._last = 0

    def take(self, count: int, about: str) -> int:
        """Return the first of `count` positions in a row.

        The process's name and what it is `about` choose the microsecond within this millisecond, one of a thousand.
        So two processes seldom give the same, but they may: no key relies on it alone.
        """
        offset = crc32(f"{self._name}/{about}".encode("utf-8", "surrogatepass")) % PER_MS
        first = max(self._last + 1, self.now() + offset)
        self._last = first + count - 1
        return first

    def now(self) -> int:
        """Return the position of this instant."""
        return int(self._clock.now().timestamp() * PER_MS) * PER_MS

    def seen(self, position: int) -> None:
        """Stay above a position that was read."""
        self._last = max(self._last, position)
