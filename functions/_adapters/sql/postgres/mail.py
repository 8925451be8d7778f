"""Events at rest: queued, waiting for the telemetry sink, or given up."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

from functions._adapters.documents import read_document, read_queued, read_telemetry
from functions._adapters.pages import MAX_POSITION, position_of
from functions._adapters.sql.postgres.changes import queueing
from functions._adapters.sql.postgres.database import SQL, PostgresDatabase, Rows
from functions._adapters.sql.postgres.rows import key, letter_row
from functions._adapters.sql.postgres.views import read_page
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Queued
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.set_aside import RecordKind, SetAside

LEASE = timedelta(seconds=10)
"""For how long a process counts as alive after it has said so."""

TAKEN_AT_ONCE = 5_000


class PostgresQueue:
    """The `EventQueue`. An event has an owner, the process that is to handle it; what the dead own is taken over.

    Where no process has a name, what is queued is everybody's. The clock is that of the database, the same for all.
    """

    def __init__(self, database: PostgresDatabase, owner: str | None) -> None:
        self._database = database
        self._owner = owner

    async def enqueue(self, events: Sequence[CloudEvent]) -> None:
        """Add events whose ids are not queued already, for this process to handle."""
        if events:
            writing = queueing(events, self._owner)
            await self._database.run(writing.sql, writing.values)

    async def pending(self, after: int, limit: int) -> Sequence[Queued]:
        """Return queued events of this process, or all if it has no name, with `position` above `after`, in order."""
        query = "queue_pending" if self._owner is None else "queue_pending_of"
        return await self._database.filled(limit, SQL[query], {"owner": self._owner, "after": after}, _read_queue)

    async def take_over(self) -> int:
        """Say that this process is alive, and make its own what nobody else is to handle; return how many events."""
        if self._owner is None:
            return 0
        taken = await self._database.value("queue_take_over", owner=self._owner, lease=LEASE, limit=TAKEN_AT_ONCE)
        return int(taken)

    async def postpone(self, event_id: str, attempts: int, not_before: datetime) -> None:
        """Record a failed try and when the next one is due."""
        await self._database.rows("queue_postpone", event_id=key(event_id), attempts=attempts, not_before=not_before)

    async def dead_letter(self, event_id: str, letter: DeadLetter) -> None:
        """Move an event to the dead letters."""
        self._database.set_aside.gone(RecordKind.QUEUED_EVENT, event_id)
        await self._database.rows("queue_bury", event_id=key(event_id), **letter_row(letter))

    async def depth(self) -> int:
        """Return how many events are queued, by whomever."""
        return int(await self._database.value("queue_depth"))


def _read_queue(aside: SetAside, rows: Rows) -> list[Queued]:
    read = ((row, read_queued(aside, row[1], row[4])) for row in rows)
    return [Queued(position, event, tries, at) for (position, _, tries, at, _), event in read if event is not None]


class PostgresTelemetryBuffer:
    """The `TelemetryBuffer`; an entry counts as buffered at the time of its event."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def oldest(self, limit: int, *, after: int = 0) -> Sequence[tuple[int, datetime, CloudEvent]]:
        """Return the oldest entries behind `after` with their positions and times."""
        return await self._database.filled(limit, SQL["telemetry_oldest"], {"after": after}, read_telemetry)

    async def forget(self, positions: Collection[int]) -> None:
        """Remove entries that were published."""
        for position in positions:
            self._database.set_aside.gone(RecordKind.TELEMETRY, position)
        await self._database.rows("telemetry_delete", positions=list(positions))

    async def size(self) -> int:
        """Return how many entries wait."""
        return int(await self._database.value("telemetry_size"))


class PostgresDeadLetters:
    """The `DeadLetters`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the same `letter_id` again replaces it, in its old place."""
        await self._database.run(SQL["letter_put"], letter_row(letter))

    async def letters(self, cursor: str | None, limit: int) -> tuple[Sequence[DeadLetter], str | None]:
        """Return letters, the newest first."""
        values = {"before": position_of(cursor, start=MAX_POSITION)}
        return await read_page(self._database, RecordKind.DEAD_LETTER, DeadLetter, SQL["letters_page"], values, limit)

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """Return one letter."""
        doc = await self._database.value("letter", letter_id=key(letter_id))
        if doc is None:
            return None
        parse = partial(read_document, DeadLetter, doc)
        return self._database.set_aside.read_one(RecordKind.DEAD_LETTER, letter_id, parse)

    async def drop(self, letter_id: str) -> bool:
        """Forget a letter; tell whether it was there."""
        self._database.set_aside.gone(RecordKind.DEAD_LETTER, letter_id)
        return bool(await self._database.rows("letter_delete", letter_id=key(letter_id)))
