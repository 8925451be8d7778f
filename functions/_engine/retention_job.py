"""Removes ended flows with all that belongs to them, dead letters beyond a bound, small records that have expired.

Every round is short, so that it delays no other write; only while there is more do rounds follow each other closely.
"""

import asyncio
from datetime import timedelta

from functions._core.ports import Clock, Retention
from functions._core.webhooks.delivery import KEPT
from functions._observability.logs import log
from functions._observability.metrics import Metrics

RECORDS = 400
"""Records removed in one round: at most some 10 ms of writing."""

BREATH = 0.2
ROUND = 5.0
"""Seconds between rounds, while there is more to remove and when there is not."""


class RetentionJob:
    """Removes, round by round, what ended `keep` ago, and the oldest dead letters beyond `letters`."""

    def __init__(self, retention: Retention, clock: Clock, metrics: Metrics, *, keep: timedelta, letters: int) -> None:
        self._retention = retention
        self._clock = clock
        self._metrics = metrics
        self._keep = keep
        self._letters = letters

    async def run(self) -> None:
        """Remove until cancelled; a store that does not answer is asked again."""
        while True:
            more = False
            try:
                more = await self.round()
            except Exception:  # noqa: BLE001 disk space must not run out because one round went wrong
                log.exception("forgetting.failed")
            await asyncio.sleep(BREATH if more else ROUND)

    async def round(self) -> bool:
        """Remove a bounded number of records; tell whether there may be more."""
        now = self._clock.now()
        expired = await self._retention.forget_expired(now, RECORDS)
        forgotten = await self._retention.forget_ended(now - self._keep, RECORDS)
        self._metrics.count("flowc_records_forgotten_total", by=forgotten)
        delivered = await self._retention.forget_deliveries(now - KEPT, RECORDS)
        dropped = await self._retention.drop_letters(self._letters, RECORDS)
        if dropped:
            self._metrics.count("flowc_dead_letters_dropped_total", by=dropped)
            log.error("dead_letters.dropped", dropped=dropped, kept=self._letters, why="FLOWC_DEAD_LETTERS_MAX")
        return RECORDS in {delivered, expired, forgotten, dropped}
