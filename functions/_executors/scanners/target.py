"""The target of a scan: files of the plan, of earlier tasks and of the owner's folder, laid into one folder.

Nothing is read through a link, nothing leads out of where it belongs, and all together have a bound. What is laid
there is plain files alone; the folder `.git` is left out.
"""

import gzip
import io
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, cast
from urllib.parse import unquote, urlsplit

from functions._core.executors.scan import ArtifactReference, ScanTarget
from functions._executors.kept_files import Fetch
from functions._executors.stored_files import StoreFailed
from functions._executors.work_folder import remove_folder

MOST_FILES = 5_000
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of all files of a target."""

MOST_LOOKED_AT = 100_000
"""Entries of folders and archives that are looked at."""

CHUNK = 256 * 1024
ARCHIVES = (".tar", ".tar.gz", ".tgz")
LEFT_OUT = frozenset({".git"})

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TargetRefused(Exception):
    """The target cannot be looked at; `kind` is that of the failure of the task."""

    def __init__(self, message: str, kind: str = "bad_target", *, retryable: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable


class TargetFolder:
    """Takes in files up to the bounds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[str] = []
        self._left = MOST_BYTES

    def add(self, path: str, source: IO[bytes], mode: int = 0o644) -> None:
        """Write one file; raise `TargetRefused` for a path that leads out, and beyond the bounds.

        Of its mode, whether it is a program counts alone.
        """
        name = _safe(path)
        if len(self.files) >= MOST_FILES:
            raise TargetRefused(f"the target has more than {MOST_FILES} files", "target_too_large")
        place = self.folder / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as written:
                while data := source.read(CHUNK):
                    self._left -= len(data)
                    if self._left < 0:
                        raise TargetRefused(f"the target has more than {MOST_BYTES} bytes", "target_too_large")
                    written.write(data)
                if mode & 0o100:
                    os.fchmod(written.fileno(), 0o755)
        except OSError as error:
            raise TargetRefused(f"{name[:200]} cannot be laid down: {error.strerror}") from error
        self.files.append(name)


def laid_out(
    target: ScanTarget | None, folder: Path, *, work: Path, owned: Path | None, fetch: Fetch | None = None
) -> Sequence[str]:
    """Lay a target into `folder`, which it makes, and return the paths of all files; raise `TargetRefused`.

    `work` is the folder of all jobs, where artifacts are, unless they are in the store that `fetch` reads; `owned` is
    the owner's folder.
    """
    folder.mkdir(parents=True, mode=0o700)
    laid = TargetFolder(folder)
    if target is None:
        return ()
    for path, text in target.files.items():
        laid.add(path, io.BytesIO(text.encode(errors="replace")))
    for artifact in target.artifacts:
        _add_artifact(laid, artifact, work, fetch)
    if target.folder is not None:
        if owned is None:
            text = "the worker's owner has no folder for targets (WORKER_SCAN_FOLDER)"
            raise TargetRefused(text, "not_configured")
        _add_folder(laid, owned, target.folder)
    if not laid.files:
        raise TargetRefused("the target has no files")
    return sorted(laid.files)


def copied(target: Path, files: Sequence[str], folder: Path, without: frozenset[str] = frozenset()) -> None:
    """Copy the files of a target for one tool, without those of the names `without`, which say what it is to do.

    The folder above `folder` is that of the tool: what an earlier attempt may have left there is removed.
    """
    remove_folder(folder.parent)
    folder.mkdir(parents=True)
    for name in files:
        if PurePosixPath(name).name in without:
            continue
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target / name, place, follow_symlinks=False)


