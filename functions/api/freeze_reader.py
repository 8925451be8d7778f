"""The freezes that last, as the gate tells them: read from the store once in a minute, however many ask."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from functions._core.ports import Ports
from functions._core.slo import stored
from functions._core.slo.freeze_status import namespaces_of
from functions._core.slo.freezing import FreezeEvent, FreezeScope

FRESH = timedelta(seconds=60)
"""How long what was read serves all who ask; a freeze that another process begins may be told as much later."""


@dataclass(frozen=True, slots=True)
class Freezes:
    """The freezes that last, the oldest first, when they were read, and the namespaces of services.

    Namespaces are looked up only while one of them is frozen.
    """

    at: datetime
    events: Sequence[FreezeEvent]
    namespaces: Mapping[str, frozenset[str]]


@dataclass(slots=True)
class RecentFreezes:
    """What was read last; many who ask at once ask the store once."""

    known: Freezes | None = None
    moved: int = -1
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, ports: Ports, moved: Callable[[], int], *, fresh: bool) -> Freezes:
        """Return the freezes that last, at most `FRESH` old, or with `fresh` as they are stored now.

        `moved` counts the changes of this process, so that none of them is told late.
        """
        async with self.lock:
            known, now = self.known, ports.clock.now()
            if fresh or known is None or moved() != self.moved or not timedelta() <= now - known.at < FRESH:
                before = moved()
                known = await read_freezes(ports)
                self.known, self.moved = known, before
            return known


async def read_freezes(ports: Ports) -> Freezes:
    """Return the freezes that last, as they are stored."""
    now = ports.clock.now()
    events = await stored.active_freezes(ports.key_values)
    of_namespaces = any(event.scope is FreezeScope.NAMESPACE for event in events)
    slos = [one for one in await stored.slos(ports.key_values) if one.enabled] if of_namespaces else []
    return Freezes(now, events, namespaces_of(slos))
