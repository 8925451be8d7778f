"""The transparency log of a worker's store: what was signed, in an order that nobody can change unnoticed.

    <root>/transparency/<name>/<first 16 digits of the log's id>/000000000042.json

An entry is a file that is created exclusively, so of several workers one gets a number and the others take the next.
Each has the head of the tree that ends with it, signed: an entry that is altered, or lost among others, is found. That
the last ones are lost is known to whoever keeps an entry or checkpoint of later: records of pipelines do.

    WORKER_FORGE_LOG    the name of the log, `code-forge` without it; another name is another log
"""

import re
from collections.abc import Iterator
from datetime import datetime

from functions._core.forge.log_entries import (
    ENTRY_BYTES,
    MOST_ENTRIES,
    LogIdentity,
    TreeEntry,
    Verify,
    entry_after,
    entry_of,
    follows,
    opened_checkpoint,
)
from functions._core.forge.merkle import includes, newest_proof
from functions._core.forge.stages import TransparencyEntry
from functions._core.records.values import format_time
from functions._executors.forge.signing import Signer, SigningFailed, VerificationKey
from functions._executors.settings import ExecutorSettings
from functions._executors.stored_files import FileStore, StoreFailed

LOG_NAME = "WORKER_FORGE_LOG"
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")

MOST_TRIES = 200
"""How often a number may be taken by somebody else: more workers than that sign nothing at the same moment."""


class TransparencyLog:
    """One log in a store. It may be used by several workers and threads."""

    def __init__(self, store: FileStore, key: VerificationKey, name: str = "code-forge") -> None:
        """Name the log; raise `SigningFailed` for a name that no log has."""
        if not NAME.fullmatch(name):
            raise SigningFailed(f"{LOG_NAME} is no name of a log: letters a to z, digits, points and dashes")
        self.identity: LogIdentity = key.log(name)
        self._store = store
        self._verify: Verify = key.verify
        self._folder = f"transparency/{name}/{key.log_id[:16]}"
        self._last: TreeEntry | None = None

    def append(self, envelope_sha256: str, at: datetime, signer: Signer) -> TransparencyEntry:
        """Add the hash of an envelope; return the entry with its proof. Raises `StoreFailed`, or `SigningFailed`."""
        before = self._newest()
        for _ in range(MOST_TRIES):
            if before is not None and before.index + 1 >= MOST_ENTRIES:
                raise SigningFailed(f"the log has {MOST_ENTRIES} entries; name another one by {LOG_NAME}")
            entry = entry_after(before, envelope_sha256, format_time(at), self.identity, signer.sign)
            kept = self._store.put_new(self._name(entry.index), entry.file())
            taken = entry if kept else self._entry(entry.index)
            if taken == entry:  # also where a call was repeated whose answer was lost
                self._last = entry
                proof = newest_proof(() if before is None else before.peaks)
                return TransparencyEntry(
                    log_id=self.identity.log_id,
                    index=entry.index,
                    integrated_at=at,
                    tree_size=entry.index + 1,
                    root_hash=entry.root.hex(),
                    proof=tuple(one.hex() for one in proof),
                    checkpoint=entry.checkpoint,
                )
            before = taken or before
        raise StoreFailed("the transparency log takes no entry: each number was taken by somebody else")

    def entries(self) -> Iterator[TreeEntry | str]:
        """Yield all entries in their order, or what is wrong with one in its place. Raises `StoreFailed`."""
        there = {name for name in self._store.names(self._folder) if re.fullmatch(r"[0-9]{12}\.json", name)}
        before: TreeEntry | None = None
        for index in range(min(MOST_ENTRIES, 1 + max((int(name[:12]) for name in there), default=-1))):
            data = self._store.find(self._name(index), ENTRY_BYTES) if f"{index:012}.json" in there else None
            if data is None:
                yield f"log: entry {index} is lost"
                return  # those after it cannot follow it
            entry = entry_of(data)
            if entry is None:
                yield f"log: entry {index} is not as it is written"
                return
            if fault := follows(before, entry, self.identity, self._verify):
                yield f"log: entry {index}: {fault}"
                return
            before = entry
            yield entry

    def _newest(self) -> TreeEntry | None:
        """Return the last entry: the first number that is free is looked for in steps that double, then halve."""
        known = -1 if self._last is None else self._last.index
        step = 1
        while known + step < MOST_ENTRIES and self._there(known + step):
            known, step = known + step, step * 2
        while step > 1:
            step //= 2
            if known + step < MOST_ENTRIES and self._there(known + step):
                known += step
        return None if known < 0 else self._entry(known)

    def _there(self, index: int) -> bool:
        return self._store.find(self._name(index), ENTRY_BYTES) is not None

    def _entry(self, index: int) -> TreeEntry | None:
        """Return an entry that another one may follow; raise `StoreFailed` for one that was altered."""
        data = self._store.find(self._name(index), ENTRY_BYTES)
        if data is None:
            return None
        entry = entry_of(data)
        head = None if entry is None else opened_checkpoint(entry.checkpoint, self.identity, self._verify)
        if entry is None or entry.index != index or head != (index + 1, entry.root):
            raise StoreFailed(f"entry {index} of the transparency log was altered")
        return entry

    def _name(self, index: int) -> str:
        return f"{self._folder}/{index:012}.json"


def log_of(settings: ExecutorSettings, store: FileStore, key: VerificationKey) -> TransparencyLog:
    """Return the log of a worker."""
    return TransparencyLog(store, key, settings.environment.get(LOG_NAME, "").strip() or "code-forge")


def entry_fault(entry: TransparencyEntry, envelope_sha256: str, key: VerificationKey) -> str:
    """Return what is wrong with an entry that was handed on, as far as it says itself; empty for nothing.

    Its proof shows that the tree of its checkpoint has the envelope, whatever the log has become since.
    """
    name = entry.checkpoint.partition("\n")[0]
    if not NAME.fullmatch(name) or entry.log_id != key.log_id:
        return "log: the entry is of the log of another key"
    head = opened_checkpoint(entry.checkpoint, key.log(name), key.verify)
    if head is None:
        return "log: the checkpoint is not signed by this key"
    try:
        root, proof = bytes.fromhex(entry.root_hash), [bytes.fromhex(one) for one in entry.proof]
    except ValueError:
        return "log: the entry is not as it is written"
    if head != (entry.tree_size, root):
        return "log: the checkpoint is that of another tree"
    leaf = TreeEntry(entry.index, envelope_sha256, format_time(entry.integrated_at), (), "").leaf
    return "" if includes(head[1], head[0], entry.index, leaf, proof) else "log: its tree does not have this envelope"


def log_faults(log: TransparencyLog, known: TransparencyEntry | None = None, envelope: str | None = None) -> list[str]:
    """Return what is wrong with a whole log: entries that are lost or altered, or that it lacks one, or an envelope."""
    trees: dict[int, str] = {}
    envelopes: set[str] = set()
    for entry in log.entries():
        if isinstance(entry, str):
            return [entry]
        trees[entry.index + 1] = entry.root.hex()
        envelopes.add(entry.envelope_sha256)
    if known is not None and trees.get(known.tree_size) != known.root_hash:
        there = f"it has {len(trees)} entries" if known.tree_size > len(trees) else "it was another one"
        return [f"log: it is not the one with the tree of {known.tree_size} entries that the record names; {there}"]
    if envelope is not None and envelope not in envelopes:
        return ["log: it has no entry for this envelope"]
    return []
