"""Removing what has been kept long enough, in transactions that are short whatever there is to remove."""

from datetime import datetime
from typing import Any

from functions._adapters.sql.postgres.database import SQL, PostgresDatabase, fetch

PARTS = ("tickets_forget", "history_forget", "audits_forget", "letters_forget", "decision_forget", "flow_forget")
"""What belongs to a flow, its own row last: as long as something is left, it is found again."""


class PostgresRetention:
    """The `Retention`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def forget_ended(self, before: datetime, limit: int) -> int:
        """Remove records of flows that ended, and actions on no flow that were taken, before `before`."""
        if not await self._database.value("anything_old", before=before):
            return 0
        left = limit
        async with self._database.transaction() as connection:
            await fetch(connection, SQL["retention_begin"], {})
            while left > 0 and (flow := await fetch(connection, SQL["forgettable"], {"before": before})):
                left -= await _forget(connection, flow[0][0], left)
                self._database.set_aside.flow_gone(flow[0][0])  # what is left of it is told again when it is met
            if left:
                left -= len(await fetch(connection, SQL["actions_forget"], {"before": before, "limit": left}))
        return limit - left

    async def drop_letters(self, keep: int, limit: int) -> int:
        """Drop the oldest letters beyond `keep`."""
        return len(await self._database.rows("letters_drop", keep=keep, limit=limit))

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Remove deliveries to webhooks that were made before `before`."""
        return len(await self._database.rows("webhooks_forget", before=before, limit=limit))

    async def forget_expired(self, now: datetime, limit: int) -> int:
        """Remove small records that have expired."""
        return len(await self._database.rows("expired_forget", now=now, limit=limit))


async def _forget(connection: Any, flow_id: str, limit: int) -> int:
    """Remove up to `limit` records of a flow; return how many."""
    left = limit
    for part in PARTS:
        if left:
            left -= len(await fetch(connection, SQL[part], {"flow_id": flow_id, "limit": left}))
    return limit - left
