"""Archives whose bytes depend on nothing but the files in them, and archives of others, read within bounds.

Paths are sorted, times are the first that a zip can say (1980) or 0, owners are 0. What other programs have packed is
read as files alone: a link, a device, a path that leads out, or too much of anything is refused.
"""

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from functions._executors.port import CallFailed
from functions._executors.scanners.target import MOST_BYTES, MOST_FILES
from functions._executors.work_folder import DEEPEST

MOST_LAYOUT = 1024 * 1024 * 1024
"""Bytes of the layout of an image, with the layers of its base."""

PROGRAM, PLAIN = 0o755, 0o644
FIRST = (1980, 1, 1, 0, 0, 0)
CHUNK = 1024 * 1024

DIRECTORY_BYTES = 2 * 1024 * 1024
"""Bytes of the list of files of a zip, of which each takes ten times as much in memory."""

LONGEST_PATH = 1_000
"""Characters of a path."""

PACKINGS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""How files are packed that are read; other ways unpack all that they stand for at once."""


class PackedFile(NamedTuple):
    """A file of an archive."""

    data: bytes
    mode: int = PLAIN


PackedFiles = Mapping[str, PackedFile]
"""Files by their paths."""


def files_below(folder: Path, names: Iterable[str], top: str = "") -> PackedFiles:
    """Return files of the worker's own folder, by their paths below `top` of it."""
    begin = f"{top}/" if top else ""
    return {
        name[len(begin) :]: PackedFile((folder / name).read_bytes(), _mode((folder / name).stat().st_mode))
        for name in names
        if name.startswith(begin)
    }


def zipped(files: PackedFiles) -> bytes:
    """Return a zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            about = zipfile.ZipInfo(name, FIRST)
            about.create_system, about.compress_type = 3, zipfile.ZIP_DEFLATED
            about.external_attr = (stat.S_IFREG | files[name].mode) << 16
            archive.writestr(about, files[name].data)
    return content.getvalue()


def tarred(files: PackedFiles) -> bytes:
    """Return a .tar, with the folders of the files."""
    content = io.BytesIO()
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in sorted(folders):
            about = tarfile.TarInfo(folder)
            about.type, about.mode = tarfile.DIRTYPE, PROGRAM
            archive.addfile(about)
        for name in sorted(files):
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(files[name].data), files[name].mode
            archive.addfile(about, io.BytesIO(files[name].data))
    return content.getvalue()


def compressed(data: bytes) -> bytes:
    """Return data in the format of gzip, which says no time and no name."""
    content = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=content, mtime=0) as zipping:
        zipping.write(data)
    return content.getvalue()


def write_layout(place: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write a .tar of files that need not fit into memory."""
    with tarfile.open(place, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            content = files[name]
            about = tarfile.TarInfo(name)
            about.mode = PLAIN
            if isinstance(content, bytes):
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
            else:
                about.size = content.stat().st_size
                with content.open("rb") as file:
                    archive.addfile(about, file)


class _InPieces(io.RawIOBase):
    """A zip of which no read takes more than the list of its files may have: a longer list is cut, and refused."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def read(self, size: int = -1) -> bytes:
        return self._source.read(DIRECTORY_BYTES if size < 0 else min(size, DIRECTORY_BYTES))

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(place, whence)

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True


def in_zip(source: IO[bytes], what: str) -> PackedFiles:
    """Return the files of a zip that others made; raise `CallFailed`."""
    found: dict[str, PackedFile] = {}
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(cast("IO[bytes]", _InPieces(source))) as archive:
            for member in _few(archive.infolist(), what):
                kind = stat.S_IFMT(member.external_attr >> 16)
                if member.is_dir():
                    continue
                if kind not in {0, stat.S_IFREG} or member.flag_bits & 1 or member.compress_type not in PACKINGS:
                    raise _refused(what, member.filename)
                with archive.open(member) as content:
                    data = content.read(left + 1)
                left -= len(data)
                _add(found, member.filename, PackedFile(data, _mode(member.external_attr >> 16)), left, what)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _unreadable(what) from error
    return found


def in_tar(source: IO[bytes], what: str) -> PackedFiles:
    """Return the files of a .tar.gz that others made; raise `CallFailed`."""
    found: dict[str, PackedFile] = {}
    left = MOST_BYTES
    try:
        whole = gzip.GzipFile(fileobj=source).read(2 * MOST_BYTES)
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive:
            for number, member in enumerate(archive):
                if number >= MOST_FILES:
                    raise _too_much(what)
                if member.isdir():
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    raise _refused(what, member.name)
                data = content.read(left + 1)
                left -= len(data)
                _add(found, member.name, PackedFile(data, _mode(member.mode)), left, what)
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, RecursionError) as error:
        raise _unreadable(what) from error
    return found


def _few(members: list[zipfile.ZipInfo], what: str) -> list[zipfile.ZipInfo]:
    if len(members) > MOST_FILES:
        raise _too_much(what)
    return members


def _add(found: dict[str, PackedFile], name: str, file: PackedFile, left: int, what: str) -> None:
    """Take a file in; one that is there twice would be another one for another reader."""
    if left < 0:
        raise _too_much(what)
    if len(name) > LONGEST_PATH or name.count("/") > DEEPEST:  # an archive has each folder above a file
        raise CallFailed(f"{what} has a path that is too long or too deep", transient=False, kind="bad_package")
    parts = name.split("/")
    if name in found or name.startswith("/") or {"", ".", ".."} & {*parts} or "\\" in name or "\0" in name:
        raise _refused(what, name)
    found[name] = file


def _mode(mode: int) -> int:
    return PROGRAM if mode & stat.S_IXUSR else PLAIN


def _too_much(what: str) -> CallFailed:
    text = f"{what} has more than {MOST_FILES} files or {MOST_BYTES} bytes"
    return CallFailed(text, transient=False, kind="package_too_large")


def _refused(what: str, name: str) -> CallFailed:
    text = f"{what} has {name[:200]!r}, which is there twice, is no plain file, or leads out"
    return CallFailed(text, transient=False, kind="bad_package")


def _unreadable(what: str) -> CallFailed:
    return CallFailed(f"{what} is no archive that can be read", transient=False, kind="bad_package")
