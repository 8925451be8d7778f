"""Whether the server of metrics answers, for `/ready`: asked at most twice a minute, and never waited for long."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from functions._core.errors import FlowcError, Rejected
from functions._core.ports import Ports
from functions._core.slo.definition import Aggregation
from functions._core.slo.outside import NoMetricsServer

State = Literal["none", "answers", "refuses", "away"]

FRESH = timedelta(seconds=30)
"""How long an answer serves: anybody may ask whether the platform is ready."""

PATIENCE_S = 1.0
"""Seconds that a probe waits for the server: it has to answer itself."""

QUERY = "vector(1)"
"""A query that every server answers, without looking at any series."""


@dataclass(slots=True)
class MetricsState:
    """What was found out last."""

    state: State = "none"
    at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, ports: Ports) -> State:
        """Return how the server of metrics stands, `none` where none is named; never raises."""
        if isinstance(ports.metrics_server, NoMetricsServer):
            return "none"
        async with self.lock:
            now = ports.clock.now()
            if self.at is None or not timedelta() <= now - self.at < FRESH:
                self.state, self.at = await _asked(ports), now
            return self.state


async def _asked(ports: Ports) -> State:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ports.metrics_server.value(QUERY, Aggregation.LAST)
    except Rejected:
        return "refuses"
    except (FlowcError, TimeoutError):
        return "away"
    return "answers"
