"""Files that a job has made: found by patterns below its folder, hashed, and never read through a link."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from functions._core.executors.execute import Artifact, KeptFile
from functions._executors.kept_files import Fetch, Keep, take_file
from functions._executors.patterns import fits, fitting
from functions._executors.stored_files import StoredFile, StoreFailed
from functions._executors.work_folder import DEEPEST, depth_of

MOST_FILES = 100
MOST_LOOKED_AT = 100_000
"""Entries of a folder that are looked at: a job may make any number of files."""

MOST_BYTES = 1024 * 1024 * 1024
"""Bytes of all artifacts of a job."""

CHUNK = 1024 * 1024


class ArtifactsRefused(ValueError):
    """What a job has made is not what was asked for, or is too much."""


def artifacts_in(folder: Path, patterns: Sequence[str], keep: Keep | None = None) -> tuple[Artifact, ...]:
    """Return the files below `folder` that fit a pattern; raise `ArtifactsRefused`, or `StoreFailed`.

    Neither folders nor files are followed where they are links: a job could name what is not its own. With `keep` they
    are copied to where it says, and named there; what is hashed is what is copied.
    """
    found: dict[str, Artifact] = {}
    missing = set(patterns)
    left = MOST_BYTES
    for name, descriptor, size in files_in(folder, patterns):
        try:
            missing -= {pattern for pattern in patterns if fitting(pattern).fullmatch(name)}
            left -= size
            if left < 0 or len(found) >= MOST_FILES:
                raise ArtifactsRefused(f"the artifacts are more than {MOST_FILES} files or {MOST_BYTES} bytes")
            file = None if keep is None else keep(f"artifacts/{name}")
            uri = (folder / name).as_uri() if file is None else file.uri
            found[name] = Artifact(name=name, size=size, sha256=_hash(descriptor, size, file), uri=uri)
        finally:
            os.close(descriptor)
    if missing:
        raise ArtifactsRefused(f"no file fits {', '.join(sorted(missing))}")
    return tuple(found[name] for name in sorted(found))


def put_files(files: Mapping[str, KeptFile], folder: Path, fetch: Fetch | None) -> None:
    """Write files of the store below a new folder; raise `ArtifactsRefused`, or `StoreFailed`."""
    if files and fetch is None:
        raise StoreFailed("the worker's owner names no store (WORKER_LOGS)")
    if sum(kept.size for kept in files.values()) > MOST_BYTES:
        raise ArtifactsRefused(f"the files are more than {MOST_BYTES} bytes")
    for name, kept in files.items():
        assert fetch is not None  # noqa: S101 - see above
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            named = take_file(fetch, kept, file)
        if not named:
            raise ArtifactsRefused(f"the file for {name} is not the one that was named: it has another size or hash")


def files_in(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield name, descriptor, which the caller closes, and size of each plain file that fits a pattern."""
    looked_at = 0
    for path, folders, names, parent in os.fwalk(folder, follow_symlinks=False):
        looked_at += len(names) + len(folders)
        if looked_at > MOST_LOOKED_AT:
            raise ArtifactsRefused(f"the folder has more than {MOST_LOOKED_AT} entries")
        if depth_of(path, folder) > DEEPEST:
            raise ArtifactsRefused(f"folders are nested more than {DEEPEST} deep")
        for name in names:
            whole = (Path(path) / name).relative_to(folder).as_posix()
            if not fits(whole, patterns):
                continue
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except OSError as error:
                raise ArtifactsRefused(f"{whole} cannot be read, or is a link") from error
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
                os.close(descriptor)
                raise ArtifactsRefused(f"{whole} is no file of its own")
            yield whole, descriptor, about.st_size


def _hash(descriptor: int, size: int, copy: StoredFile | None) -> str:
    """Return the hash of `size` bytes at most, and copy them: a file that grows while it is read is not followed."""
    digest = sha256()
    left = size
    try:
        while left > 0 and (data := os.read(descriptor, min(CHUNK, left))):
            digest.update(data)
            left -= len(data)
            if copy is not None:
                copy.write(data)
        if copy is not None:
            copy.close()
    except (StoreFailed, OSError):
        if copy is not None:
            copy.discard()
        raise
    return digest.hexdigest()
