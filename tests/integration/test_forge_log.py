"""The transparency log in a folder and in a bucket: workers that add at once, proofs, and what is found later."""

import asyncio
import random
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from functions._core.forge import log_entries
from functions._core.forge.merkle import consistency_proof, extends, inclusion_proof
from functions._core.forge.stages import TransparencyEntry
from functions._executors.file_store import FolderStore, store_at
from functions._executors.forge import transparency
from functions._executors.forge.signing import KeySigner, SigningFailed, public_key
from functions._executors.forge.transparency import TransparencyLog, entry_fault, log_faults
from functions._executors.stored_files import FileStore, StoreFailed
from tests.conftest import ROOT
from tests.support.attested_build import T0, new_key, openssl

if TYPE_CHECKING:
    from tests.support.aws_emulator import Aws


@pytest.fixture(scope="module", params=["P-256", "ED25519"])
def signer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> KeySigner:
    return KeySigner(new_key(tmp_path_factory.mktemp("key") / "forge.key", request.param).read_bytes())


def hash_of(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def log(store: FileStore, signer: KeySigner, name: str = "code-forge") -> TransparencyLog:
    return TransparencyLog(store, signer.public, name)


def filled(root: Path, signer: KeySigner, number: int) -> list[TransparencyEntry]:
    one = log(FolderStore(root), signer)
    return [one.append(hash_of(n), T0, signer) for n in range(number)]


def altered(entry: TransparencyEntry, **changes: object) -> TransparencyEntry:
    return TransparencyEntry.model_validate({**entry.model_dump(), **changes})


def files(root: Path) -> Sequence[Path]:
    return sorted(root.glob("transparency/*/*/*"))


def test_each_entry_comes_with_a_proof_that_it_is_in_the_signed_tree(tmp_path: Path, signer: KeySigner) -> None:
    for number, entry in enumerate(filled(tmp_path, signer, 9)):
        assert (entry.index, entry.tree_size) == (number, number + 1)
        assert entry_fault(entry, hash_of(number), signer.public) == ""
        assert entry_fault(entry, hash_of(100), signer.public) == "log: its tree does not have this envelope"
    assert log_faults(log(FolderStore(tmp_path), signer), envelope=hash_of(4)) == []
    assert log_faults(log(FolderStore(tmp_path), signer), envelope=hash_of(9)) == [
        "log: it has no entry for this envelope"
    ]


def test_each_part_of_an_entry_that_was_handed_on_counts(tmp_path: Path, signer: KeySigner) -> None:
    entry = filled(tmp_path, signer, 6)[-1]
    other = filled(tmp_path / "b", signer, 7)[-1]
    for name in TransparencyEntry.model_fields:
        changed = altered(entry, **{name: getattr(other, name)})
        same = getattr(other, name) == getattr(entry, name)
        assert same or entry_fault(changed, hash_of(5), signer.public), name
    wrong: Sequence[Mapping[str, object]] = (
        {"root_hash": "no"},
        {"proof": ("no",)},
        {"checkpoint": ""},
        {"log_id": "0"},
        {"index": -1},
    )
    for update in wrong:
        assert entry_fault(altered(entry, **update), hash_of(5), signer.public)
    moved = altered(entry, integrated_at=T0.replace(hour=13))
    assert entry_fault(moved, hash_of(5), signer.public) == "log: its tree does not have this envelope"


def test_any_later_tree_is_proven_to_begin_with_any_earlier_one(tmp_path: Path, signer: KeySigner) -> None:
    handed = filled(tmp_path, signer, 21)
    leaves = [entry.leaf for entry in log(FolderStore(tmp_path), signer).entries() if not isinstance(entry, str)]
    new = bytes.fromhex(handed[-1].root_hash)
    for entry in handed:
        old = bytes.fromhex(entry.root_hash)
        assert extends(old, entry.tree_size, new, 21, consistency_proof(entry.tree_size, leaves))
        assert entry.index == 20 or inclusion_proof(entry.index, leaves)


def test_openssl_verifies_a_checkpoint(tmp_path: Path) -> None:
    signer = KeySigner(new_key(tmp_path / "forge.key").read_bytes())
    openssl("pkey", "-in", tmp_path / "forge.key", "-pubout", "-out", tmp_path / "forge.pub")
    text, _, line = filled(tmp_path, signer, 3)[-1].checkpoint.partition("\n\n")
    named = b64decode(line.split()[2])
    der = openssl("pkey", "-in", tmp_path / "forge.key", "-pubout", "-outform", "DER")
    assert named[:4] == sha256(der).digest()[:4]
    (tmp_path / "signature").write_bytes(named[4:])
    asked = ("dgst", "-sha256", "-verify", tmp_path / "forge.pub", "-signature", tmp_path / "signature")
    openssl(*asked, input=f"{text}\n".encode())


def test_workers_that_add_at_the_same_time_lose_nothing(tmp_path: Path, signer: KeySigner) -> None:
    logs = [log(FolderStore(tmp_path), signer) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: logs[n % 8].append(hash_of(n), T0, signer), range(80)))
    assert sorted(entry.index for entry in made) == list(range(80))
    assert log_faults(logs[0]) == []
    assert all(entry_fault(entry, hash_of(n), signer.public) == "" for n, entry in enumerate(made))
    assert len(files(tmp_path)) == 80, "nothing is left beside them"


