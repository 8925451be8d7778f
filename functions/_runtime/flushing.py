"""Sends buffered telemetry, one flush at a time: two at once would send the same events and mix up their order."""

import asyncio

from functions._core.ports import Ports
from functions._runtime.wiring import flush_telemetry


class TelemetryFlush:
    """Call it to send what waits; a call that comes during another one waits for its turn."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._turn = asyncio.Lock()

    async def __call__(self, intent_id: str | None = None) -> int:
        """Return how many events the sink has taken; with an intent's id, only what belongs to it is sent."""
        async with self._turn:
            return await flush_telemetry(self._ports, intent_id)
