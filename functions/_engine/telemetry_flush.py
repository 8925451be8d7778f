"""Sends buffered telemetry, one flush at a time: two at once would send the same events and mix up their order."""

import asyncio
from datetime import datetime, timedelta

from functions._core.engine import FlushResult
from functions._core.ports import Ports
from functions._engine.wiring import flush_telemetry
from functions._observability.logs import log

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(seconds=30)
"""How long a sink that is away is left alone: twice as long after each try without success, up to the longest."""


class TelemetryFlush:
    """Call it to send what waits; a call that comes during another one waits for its turn."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._turn = asyncio.Lock()
        self._pause = FIRST_PAUSE
        self._not_before: datetime | None = None
        self.away: str | None = None
        """Why the sink took no more when it was tried last; None when it did, or was not tried."""

    async def __call__(self, intent_id: str | None = None) -> FlushResult:
        """Try now, and return what moved; with an intent's id, only what belongs to it is sent."""
        async with self._turn:
            return await self._flush(intent_id)

    async def when_due(self) -> None:
        """Try unless the sink was away a moment ago."""
        async with self._turn:
            now, not_before = self._ports.clock.now(), self._not_before
            # A clock that was set back must not keep the sink waiting for longer than the pause.
            if not_before is None or not now < not_before <= now + LONGEST_PAUSE:
                await self._flush(None)

    async def _flush(self, intent_id: str | None) -> FlushResult:
        flushed = await flush_telemetry(self._ports, intent_id)
        self.away = flushed.away
        if flushed.away is None:
            self._pause, self._not_before = FIRST_PAUSE, None
        else:
            self._not_before = self._ports.clock.now() + self._pause
            log.warning("telemetry.waits", sent=flushed.sent, lost=flushed.lost, error=flushed.away)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return flushed
