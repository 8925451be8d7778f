"""What a task writes while it runs: the end of it goes to the platform with the final report.

Each run sets `WRITTEN` in its own context; what the task writes finds it there, in whatever thread it runs.
"""

import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, TextIO, cast

from functions._core.events.reports import LOG_LIMIT, end_of


class Written:
    """The last 64 KiB of what was written."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        """Take in what was written next."""
        self._bytes += data
        if len(self._bytes) > 2 * LOG_LIMIT:  # now and then, not for every line
            del self._bytes[:-LOG_LIMIT]

    def text(self) -> str:
        """Return the end of it, with a mark for each byte that is no text."""
        return end_of(self._bytes[-LOG_LIMIT:].decode(errors="replace"))


WRITTEN: ContextVar[Written | None] = ContextVar("written", default=None)


class Listening:
    """Stands before a stream, which it neither owns nor closes, and tells the run that writes."""

    def __init__(self, stream: TextIO) -> None:
        self.beside = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as many types as a stream has attributes
        return getattr(self.beside, name)

    def write(self, text: str) -> int:
        """Write."""
        written = WRITTEN.get()
        if written is not None:
            written.add(text.encode(errors="replace"))
        return self.beside.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several lines."""
        self.write("".join(lines))


def beside(stream: TextIO) -> TextIO:
    """Return the stream behind one that is listened to: what is written there is no output of a task."""
    return stream.beside if isinstance(stream, Listening) else stream


def listen_to_python() -> None:
    """Let what Python functions print be heard; before they are imported, as some keep the stream they find."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Listening):
            setattr(sys, name, cast("TextIO", Listening(stream)))
