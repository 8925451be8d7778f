"""Progress on a terminal: one picture that is drawn again several times a second."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from functions._cli.pictures import picture
from functions._cli.progress import Progress
from functions._cli.wire import JsonObject

FRAME_SECONDS = 0.125
AROUND = 10
"""Lines of the terminal that do not hold tickets: the head, the foot and the prompt."""


class LiveView:
    """An observer that keeps what it has seen for the next frame."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots", style="cyan")
        self._progress: Progress | None = None
        self._away = ""

    def seen(self, progress: Progress, entries: Sequence[JsonObject]) -> None:  # noqa: ARG002 - see `Observer`
        """Show what is known now."""
        self._progress = progress
        self._away = ""

    def lost(self, why: str) -> None:
        """Show that the picture may be old."""
        self._away = f"{why}; watching goes on when it is back"

    def frame(self) -> RenderableType:
        """Return the picture of this moment."""
        if self._progress is None:
            return Text(self._away or "waiting for the flow to appear", style="dim")
        drawn = picture(self._progress, max(3, self._console.height - AROUND), self._spinner)
        return Group(drawn, Text(self._away, style="yellow")) if self._away else drawn


@asynccontextmanager
async def live_view(console: Console) -> AsyncIterator[LiveView]:
    """Draw on `console` until the context ends; the last picture stays."""
    view = LiveView(console)
    # Frames are drawn by a task of this loop, not by Rich's thread: nothing changes while a frame is drawn.
    with Live(get_renderable=view.frame, console=console, auto_refresh=False, vertical_overflow="crop") as live:
        drawing = asyncio.create_task(_draw(live))
        try:
            yield view
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing
            live.refresh()


async def _draw(live: Live) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(FRAME_SECONDS)
