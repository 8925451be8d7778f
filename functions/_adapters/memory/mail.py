"""Events at rest: queued, waiting for the telemetry sink, or given up."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from functions._adapters.memory.state import State
from functions._adapters.pages import MAX_POSITION, page, position_of
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Queued
from functions._core.records.dead_letters import DeadLetter


class MemoryQueue:
    """The `EventQueue`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def enqueue(self, events: Sequence[CloudEvent]) -> None:
        """Add events whose ids are not queued already."""
        for event in events:
            self._state.enqueue(event)

    async def pending(self, after: int, limit: int) -> Sequence[Queued]:
        """Return queued events with `position` above `after`, in order."""
        rows = islice(self._state.queue.after(after), limit)
        return [replace(queued, position=position) for position, queued in rows]

    async def take_over(self) -> int:
        """Do nothing: there is one process."""
        return 0

    async def postpone(self, event_id: str, attempts: int, not_before: datetime) -> None:
        """Record a failed try and when the next one is due."""
        if queued := self._state.queue.get(event_id):
            self._state.queue.put(event_id, replace(queued, attempts=attempts, not_before=not_before))

    async def dead_letter(self, event_id: str, letter: DeadLetter) -> None:
        """Move an event to the dead letters."""
        self._state.queue.pop(event_id)
        self._state.letters.put(letter.letter_id, letter)

    async def depth(self) -> int:
        """Return how many events are queued."""
        return len(self._state.queue)


class MemoryTelemetryBuffer:
    """The `TelemetryBuffer`; an entry counts as buffered at the time of its event."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def oldest(self, limit: int, *, after: int = 0) -> Sequence[tuple[int, datetime, CloudEvent]]:
        """Return the oldest entries behind `after` with their positions and times."""
        entries = (entry for entry in self._state.telemetry.items() if entry[0] > after)
        return [(position, event.time, event) for position, event in islice(entries, limit)]

    async def forget(self, positions: Collection[int]) -> None:
        """Remove entries that were published."""
        for position in positions:
            self._state.telemetry.pop(position, None)

    async def size(self) -> int:
        """Return how many entries wait."""
        return len(self._state.telemetry)


class MemoryDeadLetters:
    """The `DeadLetters`."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the same `letter_id` again replaces it, in its old place."""
        self._state.letters.put(letter.letter_id, letter)

    async def letters(self, cursor: str | None, limit: int) -> tuple[Sequence[DeadLetter], str | None]:
        """Return letters, the newest first."""
        rows = self._state.letters.before(position_of(cursor, start=MAX_POSITION))
        return page(list(islice(rows, limit + 1)), limit)

    async def letter(self, letter_id: str) -> DeadLetter | None:
        """Return one letter."""
        return self._state.letters.get(letter_id)

    async def drop(self, letter_id: str) -> bool:
        """Forget a letter; tell whether it was there."""
        return self._state.letters.pop(letter_id)
