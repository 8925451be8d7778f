"""Files that a job has made: found by patterns below its folder, hashed, and never read through a link."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import re2  # type: ignore[import-untyped]

from functions._core.executors.execute import Artifact

MOST_FILES = 100
MOST_LOOKED_AT = 100_000
"""Entries of a folder that are looked at: a job may make any number of files."""

MOST_BYTES = 1024 * 1024 * 1024
"""Bytes of all artifacts of a job."""

CHUNK = 1024 * 1024


class ArtifactsRefused(ValueError):
    """What a job has made is not what was asked for, or is too much."""


def artifacts_in(folder: Path, patterns: Sequence[str]) -> tuple[Artifact, ...]:
    """Return the files below `folder` that fit a pattern; raise `ArtifactsRefused`.

    Neither folders nor files are followed where they are links: a job could name what is not its own.
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
            found[name] = Artifact(name=name, size=size, sha256=_hash(descriptor, size), uri=(folder / name).as_uri())
        finally:
            os.close(descriptor)
    if missing:
        raise ArtifactsRefused(f"no file fits {', '.join(sorted(missing))}")
    return tuple(found[name] for name in sorted(found))


def files_in(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Yield name, descriptor, which the caller closes, and size of each plain file that fits a pattern."""
    looked_at = 0
    for path, folders, names, parent in os.fwalk(folder, follow_symlinks=False):
        looked_at += len(names) + len(folders)
        if looked_at > MOST_LOOKED_AT:
            raise ArtifactsRefused(f"the folder has more than {MOST_LOOKED_AT} entries")
        for name in names:
            whole = (Path(path) / name).relative_to(folder).as_posix()
            if not any(fitting(pattern).fullmatch(whole) for pattern in patterns):
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


def _hash(descriptor: int, size: int) -> str:
    """Return the hash of `size` bytes at most: a file that grows while it is read is not followed."""
    digest = sha256()
    left = size
    while left > 0 and (data := os.read(descriptor, min(CHUNK, left))):
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


@lru_cache(maxsize=256)
def fitting(pattern: str) -> Any:  # noqa: ANN401 - its author publishes no types
    """Return a pattern as an expression, which takes linear time, whoever wrote it.

    `*` and `?` stand for parts of a name, `**/` for any folders.
    """
    text = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*").replace(r"\*\*", ".*")
    return re2.compile(text.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))
