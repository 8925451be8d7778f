"""A worker that asks the platform for its tickets: it needs no address, only a way out."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from functions._adapters.http.cloudevents import BATCHED, read_events
from functions._core.errors import Rejected
from functions._core.events.assignment import BATCH_SIZE
from functions._observability.logs import log
from functions._worker.platform import PlatformRegistry
from functions._worker.reports import backoff
from functions._worker.runs import Runs, RunVerdict
from functions._worker.tasks import Assignment
from functions._worker.trust import Trust

WAIT_SECONDS = 20.0
"""How long the platform may keep a request that finds no ticket."""

BATCH = {"content-type": BATCHED}


class Asking:
    """Asks whenever a slot is free, from `run` to `stop`."""

    def __init__(self, platform: PlatformRegistry, runs: Runs, trust: Trust, forgotten: Callable[[], None]) -> None:
        """Call `forgotten` when the platform does not know the worker any more."""
        self._platform = platform
        self._runs = runs
        self._trust = trust
        self._forgotten = forgotten
        self._stopping = False

    async def run(self, registered: asyncio.Event) -> None:
        """Ask while the worker is `registered`, until it stops."""
        waits = backoff()
        while not self._stopping:
            await registered.wait()
            free = self._runs.free
            if not free:
                await self._runs.freed()
                continue
            begun = monotonic()
            if await self.ask(free, WAIT_SECONDS):
                waits = backoff()
            elif monotonic() - begun < WAIT_SECONDS:
                # The platform is in trouble, or another process asks by the same name: the two must not race.
                await asyncio.sleep(next(waits))

    async def stop(self, running: asyncio.Task[None], seconds: float) -> None:
        """Ask no more. A request that waits is ended by a newer one, so that no answer is lost on its way."""
        self._stopping = True
        if self._runs.free:
            await self.ask(1, 0)
        await asyncio.wait({running}, timeout=seconds)
        running.cancel()
        await asyncio.wait({running})

    async def ask(self, limit: int, wait_seconds: float) -> bool:
        """Ask once and begin what is given; tell whether anything was begun."""
        leased = await self._platform.lease(
            {"limit": min(limit, BATCH_SIZE), "wait_seconds": wait_seconds, "running": self._runs.named()}, wait_seconds
        )
        if leased is None:
            return False
        if not leased.known:
            self._forgotten()
        for ticket_id in leased.cancel:
            self._runs.cancel(ticket_id)
        return bool(leased.assignments) and self._take(leased.assignments)

    def _take(self, envelopes: Sequence[Mapping[str, Any]]) -> bool:
        """Begin what was given, and tell whether any was; what is not begun is given again, as `running` will show."""
        try:
            events, _ = read_events(BATCH, json.dumps(envelopes).encode(), received_at=datetime.now(UTC))
            assignments = [Assignment.of(event) for event in events]
            for assignment in assignments:
                self._trust.check_callback(assignment.callback_url)
        except Rejected as refusal:
            log.warning("assignment.refused", code=refusal.code, reason=str(refusal))
            return False
        return RunVerdict.TAKEN in [self._runs.take(assignment) for assignment in assignments]