ADDING = """
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from functions._executors.file_store import FolderStore
from functions._executors.forge.signing import KeySigner
from functions._executors.forge.transparency import TransparencyLog
signer = KeySigner(Path(sys.argv[2]).read_bytes())
log = TransparencyLog(FolderStore(Path(sys.argv[1])), signer.public)
print("ready", flush=True)
sys.stdin.readline()
for n in range(15):
    log.append(sha256(f"{sys.argv[3]} {n}".encode()).hexdigest(), datetime.now(UTC), signer)
"""


def test_processes_that_add_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    key = new_key(tmp_path / "forge.key")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ADDING, str(tmp_path), str(key), name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in running:
        one.communicate("go\n")
    assert [one.returncode for one in running] == [0, 0]
    signer = KeySigner(key.read_bytes())
    assert log_faults(log(FolderStore(tmp_path), signer)) == []
    assert len(files(tmp_path)) == 30


def test_an_entry_that_is_lost_or_altered_is_named(tmp_path: Path, signer: KeySigner) -> None:
    handed = filled(tmp_path, signer, 12)
    store = FolderStore(tmp_path)
    there = files(tmp_path)
    old = there[5].read_bytes()
    there[5].unlink()
    assert log_faults(log(store, signer)) == ["log: entry 5 is lost"]
    there[5].write_bytes(there[6].read_bytes())
    assert log_faults(log(store, signer)) == ["log: entry 5: it says that it is entry 6"]
    there[5].write_bytes(old[:-1])
    assert log_faults(log(store, signer)) == ["log: entry 5 is not as it is written"]
    there[5].write_bytes(old)
    assert log_faults(log(store, signer), handed[-1]) == []
    there[11].unlink()  # nothing in the log itself says that there was one
    assert log_faults(log(store, signer)) == []
    assert "it has 11 entries" in log_faults(log(store, signer), handed[-1])[0]


def test_a_log_that_was_written_again_is_not_the_one_that_records_know(tmp_path: Path, signer: KeySigner) -> None:
    handed = filled(tmp_path / "a", signer, 5)
    other = log(FolderStore(tmp_path / "b"), signer)
    for n in (0, 1, 9, 3, 4, 5):
        other.append(hash_of(n), T0, signer)
    assert log_faults(other) == []
    assert log_faults(other, handed[1]) == []
    assert "it was another one" in log_faults(other, handed[4])[0]


def test_nothing_is_added_to_an_entry_that_was_altered(tmp_path: Path, signer: KeySigner) -> None:
    filled(tmp_path, signer, 3)
    last = files(tmp_path)[-1]
    last.write_bytes(last.read_bytes().replace(b'"index":2', b'"index":7'))
    with pytest.raises(StoreFailed, match="entry 2 of the transparency log was altered"):
        log(FolderStore(tmp_path), signer).append(hash_of(3), T0, signer)


def test_fifty_bytes_that_are_changed_in_a_log_are_found(tmp_path: Path, signer: KeySigner) -> None:
    chance = random.Random(13)
    known = filled(tmp_path, signer, 7)[-1]
    for _ in range(50):
        path = chance.choice(files(tmp_path))
        before = path.read_bytes()
        changed = bytearray(before)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        assert log_faults(log(FolderStore(tmp_path), signer), known), path
        path.write_bytes(before)
    assert log_faults(log(FolderStore(tmp_path), signer), known) == []


def test_a_log_is_found_again_whatever_its_size(tmp_path: Path, signer: KeySigner) -> None:
    for number in range(40):
        assert log(FolderStore(tmp_path), signer).append(hash_of(number), T0, signer).index == number


def test_adding_to_a_large_log_reads_a_few_entries(
    tmp_path: Path, signer: KeySigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, signer, 300)
    looked: list[str] = []
    find = FolderStore.find

    def counted(store: FolderStore, name: str, most: int) -> bytes | None:
        looked.append(name)
        return find(store, name, most)

    monkeypatch.setattr(FolderStore, "find", counted)
    log(FolderStore(tmp_path), signer).append(hash_of(0), T0, signer)
    assert len(looked) < 25


