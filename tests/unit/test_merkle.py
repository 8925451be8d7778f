"""Trees of the transparency log: known roots of RFC 6962, proofs of all entries and sizes, and signed heads."""

import random
from collections.abc import Sequence
from hashlib import sha256

import pytest

from functions._core.forge import merkle
from functions._core.forge.log_entries import LogIdentity, checkpoint, entry_after, entry_of, follows, opened_checkpoint
from functions._core.forge.merkle import (
    appended,
    consistency_proof,
    extends,
    includes,
    inclusion_proof,
    leaf_hash,
    newest_proof,
    root_of,
    tree_root,
)

# The entries and roots of the tests of google/certificate-transparency, which the tests of other logs use, too.
ENTRIES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
LEAVES = [leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
LOG = LogIdentity("code-forge", "ab" * 32, b"\xab\xab\xab\xab")


def sign(data: bytes) -> bytes:
    return sha256(b"key" + data).digest()


def verify(data: bytes, signature: bytes) -> bool:
    return signature == sign(data)


def leaves(number: int) -> Sequence[bytes]:
    return [leaf_hash(str(one).encode()) for one in range(number)]


def test_roots_are_those_of_the_standard() -> None:
    assert tree_root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert [tree_root(LEAVES[: size + 1]).hex() for size in range(len(LEAVES))] == list(ROOTS)


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, ()),
        (
            0,
            8,
            (
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ),
        ),
        (
            5,
            8,
            (
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ),
        ),
    ],
)
def test_inclusion_proofs_are_those_of_the_standard(index: int, size: int, path: tuple[str, ...]) -> None:
    assert tuple(one.hex() for one in inclusion_proof(index, LEAVES[:size])) == path


def test_every_entry_of_every_tree_is_proven_and_no_other_one() -> None:
    all_of = leaves(34)
    for size in range(1, 34):
        root = tree_root(all_of[:size])
        for index in range(size):
            proof = inclusion_proof(index, all_of[:size])
            assert includes(root, size, index, all_of[index], proof)
            assert not includes(root, size, index, all_of[33], proof)
            assert not includes(root, size, (index + 1) % (size + 1), all_of[index], proof)
            assert not includes(root, size, index, all_of[index], (*proof, root))
            assert not proof or not includes(root, size, index, all_of[index], proof[:-1])


def test_every_tree_is_the_beginning_of_every_later_one_and_no_other_one_is() -> None:
    all_of = leaves(34)
    roots = [tree_root(all_of[:size]) for size in range(35)]
    for old in range(1, 34):
        for new in range(old, 34):
            proof = consistency_proof(old, all_of[:new])
            assert extends(roots[old], old, roots[new], new, proof)
            assert not extends(roots[34], old, roots[new], new, proof)
            assert not extends(roots[old], old, roots[34], new, proof)
            assert not extends(roots[old], old, roots[new], new, (*proof, roots[0]))


def test_a_tree_that_grows_is_the_tree_over_all_and_proves_its_newest_entry() -> None:
    peaks: tuple[bytes, ...] = ()
    all_of = leaves(300)
    for size, leaf in enumerate(all_of):
        proof = newest_proof(peaks)
        assert proof == inclusion_proof(size, all_of[: size + 1])
        peaks = appended(peaks, size, leaf)
        assert len(peaks) == (size + 1).bit_count()
        assert includes(root_of(peaks), size + 1, size, leaf, proof)
    assert root_of(peaks) == tree_root(all_of)


def test_a_leaf_is_never_the_hash_of_two_others() -> None:
    left, right = LEAVES[:2]
    assert merkle.node_hash(left, right) != leaf_hash(left + right)


def test_a_checkpoint_is_a_signed_note() -> None:
    note = checkpoint(LOG, 7, bytes(32), sign)
    text, _, signature = note.partition("\n\n")
    assert text.splitlines() == ["code-forge", "7", "A" * 43 + "="]
    assert signature.startswith("— code-forge q6urq")  # the four bytes that name the key come first
    assert opened_checkpoint(note, LOG, verify) == (7, bytes(32))


def test_each_byte_of_a_checkpoint_counts() -> None:
    note = checkpoint(LOG, 7, bytes(32), sign).encode()
    for at in range(len(note)):
        changed = bytearray(note)
        changed[at] ^= 1
        assert opened_checkpoint(changed.decode(errors="replace"), LOG, verify) is None, at
    assert opened_checkpoint(note.decode() + "\n", LOG, verify) is None
    assert opened_checkpoint(note.decode(), LogIdentity("other", LOG.log_id, LOG.key_hash), verify) is None


def test_an_entry_is_read_in_the_one_form_that_it_is_written_in() -> None:
    entry = entry_after(None, "ab" * 32, "2026-11-30T12:00:00.000Z", LOG, sign)
    assert entry_of(entry.file()) == entry
    for wrong in (b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, entry.file() + b" ", entry.file()[:-1]):
        assert entry_of(wrong) is None
    assert entry_of(entry.file().replace(b'"index":0', b'"index":false')) is None


def test_an_entry_follows_one_and_no_other() -> None:
    one = entry_after(None, "01" * 32, "2026-11-30T12:00:00.000Z", LOG, sign)
    two = entry_after(one, "02" * 32, "2026-11-30T12:00:01.000Z", LOG, sign)
    three = entry_after(two, "03" * 32, "2026-11-30T12:00:02.000Z", LOG, sign)
    assert [follows(before, it, LOG, verify) for before, it in ((None, one), (one, two), (two, three))] == ["", "", ""]
    assert follows(one, three, LOG, verify) == "it says that it is entry 2"
    other = entry_after(one, "04" * 32, "2026-11-30T12:00:01.000Z", LOG, sign)
    assert follows(other, three, LOG, verify) == "its tree is not that of the entry before it with it"
    assert follows(one, two, LOG, lambda *_: False) == "its checkpoint is not signed by this key"


def test_a_byte_of_an_entry_that_is_changed_is_found() -> None:
    chance = random.Random(20)
    one = entry_after(None, "01" * 32, "2026-11-30T12:00:00.000Z", LOG, sign)
    two = entry_after(one, "02" * 32, "2026-11-30T12:00:01.000Z", LOG, sign)
    for _ in range(200):
        changed = bytearray(two.file())
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        read = entry_of(bytes(changed))
        assert read is None or follows(one, read, LOG, verify)