def _safe(path: str) -> str:
    """Return a path below the target as its parts say; raise `TargetRefused` for one that leads out."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path or "\\" in path:
        raise TargetRefused(f"the path {path[:200]!r} leads out of the target")
    return str(pure)


def _add_artifact(laid: TargetFolder, artifact: ArtifactReference, work: Path, fetch: Fetch | None) -> None:
    path = Path(unquote(urlsplit(artifact.uri).path))
    name, base = artifact.name or path.name, work.resolve()
    if artifact.uri.startswith("file:") and path.is_relative_to(base) and ".." not in path.parts:
        with _left_by_job(base, path) as source:
            _take_in(laid, artifact, name, source)
    elif fetch is not None:
        with TemporaryFile(dir=laid.folder.parent) as source:
            _fetch(fetch, artifact.uri, source)
            _take_in(laid, artifact, name, source)
    else:
        raise TargetRefused("an artifact is no file of a job of this worker")


def _take_in(laid: TargetFolder, artifact: ArtifactReference, name: str, source: IO[bytes]) -> None:
    if _hash(source) != artifact.sha256:
        raise TargetRefused("an artifact has another content than its task has said", "artifact_changed")
    source.seek(0)
    if name.endswith(ARCHIVES):
        unpack(laid, source, name)
    else:
        laid.add(name, source)


def _left_by_job(base: Path, path: Path) -> IO[bytes]:
    """Open a file in the folder of a job."""
    try:
        descriptor = _opened(base, path.relative_to(base).parts)
    except OSError as error:
        text = "an artifact is not here: it is removed, or on the machine of another worker"
        raise TargetRefused(text, "artifact_missing", retryable=True) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TargetRefused("an artifact is no file")
    return os.fdopen(descriptor, "rb")


def _fetch(fetch: Fetch, uri: str, copy: IO[bytes]) -> None:
    """Copy a file of the worker's store."""
    left = MOST_BYTES
    try:
        for data in fetch(uri):
            left -= len(data)
            if left < 0:
                break
            copy.write(data)
    except StoreFailed as error:
        raise TargetRefused(f"an artifact cannot be fetched: {error}", "artifact_missing", retryable=True) from error
    if left < 0:
        raise TargetRefused(f"an artifact has more than {MOST_BYTES} bytes", "target_too_large")
    copy.seek(0)


def _hash(source: IO[bytes]) -> str:
    digest, left = sha256(), MOST_BYTES
    while data := source.read(CHUNK):
        left -= len(data)
        if left < 0:
            raise TargetRefused(f"an artifact has more than {MOST_BYTES} bytes", "target_too_large")
        digest.update(data)
    return digest.hexdigest()


class _Counted(io.RawIOBase):
    """What is unpacked, up to a bound, whatever a header says of its size."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._left = 2 * MOST_BYTES

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._left:
            raise TargetRefused("an archive unpacks to more than a target may have", "target_too_large")
        data = self._source.read(size)
        self._left -= len(data)
        return data


def unpack(laid: TargetFolder, source: IO[bytes], name: str, *, strict: bool = False) -> None:
    """Take in the plain files of a tape archive; raise `TargetRefused`.

    Links, devices, the like and `.git` are left out; with `strict` an archive that has them is refused.
    """
    plain = source if name.endswith(".tar") else cast("IO[bytes]", gzip.GzipFile(fileobj=source))
    looked_at = 0
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Counted(plain)), mode="r|") as archive:
            for member in archive:
                looked_at += 1
                if looked_at > MOST_LOOKED_AT:
                    raise TargetRefused(f"an archive has more than {MOST_LOOKED_AT} entries", "target_too_large")
                taken = member.isreg() and LEFT_OUT.isdisjoint(PurePosixPath(member.name.lower()).parts)
                content = archive.extractfile(member) if taken else None
                if content is not None:
                    laid.add(member.name, content, member.mode)
                elif strict and not member.isdir():
                    raise TargetRefused(f"{name} has {member.name[:200]!r}, which is a link, a device or of git")
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise TargetRefused(f"{name[:200]} is no archive that can be unpacked") from error


def _add_folder(laid: TargetFolder, owned: Path, folder: str) -> None:
    try:
        descriptor = _opened(owned.resolve(), PurePosixPath(folder).parts, os.O_DIRECTORY)
    except OSError as error:
        raise TargetRefused("the folder is not there, or leads through a link") from error
    try:
        for path, file in _files_in(descriptor):
            with closing(file):
                laid.add(path, file)
    finally:
        os.close(descriptor)


def _files_in(descriptor: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield path and content of each plain file below an open folder; the caller closes the files."""
    looked_at = 0
    for place, folders, names, parent in os.fwalk(".", dir_fd=descriptor, follow_symlinks=False):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        looked_at += len(names) + len(folders)
        if looked_at > MOST_LOOKED_AT:
            raise TargetRefused(f"the folder has more than {MOST_LOOKED_AT} entries", "target_too_large")
        for name in sorted(names):
            try:
                opened = os.open(name, FLAGS, dir_fd=parent)
            except OSError:  # a link, or gone
                continue
            if stat.S_ISREG(os.fstat(opened).st_mode):
                yield str(PurePosixPath(place) / name), os.fdopen(opened, "rb")
            else:
                os.close(opened)


def _opened(base: Path, parts: Sequence[str], kind: int = 0) -> int:
    """Open what is below a folder, none of its parts a link; raise `OSError`."""
    current = os.open(base, FLAGS | os.O_DIRECTORY)
    try:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            inner = os.open(part, FLAGS | (kind if last else os.O_DIRECTORY), dir_fd=current)
            os.close(current)
            current = inner
    except OSError:
        os.close(current)
        raise
    return current