def test_a_log_has_an_end(tmp_path: Path, signer: KeySigner, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (log_entries, transparency):
        monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    filled(tmp_path, signer, 3)
    with pytest.raises(SigningFailed, match="name another one by WORKER_FORGE_LOG"):
        log(FolderStore(tmp_path), signer).append(hash_of(3), T0, signer)
    assert log(FolderStore(tmp_path), signer, "next").append(hash_of(3), T0, signer).index == 0


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a b", "a" * 64])
def test_a_log_has_a_plain_name(tmp_path: Path, signer: KeySigner, name: str) -> None:
    with pytest.raises(SigningFailed, match="WORKER_FORGE_LOG"):
        log(FolderStore(tmp_path), signer, name)


def test_logs_of_two_keys_are_two_logs(tmp_path: Path, signer: KeySigner) -> None:
    other = KeySigner(new_key(tmp_path / "other.key").read_bytes())
    filled(tmp_path, signer, 2)
    entry = filled(tmp_path, other, 1)[0]
    assert entry.index == 0
    assert entry_fault(entry, hash_of(0), signer.public) == "log: the entry is of the log of another key"
    assert public_key(other.public.pem).log_id == entry.log_id


class TestStores:
    """What the log asks of a store, in a folder and in a bucket."""

    @staticmethod
    def both(work: Callable[[FileStore], Any], *stores: FileStore | None) -> list[Any]:
        return [work(store) for store in stores if store is not None]

    async def test_a_file_is_kept_once_and_found_whole(self, tmp_path: Path, aws_services: "Aws") -> None:
        def work(store: FileStore) -> list[object]:
            return [
                store.find("d/a.json", 10),
                store.put_new("d/a.json", b"one"),
                store.put_new("d/a.json", b"two"),
                store.find("d/a.json", 10),
                store.put_new("d/e/b.json", b"three"),
                sorted(store.names("d")),
                sorted(store.names("none")),
            ]

        bucket = store_at(f"s3://{await aws_services.bucket()}/forge")
        for found in await asyncio.to_thread(self.both, work, store_at(str(tmp_path)), bucket):
            assert found == [None, True, False, b"one", True, ["a.json"], []]

    async def test_names_that_lead_elsewhere_and_files_that_are_too_large_are_refused(
        self, tmp_path: Path, aws_services: "Aws"
    ) -> None:
        def work(store: FileStore) -> None:
            store.put_new("a", b"12345")
            with pytest.raises(StoreFailed, match="more than 4 bytes"):
                store.find("a", 4)
            for name in ("../a", "/a", "a/../../b", "a//b", "a\0"):
                for call in (
                    lambda name=name: store.put_new(name, b""),
                    lambda name=name: store.find(name, 1),
                    lambda name=name: list(store.names(name)),
                ):
                    with pytest.raises(StoreFailed, match="leads elsewhere"):
                        call()

        bucket = store_at(f"s3://{await aws_services.bucket()}/forge")
        await asyncio.to_thread(self.both, work, store_at(str(tmp_path / "store")), bucket)

    def test_a_link_in_a_folder_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "store").mkdir()
        (tmp_path / "else").mkdir()
        (tmp_path / "store" / "d").symlink_to(tmp_path / "else")
        store = FolderStore(tmp_path / "store")
        (tmp_path / "else" / "a").write_text("x")
        (tmp_path / "store" / "a").symlink_to(tmp_path / "else" / "a")
        for call in (
            lambda: store.put_new("d/b", b""),
            lambda: store.find("d/a", 9),
            lambda: store.find("a", 9),
            lambda: list(store.names("d")),
        ):
            with pytest.raises(StoreFailed):
                call()
        assert store.put_new("a", b"y") is False
        assert [path.name for path in (tmp_path / "else").iterdir()] == ["a"]

    async def test_a_log_in_a_bucket_takes_entries_of_two_workers(self, tmp_path: Path, aws_services: "Aws") -> None:
        signer = KeySigner(new_key(tmp_path / "forge.key").read_bytes())
        where = f"s3://{await aws_services.bucket()}/forge"

        def add(name: int) -> list[int]:
            store = store_at(where)
            assert store is not None
            mine = log(store, signer)
            return [mine.append(hash_of(10 * name + n), T0, signer).index for n in range(4)]

        made = await asyncio.gather(*(asyncio.to_thread(add, name) for name in range(2)))
        assert sorted(index for some in made for index in some) == list(range(8))
        store = store_at(where)
        assert store is not None
        assert await asyncio.to_thread(log_faults, log(store, signer)) == []


@pytest.mark.slow
def test_a_log_of_a_hundred_thousand_entries_is_checked_within_minutes(tmp_path: Path) -> None:
    signer = KeySigner(new_key(tmp_path / "forge.key", "ED25519").read_bytes())
    first = filled(tmp_path, signer, 1)[0]
    folder = files(tmp_path)[0].parent
    before = log_entries.entry_of(files(tmp_path)[0].read_bytes())
    for number in range(first.tree_size, log_entries.MOST_ENTRIES):  # without waiting for the disk
        before = log_entries.entry_after(
            before, hash_of(number), "2026-11-30T12:00:00.000Z", signer.public.log("code-forge"), signer.sign
        )
        (folder / f"{number:012}.json").write_bytes(before.file())
    began = time.monotonic()
    assert log_faults(log(FolderStore(tmp_path), signer)) == []
    assert time.monotonic() - began < 600
