"""Files that go from task to task by the worker's store, named by what they are: their size and their hash."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import IO

from functions._core.executors.execute import KeptFile
from functions._executors.stored_files import StoredFile

CHUNK = 1024 * 1024

Keep = Callable[[str], StoredFile]
"""See `JobContext.keep`."""

Fetch = Callable[[str], Iterator[bytes]]
"""See `JobContext.fetch`."""


def keep_file(keep: Keep, name: str, source: IO[bytes]) -> KeptFile:
    """Keep a file, where a former one of the same attempt and name is replaced; raise `StoreFailed`. It blocks."""
    digest, size = sha256(), 0
    file = keep(name)
    try:
        while data := source.read(CHUNK):
            digest.update(data)
            size += len(data)
            file.write(data)
        file.close()
    except BaseException:
        file.discard()
        raise
    return KeptFile(name=name, size=size, sha256=digest.hexdigest(), uri=file.uri)


def take_file(fetch: Fetch, kept: KeptFile, copy: IO[bytes]) -> bool:
    """Copy a file that was kept; return whether it is the one that was named. Raises `StoreFailed`. It blocks."""
    digest, left = sha256(), kept.size
    for data in fetch(kept.uri):
        left -= len(data)
        if left < 0:
            return False
        digest.update(data)
        copy.write(data)
    return not left and digest.hexdigest() == kept.sha256
