"""Computations that take long: in a thread, so that the event loop goes on, and one at a time."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_PARTS = 2_000
"""Values of a JSON document beyond which it is large: to write and hash it takes several milliseconds."""


class HeavyWork:
    """Runs pure computations. One at a time bounds the memory that they hold."""

    def __init__(self, *, threads: bool) -> None:
        """Without `threads` each runs at once, which keeps a simulation the same every time."""
        self._turn = asyncio.Lock() if threads else None

    async def run(self, compute: Callable[[], T]) -> T:
        """Return the result of `compute`; raises its error."""
        if self._turn is None:
            return compute()
        async with self._turn:
            return await asyncio.to_thread(compute)


def is_large(document: object) -> bool:
    """Whether a JSON document has more than `LARGE_PARTS` values; the walk ends there."""
    level, parts = [document], 0
    while level and parts <= LARGE_PARTS:
        value = level.pop()
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        parts += 1 + len(below)
        if parts <= LARGE_PARTS:
            level.extend(below)
    return parts > LARGE_PARTS
