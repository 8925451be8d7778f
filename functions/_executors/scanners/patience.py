"""Calls of services that tools make: repeated while they fail for a passing reason."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from functions._executors.port import CallFailed, JobContext

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each repetition."""

LONGEST_SECONDS = 60.0
"""How long a service may ask to be left alone."""

T = TypeVar("T")


class Patience:
    """Repeats calls; `pauses` are the seconds before each repetition."""

    def __init__(self, pauses: Sequence[float] = PAUSES) -> None:
        self._pauses = pauses

    async def of(self, call: Callable[[], Awaitable[T]], context: JobContext[Any]) -> T:
        """Return what a call returns; raise `CallFailed` of the last one."""
        for pause in self._pauses:
            try:
                return await call()
            except CallFailed as failure:
                wait = max(pause, failure.after_seconds)
                if not failure.transient or wait > min(LONGEST_SECONDS, context.seconds_left):
                    raise
            await asyncio.sleep(wait)
        return await call()
