"""Projects between stages of the code forge: the same bytes for the same files, and nothing that leads out."""

import os
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from functions._executors.forge import projects
from functions._executors.forge.projects import fetched, keep_bytes, packed, unpacked
from functions._executors.port import CallFailed
from functions._executors.scanners import target
from tests.support.forge_projects import archive, kept_project, renamed, stored_context, written

FILES: dict[str, str | bytes] = {
    "b.txt": "two",
    "a/deep/x.py": "print(1)\n",
    "a/é.txt": b"\xff\x00",
    f"{'n' * 90}/{'m' * 90}/long.txt": "l",
}


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


def test_a_project_comes_back_as_it_was(tmp_path: Path) -> None:
    context = stored_context(tmp_path / "store")
    source = written(tmp_path / "source", {**FILES, "run.sh": "#!/bin/sh\n"})
    (source / "run.sh").chmod(0o700)
    (source / "b.txt").chmod(0o600)
    (source / "empty").mkdir()
    kept = kept_project(context, source)
    files = unpacked(context, kept, tmp_path / "again")
    assert files == sorted([*FILES, "run.sh"])
    assert (tmp_path / "again/a/é.txt").read_bytes() == b"\xff\x00"
    assert [(tmp_path / "again" / name).stat().st_mode & 0o777 for name in ("run.sh", "b.txt")] == [0o755, 0o644]
    assert packed(tmp_path / "again") == fetched(context, kept)


def test_bytes_depend_on_files_alone(tmp_path: Path) -> None:
    one = written(tmp_path / "one", FILES)
    two = written(tmp_path / "two", dict(reversed(FILES.items())))
    os.utime(two / "b.txt", (time.time() - 9_999, 12))
    (two / "b.txt").chmod(0o640)
    assert packed(one) == packed(two)
    (two / "b.txt").chmod(0o755)
    assert packed(one) != packed(two)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(archive(("../out.txt", b"x")), id="leads out"),
        pytest.param(archive(("/etc/out.txt", b"x")), id="absolute"),
        pytest.param(archive(("a/../../out.txt", b"x")), id="leads out within"),
        pytest.param(archive(("a.txt", b"x"), link("in", "/etc")), id="symbolic link"),
        pytest.param(archive(("a.txt", b"x"), link("in", "a.txt", tarfile.LNKTYPE)), id="hard link"),
        pytest.param(archive(link("out", ".."), ("out/out.txt", b"x")), id="through a link"),
        pytest.param(archive(link("pipe", "", tarfile.FIFOTYPE)), id="pipe"),
        pytest.param(archive(link("null", "", tarfile.CHRTYPE)), id="device"),
        pytest.param(archive((".git/config", b"[core]\nfsmonitor=x")), id="git"),
        pytest.param(archive(("sub/.GIT/config", b"[core]\nfsmonitor=x")), id="git in other letters"),
        pytest.param(archive(("a", b"x"), ("a/b", b"x")), id="file as folder"),
        pytest.param(archive(("a", b"x"), ("a", b"y")), id="twice"),
        pytest.param(archive(), id="empty"),
        pytest.param(archive(("a", b"x"), compressed=False), id="not compressed"),
        pytest.param(archive(("a", b"x" * 5_000))[:-20], id="cut"),
        pytest.param(b"\x1f\x8b nothing", id="no archive"),
    ],
)
def test_a_hostile_project_is_refused(tmp_path: Path, content: bytes) -> None:
    context = stored_context(tmp_path / "store")
    kept = keep_bytes(context, "project.tar.gz", content)
    (tmp_path / "work").mkdir()
    with pytest.raises(CallFailed) as refused:
        unpacked(context, kept, tmp_path / "work" / "folder")
    assert (refused.value.kind, refused.value.transient) == ("bad_project", False)
    assert not [*tmp_path.rglob("out.txt")]


def test_a_project_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = stored_context(tmp_path / "store")
    kept = kept_project(context, written(tmp_path / "source", {str(n): "0" * 900_000 for n in range(3)}))
    bomb = keep_bytes(context, "bomb.tar.gz", archive(("zeros", bytes(4_000_000))))
    for name, most in (("MOST_FILES", 2), ("MOST_BYTES", 1_000_000)):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, most)
            patch.setattr(projects, name, most)
            for one in (kept,) if name == "MOST_FILES" else (kept, bomb):
                with pytest.raises(CallFailed) as refused:
                    unpacked(context, one, tmp_path / f"{name}-{one.name}")
                assert refused.value.kind == "target_too_large"
            with pytest.raises(CallFailed) as refused:
                packed(tmp_path / "source")
            assert refused.value.kind == "target_too_large"


def test_another_content_than_was_said_is_refused(tmp_path: Path) -> None:
    context = stored_context(tmp_path / "store")
    kept = kept_project(context, written(tmp_path / "source", FILES))
    for changed in (renamed(kept, sha256="0" * 64), renamed(kept, size=kept.size - 1), renamed(kept, size=10**12)):
        with pytest.raises(CallFailed) as refused:
            unpacked(context, changed, tmp_path / f"folder-{changed.size}-{changed.sha256[:2]}")
        assert not refused.value.transient
    for uri in ((tmp_path / "source/b.txt").as_uri(), f"file://{tmp_path}/store/t-1/1/gone.tar.gz"):
        with pytest.raises(CallFailed) as absent:
            fetched(context, renamed(kept, uri=uri))
        assert (absent.value.kind, absent.value.transient) == ("artifact_missing", True)


@pytest.mark.parametrize("kind", ["link", "link to a folder", "pipe", "git"])
def test_what_is_no_plain_file_is_never_packed(tmp_path: Path, kind: str) -> None:
    folder = written(tmp_path / "source", FILES)
    place = folder / "a" / "thing"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "git":
        (folder / "a" / ".git").mkdir()
    else:
        place.symlink_to("/etc/passwd" if kind == "link" else "/etc")
    with pytest.raises(CallFailed) as refused:
        packed(folder)
    assert refused.value.kind == "bad_project"


def test_without_a_store_nothing_is_kept_or_fetched(tmp_path: Path) -> None:
    context = stored_context(tmp_path / "store")
    kept = keep_bytes(context, "a/b.txt", b"content")
    assert fetched(context, kept) == b"content"
    assert [path.name for path in (tmp_path / "store").rglob("*.txt")] == ["b.txt"]
    bare = replace(context, keep=None, fetch=None)
    for call in (lambda: keep_bytes(bare, "a", b""), lambda: fetched(bare, kept)):
        with pytest.raises(CallFailed) as refused:
            call()
        assert refused.value.kind == "not_configured"
