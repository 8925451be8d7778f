"""Files with a key: made once, whole, and readable by their owner alone."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def load_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return the content of the file `path`, which is made when it is not there.

    Of several processes that make it at the same time one wins, and all get its content. Raises `OSError` when it
    cannot be read or made.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, make())
    return path.read_bytes()


def _create(path: Path, content: bytes) -> None:
    """Let `path` appear with its whole content, unless it has appeared in the meantime."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
