"""JSON as it arrives: read with limits, every malformation named, and hashed in one canonical form."""

import json
from hashlib import sha256
from math import isfinite
from typing import Any

from pydantic import TypeAdapter, ValidationError

from functions._core.errors import Rejected

MAX_DEPTH = 64
"""Levels of nesting. No plan needs more, and later readers rely on it instead of guarding their stacks."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ANY_JSON: TypeAdapter[object] = TypeAdapter(Any)


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
                raise Rejected("the JSON holds NaN, Infinity or a number too large", code="malformed_json")
        depth += nested
        if depth > MAX_DEPTH:
            raise _too_deep()
        level = below


def content_hash(data: object) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of `data` as canonical JSON: sorted keys, compact, UTF-8."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(canonical.encode()).hexdigest()


def json_size(data: object) -> int:
    """Return how many bytes `data` takes as compact JSON, UTF-8."""
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
