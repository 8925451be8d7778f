"""Events at rest: queued, waiting for the telemetry sink, or given up."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from functions._adapters.documents import read_event
from functions._adapters.pages import MAX_POSITION, position_of
from functions._adapters.sqlite.changes import Change, apply, letter_change, queue_change
from functions._adapters.sqlite.database import SQL, Database
from functions._adapters.sqlite.rows import from_ms, to_ms
from functions._adapters.sqlite.views import read_page
from functions._core.envelope import CloudEvent
from functions._core.models import DeadLetter
from functions._core.ports import Queued


class SqliteQueue:
    """The `EventQueue`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(self, events: Sequence[CloudEvent]) -> None:
        """Add events whose ids are not queued already."""
        await self._database.write(partial(apply, changes=[queue_change(events)]))

    async def pending(self, after: int, limit: int) -> Sequence[Queued]:
        """Return queued events with `position` above `after`, in order."""
        rows = self._database.rows("queue_pending", after=after, limit=limit)
        return [
            Queued(position, read_event(doc), attempts, None if not_before is None else from_ms(not_before))
            for position, attempts, not_before, doc in rows
        ]

    async def take_over(self) -> int:
        """Do nothing: there is one process."""
        return 0

    async def postpone(self, event_id: str, attempts: int, not_before: datetime) -> None:
        """Record a failed try and when the next one is due."""
        row = {"event_id": event_id, "attempts": attempts, "not_before": to_ms(not_before)}
        await self._database.write(partial(apply, changes=[Change(SQL["queue_postpone"], [row])]))

    async def bury(self, event_id: str, letter: DeadLetter) -> None:
        """Move an event to the dead letters."""
        changes = [Change(SQL["queue_delete"], [{"event_id": event_id}]), letter_change(letter)]
        await self._database.write(partial(apply, changes=changes))

    async def depth(self) -> int:
        """Return how many events are queued."""
        (count,) = await self._database.browse(lambda c: c.execute(SQL["queue_depth"]).fetchone())
        return int(count)


class SqliteTelemetryBuffer:
    """The `TelemetryBuffer`; an entry counts as buffered at the time of its event."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def oldest(self, limit: int, *, after: int = 0) -> Sequence[tuple[int, datetime, CloudEvent]]:
        """Return the oldest entries behind `after` with their positions and times."""
        rows = self._database.rows("telemetry_oldest", limit=limit, after=after)
        entries = ((position, read_event(doc)) for position, doc in rows)
        return [(position, event.time, event) for position, event in entries]

    async def forget(self, positions: Collection[int]) -> None:
        """Remove entries that were published."""
        rows = [{"position": position} for position in positions]
        await self._database.write(partial(apply, changes=[Change(SQL["telemetry_delete"], rows)]))

    async def size(self) -> int:
        """Return how many entries wait."""
        (count,) = await self._database.browse(lambda c: c.execute(SQL["telemetry_size"]).fetchone())
        return int(count)


class SqliteDeadLetters:
    """The `DeadLetters`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the same `letter_id` again replaces it, in its old place."""
        await self._database.write(partial(apply, changes=[letter_change(letter)]))

    async def letters(self, cursor: str | None, limit: int) -> tuple[Sequence[DeadLetter], str | None]:
        """Return letters, the newest first."""
        values = {"before": position_of(cursor, start=MAX_POSITION)}
        return await read_page(self._database, DeadLetter, SQL["letters_page"], values, limit)

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """Return one letter."""
        rows = self._database.rows("letter", letter_id=letter_id)
        return DeadLetter.model_validate_json(rows[0][0]) if rows else None

    async def drop(self, letter_id: str) -> bool:
        """Forget a letter; tell whether it was there."""
        query = {"letter_id": letter_id}
        return await self._database.write(lambda c: c.execute(SQL["letter_delete"], query).rowcount > 0)
