"""The wake-ups of all live records, and the tickets that wait for a worker.

A claim looks first, in the thread of the event loop, and writes only when there is something to take. It
moves the searchable column; the document keeps the true time, and the record's next commit writes the column
again.
"""

import json
import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.rows import from_ms, requirement_key, to_ms
from functions._adapters.sql.sqlite.tickets import TicketReader
from functions._adapters.worker_claims import in_one_line, readable_requirements, requirement_of
from functions._core.placement.fair_queue import QueuePosition
from functions._core.ports import Due
from functions._core.records.models import Ticket
from functions._core.records.set_aside import SetAside
from functions._core.rules import TICKETS_PER_TURN


class SqliteWakeups:
    """The `Wakeups`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def claim_due(self, now: datetime, limit: int, lease: timedelta) -> Sequence[Due]:
        """Return up to `limit` records due at `now`, the oldest first; they come due again after `lease`."""
        earliest = await self.next_due()
        if earliest is None or earliest > now:
            return []
        claim = partial(_claim_due, now=to_ms(now), limit=limit, until=to_ms(now + lease))
        return await self._database.write(claim)

    async def next_due(self) -> datetime | None:
        """Return the earliest wake-up, or None when no record is live."""
        ((at,),) = self._database.rows("next_due")
        return None if at is None else from_ms(at)

    async def claim_waiting(
        self, offers: Collection[str] | None, now: datetime, limit: int, lease: timedelta
    ) -> Sequence[Ticket]:
        """Return up to `limit` waiting tickets whose requirement `offers` cover, by turn, slack and precedence."""
        covered = None if offers is None else frozenset(offers)
        aside = self._database.set_aside
        if not self._database.read(partial(_waiting, aside, covered=covered, now=to_ms(now), limit=1)):
            return []
        until = to_ms(now + lease)
        claim = partial(_claim_waiting, aside, covered=covered, now=to_ms(now), limit=limit, until=until)
        return await self._database.write(claim)

    async def line(self, flow_id: str, requirement: Collection[str]) -> QueuePosition:
        """Return the line in which a ticket of the flow with this `requirement` is to wait."""
        line = partial(_line, self._database.set_aside, flow_id=flow_id, required=frozenset(requirement))
        return self._database.read(line)


def _due(connection: sqlite3.Connection, *, now: int, limit: int) -> list[Due]:
    rows = connection.execute(SQL["due"], {"now": now, "limit": limit})
    return [Due(kind, record_id, flow_id, from_ms(at)) for kind, record_id, flow_id, at in rows]


def _claim_due(connection: sqlite3.Connection, *, now: int, limit: int, until: int) -> list[Due]:
    claimed = _due(connection, now=now, limit=limit)
    for due in claimed:
        connection.execute(SQL[f"{due.kind}_lease"], {"record_id": due.record_id, "until": until})
    return claimed


def _waiting(
    aside: SetAside, connection: sqlite3.Connection, *, covered: frozenset[str] | None, now: int, limit: int
) -> list[str]:
    """Return the ids of waiting tickets, by turn, slack and precedence.

    There are few distinct requirements, so they are matched here and their tickets read in order, rather than
    every waiting ticket being looked at.
    """
    found: list[tuple[int, int, int, str]] = []
    for wanted, text in _requirements(aside, connection):
        if covered is None or wanted <= covered:
            query = {"requirement": text, "now": now, "limit": limit}
            found += connection.execute(SQL["waiting_tickets"], query)
    return [ticket_id for *_, ticket_id in sorted(found)[:limit]]


def _requirements(aside: SetAside, connection: sqlite3.Connection) -> list[tuple[frozenset[str], str]]:
    """Return the distinct requirements of waiting tickets, as sets and as they are stored."""
    rows = connection.execute(SQL["waiting_requirements"])
    return readable_requirements(aside, ((text, *ticket, partial(requirement_of, text)) for text, *ticket in rows))


def _line(aside: SetAside, connection: sqlite3.Connection, *, flow_id: str, required: frozenset[str]) -> QueuePosition:
    """Return the line of a flow's ticket: a few searches for each requirement in it, however many wait."""

    def search(name: str, **values: object) -> tuple[Any, ...]:
        return connection.execute(SQL[name], values).fetchone() or ()

    line = [text for wanted, text in _requirements(aside, connection) if in_one_line(wanted, required)]
    current = max((search("current_turn", requirement=text)[0] for text in line), default=0)
    behind = min(
        filter(None, (search("first_behind", requirement=text, current=current) for text in line)), default=None
    )
    of_flow = {"flow_id": flow_id, "requirement": requirement_key(required)}
    (last,) = search("last_turn", **of_flow)
    turns = {current, current + 1, last} if last is not None else ()
    own = {turn: search("in_turn", **of_flow, turn=turn, at_most=TICKETS_PER_TURN)[0] for turn in turns}
    taken = {turn: tickets for turn, tickets in own.items() if tickets}
    return QueuePosition(current, from_ms(behind[1]) if behind else None, taken)


def _claim_waiting(
    aside: SetAside,
    connection: sqlite3.Connection,
    *,
    covered: frozenset[str] | None,
    now: int,
    limit: int,
    until: int,
) -> list[Ticket]:
    """Offer tickets; those that cannot be read are passed over, and come up again after the lease like all others."""
    claimed: list[Ticket] = []
    tickets = TicketReader(aside)  # its own: a part that is not committed yet must not be kept
    while len(claimed) < limit and (
        ids := _waiting(aside, connection, covered=covered, now=now, limit=limit - len(claimed))
    ):
        connection.executemany(SQL["offer"], [{"ticket_id": ticket_id, "until": until} for ticket_id in ids])
        rows = connection.execute(SQL["tickets"], {"ticket_ids": json.dumps(ids)}).fetchall()
        found = {ticket.ticket_id: ticket for ticket in tickets.tickets(connection, rows)}
        claimed += [found[ticket_id] for ticket_id in ids if ticket_id in found]
    return claimed
