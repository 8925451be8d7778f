"""Attribute values, and documents as bytes.

Documents are deflated, with what they have in common left out: a ticket takes a fifth, and every KiB of an item is paid
for with each write.
"""

import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from functions._adapters.dynamodb.vocabulary import BY_CHECKSUM, NEWEST

Item = Mapping[str, Any]

INLINE = 120_000
"""Bytes of a document that an item holds itself: with a draft and some history beside it, it stays below 400 KB."""

PART = 350_000

HEADER, CHECKSUM = 2, 4
"""Bytes of zlib's header, and of the check sum of the preset dictionary behind it (RFC 1950)."""


def text(value: str) -> Item:
    """Return a text."""
    return {"S": value}


def integer(value: int) -> Item:
    """Return a number."""
    return {"N": str(value)}


def binary(value: bytes) -> Item:
    """Return bytes."""
    return {"B": value}


def listed(values: Sequence[Item]) -> Item:
    """Return a list."""
    return {"L": list(values)}


def texts(values: Mapping[str, str]) -> dict[str, Item]:
    """Return texts by name."""
    return {name: text(value) for name, value in values.items()}


def to_text(item: Item, name: str) -> str | None:
    """Return the text of an attribute, None where there is none."""
    value = item.get(name)
    return None if value is None else str(value["S"])


def to_integer(item: Item, name: str) -> int:
    """Return the number of an attribute, 0 where there is none."""
    value = item.get(name)
    return 0 if value is None else int(value["N"])


def deflate(document: str | bytes) -> bytes:
    """Return a document as it is stored."""
    data = document.encode() if isinstance(document, str) else document
    deflating = zlib.compressobj(6, zdict=NEWEST)
    return deflating.compress(data) + deflating.flush()


def inflate(stored: bytes) -> bytes:
    """Return a stored document."""
    checksum = int.from_bytes(stored[HEADER : HEADER + CHECKSUM])
    return zlib.decompressobj(zdict=BY_CHECKSUM[checksum]).decompress(stored)


def digest(stored: bytes) -> str:
    """Return the text that names stored bytes: a flow has few that it could be taken for."""
    return sha256(stored).hexdigest()[:12]


def cut(stored: bytes) -> tuple[str, Sequence[bytes]]:
    """Cut what is too large for one item; return the digest by which its parts are named, and the parts."""
    return digest(stored), [stored[at : at + PART] for at in range(0, len(stored), PART)]
