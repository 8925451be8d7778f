"""What a process knows of freezes: read when it is asked for, and kept for a moment."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from functions._core.ports import Clock, KeyValues
from functions._core.slo import stored
from functions._core.slo.freezing import FreezeEvent

FRESH = timedelta(seconds=1)
"""A list of freezes may be so old when a ticket is held back by it, or is not."""


class RememberedGate:
    """The freezes as one process knows them; implements `BudgetGate`."""

    def __init__(self, entries: KeyValues, clock: Clock) -> None:
        """Know nothing yet: the first question reads."""
        self._entries = entries
        self._clock = clock
        self._freezes: tuple[datetime, Sequence[FreezeEvent]] | None = None

    async def freezes(self) -> Sequence[FreezeEvent]:
        """See `BudgetGate.freezes`."""
        now = self._clock.now()
        if self._freezes is None or not timedelta() <= now - self._freezes[0] < FRESH:
            # Its age counts from before the read: what was stored by then is in it.
            self._freezes = now, await stored.active_freezes(self._entries)
        return self._freezes[1]

    def forget(self) -> None:
        """Read again when asked for: something has changed here."""
        self._freezes = None
