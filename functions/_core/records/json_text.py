"""JSON as it arrives: read with limits, every malformation named, and hashed in one canonical form."""

import json
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from json.decoder import JSONArray, JSONDecodeError, JSONObject  # type: ignore[attr-defined] # the parts in Python
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from math import isfinite
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from functions._core.errors import Rejected

MAX_DEPTH = 64
"""Levels of nesting. No plan needs more, and later readers rely on it instead of guarding their stacks."""

LIGHT_BYTES = 256 * 1024
"""Bytes of a text that is read in a few milliseconds."""

LIGHT_PARTS = 20_000
"""A text with no more bytes and parts than these is read in a few milliseconds."""

MAX_PARTS = 1_000_000
"""Brackets, braces and commas of a text; each can cost 70 bytes of memory. A plan of 20,000 tasks has half of them."""

SLICE = 256 * 1024
"""Bytes that are counted at once: too many parts are found before the whole text is searched."""

SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of half a surrogate pair, which may lack its other half."""

NOT_FINITE = "the JSON holds NaN, Infinity or a number too large"
"""The message about numbers that JSON cannot hold."""

Parse = Callable[[bytes], object]
"""A function that reads JSON, such as `parse_json`."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""The mark that some editors put before UTF-8."""

ANY_JSON: TypeAdapter[object] = TypeAdapter(Any)
"""The fast parser."""


def parse_json(text: bytes) -> object:
    """Return the value that `text`, UTF-8 JSON with or without a byte order mark, stands for.

    Raises `Rejected` with a sentence for people, its code `malformed_json`, or `too_deep` beyond `MAX_DEPTH`.
    """
    try:
        value = ANY_JSON.validate_json(text.removeprefix(BYTE_ORDER_MARK))
    except ValidationError as error:
        raise _malformed(text, error.errors()[0]["ctx"]["error"]) from None
    check_depth(value)
    return value


def is_light(text: bytes) -> bool:
    """Whether `parse_json` reads `text` so fast that an event loop may wait for it."""
    size = len(text)  # no fewer than its parts
    return size <= LIGHT_PARTS or (size <= LIGHT_BYTES and count_parts(text) <= LIGHT_PARTS)


def count_parts(text: bytes) -> int:
    """Return about how many values `text` holds, which is known long before it is read.

    Raises `Rejected`, status 413, for more than `MAX_PARTS`: little text can stand for much memory.
    """
    parts = 0
    for start in range(0, len(text), SLICE):
        piece = text[start : start + SLICE]
        parts += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if parts > MAX_PARTS:
            words = f"the JSON has more than {MAX_PARTS} lists, objects and commas"
            raise Rejected(words, code="too_complex", status=413)
    return parts


def parse_in_steps(text: bytes) -> object:
    """Do the same as `parse_json` in a thread beside an event loop.

    The fast parser keeps the interpreter to itself until it is done, which stops every other thread. This one takes
    ten times as long in all, but gives way after each step. Raises `Rejected`, status 413, as `count_parts` does.
    """
    count_parts(text)
    try:
        value = _STEPS.decode(text.removeprefix(BYTE_ORDER_MARK).decode())
        if SURROGATE.search(text):
            _check_text(value)
    except RecursionError:
        raise _too_deep() from None
    except JSONDecodeError as error:
        place = f"{error.msg[:1].lower()}{error.msg[1:]} at line {error.lineno} column {error.colno}"
        raise _malformed(text, place) from None
    except ValueError as error:
        raise _malformed(text, str(error)) from None
    check_depth(value)
    return value


def check_depth(value: object) -> None:
    """Raise `Rejected` when a JSON value nests deeper than `MAX_DEPTH` or holds a number that is not finite.

    A scalar has depth 0, `[]` has depth 1. The walk goes level by level and needs no stack.
    """
    level = [value]
    depth = 0
    while level:
        below: list[object] = []
        nested = False
        for item in level:
            if isinstance(item, dict):
                nested = True
                below.extend(item.values())
            elif isinstance(item, list | tuple):
                nested = True
                below.extend(item)
            elif isinstance(item, float) and not isfinite(item):
                raise Rejected(NOT_FINITE, code="malformed_json")
        depth += nested
        if depth > MAX_DEPTH:
            raise _too_deep()
        level = below


def content_hash(data: object, *, large: bool = False) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of `data` as canonical JSON: sorted keys, compact, UTF-8.

    The text of `large` data is made piece by piece: as one it takes four times its size while it is made.
    """
    found = sha256()
    for piece in _pieces(data) if large else (_canonical(data),):
        found.update(piece.encode())
    return found.hexdigest()


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


ENTRIES_AT_ONCE = 200
"""Entries of a long list whose text is made at once."""


def _pieces(data: object) -> Iterator[str]:
    """Yield canonical JSON in pieces; recursion is safe, as `MAX_DEPTH` limits what is read."""
    if isinstance(data, dict):
        yield "{"
        for number, key in enumerate(sorted(data)):
            yield f"{',' if number else ''}{_canonical(key)}:"
            yield from _pieces(data[key])
        yield "}"
    elif isinstance(data, list) and len(data) > ENTRIES_AT_ONCE:
        for start in range(0, len(data), ENTRIES_AT_ONCE):
            yield "," if start else "["
            yield _canonical(data[start : start + ENTRIES_AT_ONCE])[1:-1]
        yield "]"
    elif isinstance(data, list):
        yield "["
        for number, entry in enumerate(data):
            yield "," if number else ""
            yield from _pieces(entry)
        yield "]"
    else:
        yield _canonical(data)


class _Steps(json.JSONDecoder):
    """The decoder of the standard library, put together from those of its parts that are written in Python."""

    def __init__(self) -> None:
        super().__init__(parse_constant=_not_finite)
        self.parse_object, self.parse_array = JSONObject, JSONArray
        self.scan_once = py_make_scanner(self)


def _not_finite(_word: str) -> NoReturn:
    raise Rejected(NOT_FINITE, code="malformed_json")


_STEPS = _Steps()
"""The parser that gives way to other threads; it has no state."""


def _check_text(value: object) -> None:
    """Raise `ValueError` when a text in a JSON value holds half of a surrogate pair."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, str):
            part.encode()
        elif isinstance(part, dict):
            parts += part
            parts += part.values()
        elif isinstance(part, list):
            parts += part


def json_size(data: object) -> int:
    """Return how many bytes `data` takes as compact JSON, UTF-8."""
    if isinstance(data, list) and len(data) > ENTRIES_AT_ONCE:  # one text of it all would take four times its size
        starts = range(0, len(data), ENTRIES_AT_ONCE)
        return sum(json_size(data[start : start + ENTRIES_AT_ONCE]) - 1 for start in starts) + 1
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _malformed(text: bytes, detail: str) -> Rejected:
    """Turn the parser's words into a sentence."""
    if not text.strip():
        return Rejected("the text is empty, a JSON value was expected", code="malformed_json")
    if detail.startswith("recursion limit"):
        return _too_deep()
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return Rejected(f"the text is not UTF-8: byte {error.start} cannot be read", code="malformed_json")
    reason = detail.replace("EOF while parsing", "the text ends inside")
    return Rejected(f"the text is not JSON: {reason}", code="malformed_json")


def _too_deep() -> Rejected:
    return Rejected(f"the JSON is nested more than {MAX_DEPTH} levels deep", code="too_deep")
