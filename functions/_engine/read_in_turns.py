"""Small records that are read page by page, with a turn of the event loop for others after each.

A store within the process answers at once: thousands of records, read and decoded in one go, would keep all others from
their turn.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from functions._core.ports import Entry, KeyValues


class ReadInTurns:
    """The small records of a store; implements `KeyValues`."""

    def __init__(self, behind: KeyValues) -> None:
        self._behind = behind

    async def get(self, space: str, key: str) -> Entry | None:
        """See `KeyValues.get`."""
        return await self._behind.get(space, key)

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        """See `KeyValues.put`."""
        return await self._behind.put(space, key, value, version=version, expires_at=expires_at)

    async def remove(self, space: str, key: str, version: int) -> bool:
        """See `KeyValues.remove`."""
        return await self._behind.remove(space, key, version)

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        """See `KeyValues.page`."""
        found = await self._behind.page(space, after, limit)
        if len(found) == limit:  # others follow
            await asyncio.sleep(0)
        return found
