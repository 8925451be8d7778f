"""Projects of the code forge, as its stages hand them on: a .tar.gz in the worker's store, and a folder for a stage.

A project has plain files alone, within the bounds of the targets of scans: no links, no devices, no repository of git,
whose configuration would name programs. All functions block: call them in a thread. They raise `CallFailed`.
"""

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from functions._core.executors.execute import KeptFile
from functions._executors.kept_files import keep_file, take_file
from functions._executors.port import CallFailed, JobContext
from functions._executors.scanners.target import (
    FLAGS,
    LEFT_OUT,
    MOST_BYTES,
    MOST_FILES,
    TargetFolder,
    TargetRefused,
    unpack,
)
from functions._executors.stored_files import StoreFailed
from functions._executors.work_folder import DEEPEST, depth_of

PROJECT = "project.tar.gz"
"""What a project is called where nothing else names it."""

KIND = "bad_project"
"""The kind of a failure for a project that is none."""


def unpacked(context: JobContext[Any], kept: KeptFile, folder: Path) -> Sequence[str]:
    """Unpack a project of the store into a new folder; return the paths of its files, sorted.

    Modes are 0644, and 0755 for programs. A project of other content than `kept` says is refused, and so is one with
    links, other things than files and folders, paths that lead out, or anything below `.git`.
    """
    with TemporaryFile(dir=folder.parent) as source:
        _fetch(context, kept, source, MOST_BYTES)
        source.seek(0)
        try:
            folder.mkdir(mode=0o700)
            laid = TargetFolder(folder)
            unpack(laid, source, PROJECT, strict=True)
        except OSError as error:
            raise CallFailed(f"no folder for the project: {error.strerror}", kind="no_folder") from error
        except TargetRefused as refused:
            kind = KIND if refused.kind == "bad_target" else refused.kind
            raise CallFailed(str(refused), transient=False, kind=kind) from refused
    if not laid.files:
        raise CallFailed("the project has no files", transient=False, kind=KIND)
    return sorted(laid.files)


def packed(folder: Path) -> bytes:
    """Return a folder as a .tar.gz whose bytes depend on its files and zlib alone: paths sorted, times and owners 0.

    Empty folders are left out. A link, a special file and anything of git are refused, and so is what is beyond the
    bounds of a project.
    """
    content = io.BytesIO()
    left = MOST_BYTES
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=content, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for number, (name, file, about) in enumerate(_files_of(folder)):
            with file:
                left -= about.st_size
                if left < 0 or number >= MOST_FILES:
                    text = f"the project has more than {MOST_FILES} files or {MOST_BYTES} bytes"
                    raise CallFailed(text, transient=False, kind="target_too_large")
                member = tarfile.TarInfo(name)
                member.size = about.st_size
                member.mode = 0o755 if about.st_mode & stat.S_IXUSR else 0o644
                try:
                    archive.addfile(member, file)
                except OSError as error:
                    raise CallFailed(f"{name[:200]} cannot be read", transient=False, kind=KIND) from error
    return content.getvalue()


def keep_bytes(context: JobContext[Any], name: str, data: bytes) -> KeptFile:
    """Keep a file in the worker's store, where a former one of the same attempt and name is replaced."""
    if context.keep is None:
        text = "the worker's owner names no store (WORKER_LOGS)"
        raise CallFailed(text, transient=False, kind="not_configured")
    try:
        return keep_file(context.keep, name, io.BytesIO(data))
    except StoreFailed as error:
        raise CallFailed(f"a file cannot be kept: {error}", kind="artifacts_not_kept") from error


def fetched(context: JobContext[Any], kept: KeptFile, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file of the store, which has `most` bytes at most and is what `kept` says."""
    content = io.BytesIO()
    _fetch(context, kept, content, most)
    return content.getvalue()


def _fetch(context: JobContext[Any], kept: KeptFile, copy: IO[bytes], most: int) -> None:
    if context.fetch is None:
        text = "the worker's owner names no store (WORKER_LOGS)"
        raise CallFailed(text, transient=False, kind="not_configured")
    if kept.size > most:
        raise CallFailed(f"a file has more than {most} bytes", transient=False, kind="target_too_large")
    try:
        named = take_file(context.fetch, kept, copy)
    except StoreFailed as error:
        raise CallFailed(f"a file cannot be fetched: {error}", kind="artifact_missing") from error
    if not named:
        text = "a file has another content than its task has said"
        raise CallFailed(text, transient=False, kind="artifact_changed")


def _files_of(folder: Path) -> Iterator[tuple[str, IO[bytes], os.stat_result]]:
    """Yield path, content and state of each file below a folder, sorted by paths; the caller closes the files."""
    names: list[str] = []
    for place, folders, files in os.walk(folder):
        if depth_of(place, folder) > DEEPEST:
            raise CallFailed(f"folders are nested more than {DEEPEST} deep", transient=False, kind=KIND)
        entries = [(Path(place) / name).relative_to(folder) for name in (*folders, *files)]
        for entry in entries:
            if (folder / entry).is_symlink() or entry.name.lower() in LEFT_OUT:
                raise _refused(str(entry))
        names += [entry.as_posix() for entry in entries[len(folders) :]]
    for name in sorted(names):
        try:
            descriptor = os.open(folder / name, FLAGS)
            file = os.fdopen(descriptor, "rb")
        except OSError as error:
            raise _refused(name) from error
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            file.close()
            raise _refused(name)
        yield name, file, about


def _refused(name: str) -> CallFailed:
    text = f"the project has {name[:200]!r}, which is a link, no plain file, or of git"
    return CallFailed(text, transient=False, kind=KIND)
