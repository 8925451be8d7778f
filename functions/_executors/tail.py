"""What a program writes: its end is kept, without the values of secrets, and lines about progress are understood."""

from collections.abc import Callable

from functions._core.masking import Mask

TAIL_BYTES = 64 * 1024
"""Bytes kept of the end of each stream of a program."""

FLOOD_BYTES = 64 * 1024 * 1024
"""Bytes that a program may write to its streams; one that writes more is ended."""

VALUE_BYTES = 256 * 1024
"""Bytes of standard output that may be the value of a task."""

LINE_BYTES = 1_000
"""Bytes of a line that may be about progress."""

PROGRESS = b"::progress "
"""How a line begins by which a program says how far it is: `::progress 40 half way`."""


class Tail:
    """The last bytes of a stream, of which no more than twice as many are held."""

    def __init__(self, mask: Mask, size: int = TAIL_BYTES) -> None:
        self._mask = mask
        self._size = size
        self._kept = size + mask.longest
        self._data = bytearray()
        self.total = 0
        """Bytes that there were."""

    def add(self, data: bytes) -> None:
        """Take in what was written next."""
        self.total += len(data)
        self._data += data
        if len(self._data) > 2 * self._kept:
            del self._data[: -self._kept]

    @property
    def text(self) -> str:
        """The end, with a mark for each byte that is no text."""
        # Where the beginning was cut off, half a secret may stand there.
        start = self._mask.longest if self.total > len(self._data) else 0
        return self._mask.data(bytes(self._data), start)[-self._size :].decode(errors="replace")


class ProgressLines:
    """Finds the lines about progress in a stream, however it is cut into pieces."""

    def __init__(self, tell: Callable[[float | None, str], None]) -> None:
        """Call `tell` with the number, 0 to 100, and the words of each."""
        self._tell = tell
        self._line = b""

    def add(self, data: bytes) -> None:
        """Take in what was written next."""
        *whole, rest = (self._line + data).split(b"\n")
        self._line = rest[: LINE_BYTES + 1]
        for line in whole:
            if line.startswith(PROGRESS) and len(line) <= LINE_BYTES:
                self._read(line.removeprefix(PROGRESS).decode(errors="replace"))

    def _read(self, said: str) -> None:
        number, _, words = said.strip().partition(" ")
        try:
            percent = float(number.rstrip("%"))
        except ValueError:
            return
        if percent == percent:  # noqa: PLR0124 - not what is no number
            self._tell(min(100.0, max(0.0, percent)), words.strip())
