"""Progress where there is no terminal: one plain line for each transition."""

from collections.abc import Callable, Sequence

from functions._cli.progress import Progress
from functions._cli.wire import JsonObject
from functions._cli.words import reason_of, transition

WAITS_TOLD = 5
"""Tickets of which it is said at a time what they wait for."""


class PlainLines:
    """An observer that writes each transition once, and says when the platform goes and comes back."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._away = False
        self._told: set[str] = set()

    def seen(self, progress: Progress, entries: Sequence[JsonObject]) -> None:
        """Write the new transitions."""
        if self._away:
            self._away = False
            self._write(f"the platform is back, the flow is {progress.flow['status']}")
        for entry in entries:
            self._write(transition(self._news_of(entry)))
        self._say_waits(progress)

    def _news_of(self, entry: JsonObject) -> JsonObject:
        """Return a transition without the reasons that an earlier one has given: a rejection is told once."""
        reasons = (entry.get("detail") or {}).get("reasons") or ()
        fresh = [reason for reason in reasons if reason_of({"reason": reason}) not in self._told]
        self._told.update(reason_of({"reason": reason}) for reason in reasons)
        return entry if len(fresh) == len(reasons) else {**entry, "detail": {**entry["detail"], "reasons": fresh}}

    def _say_waits(self, progress: Progress) -> None:
        """Say once of each ticket what it waits for, if it is not just for others."""
        waiting = [line for line in progress.planned() if line.waits and not line.held_up]
        for line in waiting[:WAITS_TOLD]:
            text = f"{line.task_id}: {line.waits}"
            if text not in self._told:
                self._told.add(text)
                self._write(f"{'':<14}{line.task_id:<26} {line.status:<11} {line.waits}")

    def lost(self, why: str) -> None:
        """Say once that the platform is away."""
        if not self._away:
            self._away = True
            self._write(f"{why}; watching goes on when it is back")
