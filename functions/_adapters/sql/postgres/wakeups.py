"""The wake-ups of all live records, and the tickets that wait for a worker.

A claim moves the searchable column; the document keeps the true time, and the record's next commit writes the column
again.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

from functions._adapters.documents import read_tickets
from functions._adapters.sql.postgres.database import PostgresDatabase
from functions._adapters.sql.postgres.rows import requirement_key
from functions._adapters.worker_claims import in_one_line, readable_requirements, requirement_of
from functions._core.placement.fair_queue import QueuePosition
from functions._core.ports import Due
from functions._core.records.models import Ticket
from functions._core.records.values import CLEARANCES, SecurityLevel
from functions._core.rules import TICKETS_PER_TURN


class PostgresWakeups:
    """The `Wakeups`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def claim_due(self, now: datetime, limit: int, lease: timedelta) -> Sequence[Due]:
        """Return up to `limit` records due at `now`, the oldest first; they come due again after `lease`."""
        rows = await self._database.rows("claim_due", now=now, limit=limit, until=now + lease)
        return [Due(kind, record_id, flow_id, at) for kind, record_id, flow_id, at in rows]

    async def next_due(self) -> datetime | None:
        """Return the earliest wake-up, or None when no record is live."""
        earliest: datetime | None = await self._database.value("next_due")
        return earliest

    async def claim_waiting(
        self, offers: Collection[str] | None, now: datetime, limit: int, lease: timedelta
    ) -> Sequence[Ticket]:
        """Return up to `limit` waiting tickets whose requirement `offers` cover, by turn, slack and precedence.

        There are few distinct requirements, so they are matched here and their tickets read in order.
        """
        covered = None if offers is None else frozenset(offers)
        wanted = [key for needs, key in await self._requirements() if covered is None or needs <= covered]
        if not wanted:
            return []
        claimed: list[Ticket] = []
        while len(claimed) < limit:  # what cannot be read is passed over, and comes up again after the lease
            left = limit - len(claimed)
            rows = await self._database.rows(
                "claim_waiting", requirements=wanted, now=now, limit=left, until=now + lease
            )
            claimed += read_tickets(self._database.set_aside, rows)
            if len(rows) < left:
                break
        return claimed

    async def line(self, flow_id: str, requirement: Collection[str]) -> QueuePosition:
        """Return the line in which a ticket of the flow with this `requirement` is to wait."""
        required = frozenset(requirement)
        in_line = [key for needs, key in await self._requirements() if in_one_line(needs, required)]
        if not in_line:
            return QueuePosition()
        rows = await self._database.rows(
            "line", requirements=in_line, flow_id=flow_id, own=requirement_key(required), at_most=TICKETS_PER_TURN
        )
        current, behind = rows[0][:2]
        return QueuePosition(current, behind, {turn: tickets for *_, turn, tickets in rows if tickets})

    async def _requirements(self) -> list[tuple[frozenset[str], str]]:
        """Return the distinct requirements of waiting tickets, as sets and as they are stored."""
        rows = await self._database.rows("waiting_requirements")
        return readable_requirements(
            self._database.set_aside,
            ((key, ticket_id, flow_id, partial(_needs, *columns)) for key, ticket_id, flow_id, *columns in rows),
        )


def _needs(capabilities: str, level: str) -> frozenset[str]:
    return CLEARANCES[SecurityLevel(level)].union(requirement_of(capabilities))
