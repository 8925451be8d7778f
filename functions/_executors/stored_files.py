"""The port of stores for files of jobs that outlive them: whole logs, and artifacts (`file_store` has two of them).

Methods of stores block: whoever has an event loop calls them from a thread. A file of the same name replaces the former
one, as the same attempt may be begun again.
"""

from collections.abc import Iterator
from typing import Protocol


class StoreFailed(Exception):
    """A file could not be kept, or cannot be read; it says why."""


class StoredFile(Protocol):
    """A file that is being written."""

    @property
    def uri(self) -> str:
        """Where it is."""

    def write(self, data: bytes) -> None:
        """Add to it. Raises `StoreFailed`."""

    def close(self) -> None:
        """Make it whole. Raises `StoreFailed`."""

    def discard(self) -> None:
        """Let go of it, unfinished; never raises."""


class FileStore(Protocol):
    """Keeps files below one root."""

    def create(self, name: str) -> StoredFile:
        """Begin a file; its name is a relative path that leads nowhere else. Raises `StoreFailed`."""

    def uri(self, name: str) -> str:
        """Return where a file of that name is, or would be. Raises `StoreFailed`."""

    def read(self, uri: str) -> Iterator[bytes]:
        """Yield the content of a file of this store. Raises `StoreFailed`, also for one of another place."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Keep a small file at once, unless there is one by its name; return whether it was kept. Raises `StoreFailed`.

        Of several that do so at the same time, one does it, and nobody ever reads half of it.
        """

    def find(self, name: str, most: int) -> bytes | None:
        """Return the content of a file by its name, or None for no such file.

        Raises `StoreFailed`, also for one of more than `most` bytes.
        """

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of the files right below a folder, in any order. Raises `StoreFailed`."""

    def fault(self) -> str:
        """Return why no file could be kept, as far as can be seen without keeping one; empty for no reason."""
