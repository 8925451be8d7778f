"""Wakes whoever waits for the end of a flow that is committed in this process."""

import asyncio
from contextlib import suppress

from functions._core.errors import Unavailable
from functions._core.records.change_set import ChangeSet


class FlowWaiters:
    """Who waits for which flow. Nothing depends on being told: whoever waits looks for itself afterwards."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many flows somebody waits for."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nobody waits any longer."""
        return self._closed

    def observe(self, step: ChangeSet) -> None:
        """Wake those who wait for the flow that has ended with a committed step."""
        if step.flow is not None and step.flow.ended_at is not None:
            for woken in self._waiting.get(step.flow_id, ()):
                woken.set()

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        for waiting in self._waiting.values():
            for woken in waiting:
                woken.set()

    async def wait(self, flow_id: str, seconds: float) -> None:
        """Return when the flow ends, after `seconds` at the latest; raise `Unavailable` when the platform stops."""
        woken = asyncio.Event()
        if self._closed:
            woken.set()
        waiting = self._waiting.setdefault(flow_id, set())
        waiting.add(woken)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await woken.wait()
        finally:
            waiting.discard(woken)
            if not waiting:
                self._waiting.pop(flow_id, None)
        if self._closed:
            raise Unavailable("the platform is stopping; ask again when it is back")
