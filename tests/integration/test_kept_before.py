"""What an attempt finds of the files that it, or the attempts before it, have kept in the worker's store."""

from pathlib import Path

import pytest

from functions._core.executors.parameters import ExecutorParameters
from functions._executors.file_store import FolderStore, store_at
from functions._executors.port import JobContext
from functions._executors.stored_files import StoreFailed
from functions._worker.job_files import ATTEMPTS, JobFiles


async def attempt(folder: Path, number: int, ticket_id: str = "t-1") -> JobContext[ExecutorParameters]:
    """Return the context of an attempt whose worker has a store."""
    about = {"parameters": ExecutorParameters(), "ticket_id": ticket_id, "attempt": number, "idempotency_key": "k"}
    return JobFiles(JobContext(**about), FolderStore(folder), 1).context  # type: ignore[arg-type] # of a test


def kept(context: JobContext[ExecutorParameters], name: str) -> bytes | None:
    assert context.kept is not None
    return context.kept(name)


def keep(context: JobContext[ExecutorParameters], name: str, data: bytes) -> None:
    assert context.keep is not None
    file = context.keep(name)
    file.write(data)
    file.close()


async def test_the_newest_of_this_ticket_is_found(tmp_path: Path) -> None:
    keep(await attempt(tmp_path, 1), "a/answer.json", b"first")
    keep(await attempt(tmp_path, 2), "a/answer.json", b"second")
    keep(await attempt(tmp_path, 2, "t-2"), "other.json", b"of another ticket")
    third = await attempt(tmp_path, 3)
    assert kept(third, "a/answer.json") == b"second"
    assert kept(await attempt(tmp_path, 1), "a/answer.json") == b"first"
    assert kept(third, "other.json") is None
    assert kept(await attempt(tmp_path, 2 + ATTEMPTS), "a/answer.json") is None


@pytest.mark.parametrize("name", ["../../t-2/1/x", "/etc/passwd", "a//b", "", "a\0b"])
async def test_no_name_leads_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "t-2" / "1").mkdir(parents=True)
    (tmp_path / "t-2" / "1" / "x").write_text("of another ticket")
    assert kept(await attempt(tmp_path, 1), name) is None


def test_a_store_says_where_a_file_would_be(tmp_path: Path) -> None:
    for store, root in ((FolderStore(tmp_path), tmp_path.as_uri()), (store_at("s3://bucket/jobs"), "s3://bucket/jobs")):
        assert store is not None
        assert store.uri("t/1/a b.json") == f"{root}/t/1/a%20b.json"
        with pytest.raises(StoreFailed):
            store.uri("../b")
    file = FolderStore(tmp_path).create("t/1/c.json")
    file.close()
    assert FolderStore(tmp_path).uri("t/1/c.json") == file.uri
