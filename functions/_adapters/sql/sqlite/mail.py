"""Events at rest: queued, waiting for the telemetry sink, or given up."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from functions._adapters.documents import fill, read_document, read_queued, read_telemetry
from functions._adapters.pages import MAX_POSITION, position_of
from functions._adapters.sql.sqlite.changes import BulkStatement, apply, letter_change, queue_change
from functions._adapters.sql.sqlite.database import SQL, SqliteDatabase
from functions._adapters.sql.sqlite.rows import from_ms, to_ms
from functions._adapters.sql.sqlite.views import read_page
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Queued
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.set_aside import RecordKind


class SqliteQueue:
    """The `EventQueue`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def enqueue(self, events: Sequence[CloudEvent]) -> None:
        """Add events whose ids are not queued already."""
        await self._database.write(partial(apply, changes=[queue_change(events)]))

    async def pending(self, after: int, limit: int) -> Sequence[Queued]:
        """Return queued events with `position` above `after`, in order."""

        def first(number: int) -> tuple[int, list[Queued]]:
            rows = self._database.rows("queue_pending", after=after, limit=number)
            read = ((row, read_queued(self._database.set_aside, row[1], row[4])) for row in rows)
            return len(rows), [_queued(row, event) for row, event in read if event is not None]

        return fill(limit, first)

    async def take_over(self) -> int:
        """Do nothing: there is one process."""
        return 0

    async def postpone(self, event_id: str, attempts: int, not_before: datetime) -> None:
        """Record a failed try and when the next one is due."""
        row = {"event_id": event_id, "attempts": attempts, "not_before": to_ms(not_before)}
        await self._database.write(partial(apply, changes=[BulkStatement(SQL["queue_postpone"], [row])]))

    async def dead_letter(self, event_id: str, letter: DeadLetter) -> None:
        """Move an event to the dead letters."""
        self._database.set_aside.gone(RecordKind.QUEUED_EVENT, event_id)
        changes = [BulkStatement(SQL["queue_delete"], [{"event_id": event_id}]), letter_change(letter)]
        await self._database.write(partial(apply, changes=changes))

    async def depth(self) -> int:
        """Return how many events are queued."""
        (count,) = await self._database.browse(lambda c: c.execute(SQL["queue_depth"]).fetchone())
        return int(count)


def _queued(row: tuple[Any, ...], event: CloudEvent) -> Queued:
    position, _, attempts, not_before, _ = row
    return Queued(position, event, attempts, None if not_before is None else from_ms(not_before))


class SqliteTelemetryBuffer:
    """The `TelemetryBuffer`; an entry counts as buffered at the time of its event."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def oldest(self, limit: int, *, after: int = 0) -> Sequence[tuple[int, datetime, CloudEvent]]:
        """Return the oldest entries behind `after` with their positions and times."""

        def first(number: int) -> tuple[int, list[tuple[int, datetime, CloudEvent]]]:
            rows = self._database.rows("telemetry_oldest", limit=number, after=after)
            return len(rows), read_telemetry(self._database.set_aside, rows)

        return fill(limit, first)

    async def forget(self, positions: Collection[int]) -> None:
        """Remove entries that were published."""
        rows = [{"position": position} for position in positions]
        for position in positions:
            self._database.set_aside.gone(RecordKind.TELEMETRY, position)
        await self._database.write(partial(apply, changes=[BulkStatement(SQL["telemetry_delete"], rows)]))

    async def size(self) -> int:
        """Return how many entries wait."""
        (count,) = await self._database.browse(lambda c: c.execute(SQL["telemetry_size"]).fetchone())
        return int(count)


class SqliteDeadLetters:
    """The `DeadLetters`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the same `letter_id` again replaces it, in its old place."""
        await self._database.write(partial(apply, changes=[letter_change(letter)]))

    async def letters(self, cursor: str | None, limit: int) -> tuple[Sequence[DeadLetter], str | None]:
        """Return letters, the newest first."""
        values = {"before": position_of(cursor, start=MAX_POSITION)}
        return await read_page(self._database, RecordKind.DEAD_LETTER, DeadLetter, SQL["letters_page"], values, limit)

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """Return one letter."""
        rows = self._database.rows("letter", letter_id=letter_id)
        if not rows:
            return None
        parse = partial(read_document, DeadLetter, rows[0][0])
        return self._database.set_aside.read_one(RecordKind.DEAD_LETTER, letter_id, parse)

    async def drop(self, letter_id: str) -> bool:
        """Forget a letter; tell whether it was there."""
        query = {"letter_id": letter_id}
        self._database.set_aside.gone(RecordKind.DEAD_LETTER, letter_id)
        return await self._database.write(lambda c: c.execute(SQL["letter_delete"], query).rowcount > 0)
