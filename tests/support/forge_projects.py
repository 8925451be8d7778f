"""Projects of the code forge in a store of their own: contexts that keep and fetch, and hostile archives."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from functions._core.executors.execute import KeptFile
from functions._core.executors.parameters import ExecutorParameters
from functions._executors.file_store import FolderStore
from functions._executors.forge.projects import PROJECT, keep_bytes, packed
from functions._executors.port import JobContext


def stored_context(folder: Path, **about: Any) -> JobContext[Any]:
    """Return the context of a job whose worker has a store in a folder."""
    store = FolderStore(folder)
    given = {"parameters": ExecutorParameters(), "ticket_id": "t-1", "attempt": 1, "idempotency_key": "key-1", **about}
    return JobContext(keep=lambda name: store.create(f"t-1/1/{name}"), fetch=store.read, **given)


def written(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder, and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def kept_project(context: JobContext[Any], folder: Path) -> KeptFile:
    """Keep a folder as the stages do."""
    return keep_bytes(context, PROJECT, packed(folder))


def archive(*members: tarfile.TarInfo | tuple[str, bytes], compressed: bool = True) -> bytes:
    """Return a tape archive with whatever members, as a hostile one has them."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tape:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tape.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tape.addfile(info, io.BytesIO(member[1]))
    return gzip.compress(content.getvalue()) if compressed else content.getvalue()


def renamed(kept: KeptFile, **changes: Any) -> KeptFile:
    """Return a file of the store of which something else is said."""
    return KeptFile.model_validate({**kept.model_dump(), **changes})


def hash_of(data: bytes) -> str:
    """Return the hash as records have it."""
    return sha256(data).hexdigest()
