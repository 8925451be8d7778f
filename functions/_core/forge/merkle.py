"""Merkle trees of RFC 6962: hashes of entries in an order that nobody can change afterwards without being found out.

A tree that grows is known by its peaks: the roots of the full trees it consists of, the largest first. They are as
many as its size has ones in binary, so an entry is added, and proven to be there, by a few hashes, however large the
tree is.
"""

from collections.abc import Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""The root of a tree without entries."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of an entry."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of what is above two hashes."""
    return sha256(b"\x01" + left + right).digest()


def appended(peaks: Sequence[bytes], size: int, leaf: bytes) -> tuple[bytes, ...]:
    """Return the peaks of a tree of `size` entries once `leaf` follows them."""
    left = [*peaks]
    while size & 1:
        leaf = node_hash(left.pop(), leaf)
        size >>= 1
    return (*left, leaf)


def root_of(peaks: Sequence[bytes]) -> bytes:
    """Return the root of the tree with these peaks."""
    if not peaks:
        return EMPTY
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def newest_proof(peaks: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the inclusion proof of the entry that was added to a tree with these peaks."""
    return tuple(reversed(peaks))


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over hashes of entries."""
    peaks: tuple[bytes, ...] = ()
    for size, leaf in enumerate(leaves):
        peaks = appended(peaks, size, leaf)
    return root_of(peaks)


def inclusion_proof(index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the proof that an entry is in the tree over all: hashes from the leaf on (RFC 6962, 2.1.1)."""
    if not 0 <= index < len(leaves):
        raise ValueError("there is no such entry")
    if len(leaves) == 1:
        return ()
    half = _half(len(leaves))
    if index < half:
        return (*inclusion_proof(index, leaves[:half]), tree_root(leaves[half:]))
    return (*inclusion_proof(index - half, leaves[half:]), tree_root(leaves[:half]))


def consistency_proof(size: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the proof that the tree over all begins with that over the first `size` (RFC 6962, 2.1.2)."""
    if not 0 < size <= len(leaves):
        raise ValueError("there is no such tree")
    return _subproof(size, leaves, whole=True)


def _subproof(size: int, leaves: Sequence[bytes], *, whole: bool) -> tuple[bytes, ...]:
    if size == len(leaves):
        return () if whole else (tree_root(leaves),)
    half = _half(len(leaves))
    if size <= half:
        return (*_subproof(size, leaves[:half], whole=whole), tree_root(leaves[half:]))
    return (*_subproof(size - half, leaves[half:], whole=False), tree_root(leaves[:half]))


def includes(root: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the tree of `size` entries with this root has `leaf` at `index`: RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    last, found = size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if index & 1 or index == last:
            found = node_hash(other, found)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found = node_hash(found, other)
        index, last = index >> 1, last >> 1
    return last == 0 and found == root


def extends(old: bytes, old_size: int, new: bytes, new_size: int, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the second tree begins with the first one (RFC 9162, 2.1.4.2)."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old == new
    path = [*proof]
    if old_size & (old_size - 1) == 0:
        path.insert(0, old)
    if not path:
        return False
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for other in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(other, first), node_hash(other, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, other)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old and second == new


def _half(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1
