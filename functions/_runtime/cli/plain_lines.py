"""Progress where there is no terminal: one plain line for each transition."""

from collections.abc import Callable, Sequence

from functions._runtime.cli.progress import Progress
from functions._runtime.cli.words import JsonObject, transition


class PlainLines:
    """An observer that writes each transition once, and says when the platform goes and comes back."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._away = False

    def seen(self, progress: Progress, entries: Sequence[JsonObject]) -> None:
        """Write the new transitions."""
        if self._away:
            self._away = False
            self._write(f"the platform is back, the flow is {progress.flow['status']}")
        for entry in entries:
            self._write(transition(entry))

    def lost(self, why: str) -> None:
        """Say once that the platform is away."""
        if not self._away:
            self._away = True
            self._write(f"{why}; watching goes on when it is back")
