"""Takes the values of secrets out of what is about to be kept: texts, logs, JSON.

A value is also found as JSON writes it, and line by line where it has several. Values of fewer than four characters are
left alone: they would be found everywhere, and are no secrets.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "***"
LEAST = 4
"""Characters of a value that is masked."""

LEAST_OF_LINE = 8
"""Characters of a line of a value that is masked by itself."""


class Mask:
    """Masks some values."""

    def __init__(self, values: Iterable[str]) -> None:
        """Mask these; none is no harm."""
        forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, forms))) if forms else None
        encoded = [form.encode(errors="replace") for form in forms]
        self._bytes = re.compile(b"|".join(map(re.escape, encoded))) if forms else None
        self.longest = max(map(len, encoded), default=0)
        """Bytes of the longest form of a value."""
        self._encoded = tuple(encoded)
        self._firsts = frozenset(form[0] for form in encoded)

    def text(self, text: str) -> str:
        """Return a text without the values."""
        return self._text.sub(MASK, text) if self._text else text

    def json(self, value: Any) -> Any:  # noqa: ANN401 any JSON
        """Return a JSON value without them, also in names of members."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(name): self.json(part) for name, part in value.items()}
        return [self.json(part) for part in value] if isinstance(value, list | tuple) else value

    def is_in(self, value: Any) -> bool:  # noqa: ANN401 any JSON
        """Whether one of the values is in a JSON value, also in names of members."""
        if self._text is None or value is None:
            return False
        if isinstance(value, Mapping):
            return any(self.is_in(name) or self.is_in(part) for name, part in value.items())
        if isinstance(value, list | tuple):
            return any(map(self.is_in, value))
        return self._text.search(str(value)) is not None

    def data(self, data: bytes, start: int = 0) -> bytes:
        """Return UTF-8 from `start` on without the values, also without one that lies across `start`."""
        return self._masked(data, start, len(data))[0]

    def settled(self, data: bytes, start: int = 0) -> tuple[bytes, int]:
        """Return the same of a stream that goes on, and where in `data` that ends.

        What may be the beginning of a value is left for later, when more of the stream is there.
        """
        return self._masked(data, start, self._certain(data))

    def _certain(self, data: bytes) -> int:
        """Return where the first value may begin that is not whole yet; the end where none does."""
        for place in range(max(0, len(data) - self.longest + 1), len(data)):
            if data[place] in self._firsts:
                rest = data[place:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in self._encoded):
                    return place
        return len(data)

    def _masked(self, data: bytes, start: int, certain: int) -> tuple[bytes, int]:
        """Return what is before `certain`, and the rest of a value that lies across it."""
        parts, position = [], start
        for match in self._bytes.finditer(data) if self._bytes else ():
            if match.start() >= certain:
                break
            if match.end() > start:
                parts += [data[position : max(position, match.start())], MASK.encode()]
                position = match.end()
        end = max(position, certain)
        return b"".join([*parts, data[position:end]]), end


class MaskedStream:
    """Masks a stream, however it is cut into pieces."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._rest = b""

    def add(self, data: bytes) -> bytes:
        """Take in what comes next, and return what is certain now."""
        told, size = self._mask.settled(self._rest + data)
        self._rest = (self._rest + data)[size:]
        return told

    def end(self) -> bytes:
        """Return the rest; nothing comes any more."""
        told, self._rest = self._mask.data(self._rest), b""
        return told


def _forms(value: str) -> Iterator[str]:
    """Yield what would give a value away."""
    if len(value) < LEAST:
        return
    for text in (value, *(line for line in value.splitlines() if len(line) >= LEAST_OF_LINE)):
        yield text
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
