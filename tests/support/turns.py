"""How long the event loop is kept from other work, in CPU of its thread."""

import asyncio
import asyncio.events
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """The CPU of the longest turn of the event loop, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0


@contextmanager
def measured_turns() -> Iterator[Turns]:
    """Measure every turn of the event loop; CPU of its thread, so that a busy machine changes nothing."""
    seen, run = Turns(), asyncio.events.Handle._run  # noqa: SLF001 a turn has no other name

    def measured(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        seen.longest = max(seen.longest, time.thread_time() - begun)

    asyncio.events.Handle._run = measured  # type: ignore[method-assign, assignment]  # noqa: SLF001
    gc.disable()  # a platform of its own process seldom looks for garbage; this process is full of other tests' objects
    try:
        yield seen
    finally:
        gc.enable()
        asyncio.events.Handle._run = run  # type: ignore[method-assign]  # noqa: SLF001
