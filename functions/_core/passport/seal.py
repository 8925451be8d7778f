"""Seals: each part of a passport has the hash of its content, and the parts of the history are a chain.

A part is a JSON object whose member `seal` is the SHA-256 of the others, written canonically: names sorted, no spaces,
ASCII. The seal of a history line covers the seal of the line before it as well, the first one that of the flow. The
signature covers all; seals tell which part it was that somebody changed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

SEAL = "seal"


def canonical(value: object) -> bytes:
    """Return JSON as it is hashed: names sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def hash_of(value: object) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal digits."""
    return sha256(canonical(value)).hexdigest()


def sealed(part: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return a part with its seal; `before` is the seal of the part that it follows."""
    return {**part, SEAL: _seal(part, before)}


def intact(part: object, before: str = "") -> bool:
    """Whether a part is an object that has the seal of its content."""
    if not isinstance(part, Mapping) or not isinstance(part.get(SEAL), str):
        return False
    return bool(part[SEAL] == _seal({name: value for name, value in part.items() if name != SEAL}, before))


def chained(parts: Sequence[Mapping[str, Any]], before: str) -> Iterator[dict[str, Any]]:
    """Yield parts of which each has the seal of the one before it in its own."""
    for part in parts:
        done = sealed(part, before)
        before = done[SEAL]
        yield done


def _seal(part: Mapping[str, Any], before: str) -> str:
    return sha256(before.encode() + canonical(part)).hexdigest()
