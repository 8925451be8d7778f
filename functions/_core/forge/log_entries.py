"""Entries of the transparency log, and the signed heads of its trees: checkpoints, which are signed notes (C2SP).

An entry is canonical JSON on a line of its own. Its leaf is `{"envelope_sha256": …, "integrated_at": …}`; beside that
it has the peaks of the tree that ends with it, and that tree's checkpoint. So one entry is all that it takes to add
another.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from functions._core.forge.merkle import appended, leaf_hash, root_of
from functions._core.passport.seal import canonical

MOST_ENTRIES = 100_000
"""Entries of a log: a folder with as many is checked as a whole within two minutes."""

ENTRY_BYTES = 16 * 1024

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]


class LogIdentity(NamedTuple):
    """What one log is known by."""

    name: str
    """Its name, which is the first line of its checkpoints and the name of its key there."""
    log_id: str
    """SHA-256 of its public key as DER, in hexadecimal digits."""
    key_hash: bytes
    """The four bytes by which a signed note names the key."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a log."""

    index: int
    """Its number, from 0."""
    envelope_sha256: str
    """The hash of the envelope that it is about."""
    integrated_at: str
    """When it was taken, RFC 3339."""
    peaks: tuple[bytes, ...]
    """Of the tree that ends with it."""
    checkpoint: str
    """The signed head of that tree."""

    @property
    def leaf(self) -> bytes:
        """The hash by which the tree has it."""
        return leaf_of(self.envelope_sha256, self.integrated_at)

    @property
    def root(self) -> bytes:
        """The root of the tree that ends with it."""
        return root_of(self.peaks)

    def file(self) -> bytes:
        """Return it as it is kept."""
        return canonical({**asdict(self), "peaks": [peak.hex() for peak in self.peaks]}) + b"\n"


def leaf_of(envelope_sha256: str, integrated_at: str) -> bytes:
    """Return the leaf of an envelope."""
    return leaf_hash(canonical({"envelope_sha256": envelope_sha256, "integrated_at": integrated_at}))


def entry_after(before: TreeEntry | None, envelope_sha256: str, at: str, log: LogIdentity, sign: Sign) -> TreeEntry:
    """Return the entry that follows another one, or is the first."""
    index = 0 if before is None else before.index + 1
    peaks = appended(() if before is None else before.peaks, index, leaf_of(envelope_sha256, at))
    return TreeEntry(index, envelope_sha256, at, peaks, checkpoint(log, index + 1, root_of(peaks), sign))


def entry_of(file: bytes) -> TreeEntry | None:
    """Return the entry that a file is; None where it is none, or not as one is written."""
    try:
        said: dict[str, Any] = json.loads(file)
        peaks = tuple(bytes.fromhex(peak) for peak in said["peaks"])
        entry = TreeEntry(**{**said, "peaks": peaks})
        return entry if entry.file() == file and type(entry.index) is int else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def follows(before: TreeEntry | None, entry: TreeEntry, log: LogIdentity, verify: Verify) -> str:
    """Return what is wrong with an entry that is to follow another one; empty for nothing."""
    index = 0 if before is None else before.index + 1
    if entry.index != index:
        return f"it says that it is entry {entry.index}"
    if entry.peaks != appended(() if before is None else before.peaks, index, entry.leaf):
        return "its tree is not that of the entry before it with it"
    head = opened_checkpoint(entry.checkpoint, log, verify)
    if head is None:
        return "its checkpoint is not signed by this key"
    return "" if head == (index + 1, entry.root) else "its checkpoint is that of another tree"


def checkpoint(log: LogIdentity, size: int, root: bytes, sign: Sign) -> str:
    """Return the head of a tree as a signed note."""
    text = f"{log.name}\n{size}\n{b64encode(root).decode()}\n"
    return f"{text}\n— {log.name} {b64encode(log.key_hash + sign(text.encode())).decode()}\n"


def opened_checkpoint(note: str, log: LogIdentity, verify: Verify) -> tuple[int, bytes] | None:
    """Return size and root of a checkpoint of this log; None where it is none, or not signed by its key."""
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    opening = f"— {log.name} "
    if not signatures.startswith(opening) or not signatures.endswith("\n") or not note.startswith(f"{log.name}\n"):
        return None
    try:
        _, size, root, end = text.split("\n")
        known = b64decode(signatures[len(opening) : -1], validate=True)
        head = int(size), b64decode(root, validate=True)
    except ValueError:
        return None
    if end or known[:4] != log.key_hash or not verify(text.encode(), known[4:]):
        return None
    return head if note == checkpoint(log, *head, lambda _: known[4:]) else None
