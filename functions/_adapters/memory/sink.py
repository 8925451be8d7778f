"""A telemetry sink that keeps what it takes."""

from collections.abc import Sequence

from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent


class MemorySink:
    """A `TelemetrySink` whose `events` can be looked at; while `down` is set it takes nothing."""

    def __init__(self) -> None:
        self.events: list[CloudEvent] = []
        self.down = False

    async def send(self, events: Sequence[CloudEvent]) -> None:
        """Keep the events, all or none."""
        if self.down:
            raise Unavailable("The telemetry sink is down.")
        self.events.extend(events)
