"""What a task writes while it runs: the end of it goes to the platform with the final report.

Each run sets `WRITTEN` in its own context; what the task writes finds it there, in whatever thread it runs.
"""

import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TextIO, cast

from functions._core.events.reports import LOG_LIMIT, end_of
from functions._core.masking import Mask


class Written:
    """The last 64 KiB of what was written, without the values of secrets."""

    def __init__(self, mask: Mask | None = None) -> None:
        self.mask = mask
        self.total = 0
        """Bytes that there were."""
        self.copy: Callable[[bytes], None] | None = None
        """Takes all that is written, too."""
        self._bytes = bytearray()
        self._kept = LOG_LIMIT + (mask.longest if mask else 0)
        self._cut = False

    def add(self, data: bytes) -> None:
        """Take in what was written next."""
        self.total += len(data)
        if self.copy is not None:
            self.copy(data)
        self._bytes += data
        if len(self._bytes) > 2 * self._kept:  # now and then, not for every line
            del self._bytes[: -self._kept]
            self._cut = True

    def text(self) -> str:
        """Return the end of it, with a mark for each byte that is no text."""
        data: bytes | bytearray = self._bytes
        if self.mask is not None:
            # Where the beginning was cut off, half a secret may stand there.
            data = self.mask.data(bytes(data), self.mask.longest if self._cut else 0)
        return end_of(data[-LOG_LIMIT:].decode(errors="replace"))

    def so_far(self, size: int) -> str:
        """Return about the last `size` bytes while more may come: what may be the beginning of a secret is left out."""
        data = bytes(self._bytes)
        if self.mask is not None:
            data, _ = self.mask.settled(data, self.mask.longest if self._cut else 0)
        return end_of(data[-size:].decode(errors="ignore"))


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
