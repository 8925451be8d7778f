"""The folder of a job: new for each attempt at a ticket, of the worker alone, and removed with all that is in it."""

import asyncio
import os
import re
import shutil
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from functions._executors.port import CallFailed, JobContext

DEEPEST = 100
"""Folders within each other that are walked through at once: a walk needs a file descriptor for each."""

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""The id of a ticket that is the name of a folder, too; another one is hashed: it comes over the network."""


def folder_for(base: Path, ticket_id: str, attempt: int) -> Path:
    """Return a new, empty folder; raise `OSError`.

    Nobody but the worker may enter the folder around it.
    """
    base = base.resolve()
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = base / f"{safe_name(ticket_id)}-{attempt}"
    remove_folder(folder)
    folder.mkdir(mode=0o700)
    return folder


async def new_folder(base: Path, context: JobContext[Any]) -> Path:
    """Return the folder of a job; raise `CallFailed`."""
    try:
        return await asyncio.to_thread(folder_for, base, context.ticket_id, context.attempt)
    except OSError as error:
        raise CallFailed(f"no folder for the job: {error.strerror}", kind="no_folder") from error


def safe_name(ticket_id: str) -> str:
    """Return the name that files of a ticket have: its id where that is harmless, its hash otherwise."""
    return ticket_id if SAFE.fullmatch(ticket_id) else sha256(ticket_id.encode()).hexdigest()


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, also what its program has made read-only; links are not followed.

    Folders may be nested as deep as a program likes: those that are too deep to be walked to are moved beside it first.
    """
    left, moved = [folder], 0
    while left:
        one = left.pop()
        if one.is_symlink():
            one.unlink()
        if not one.exists():
            continue
        for path, folders, _, descriptor in os.fwalk(one, follow_symlinks=False, onerror=lambda _: None):
            with suppress(OSError):
                os.fchmod(descriptor, stat.S_IRWXU)
            if depth_of(path, one) < DEEPEST:
                continue
            for name in folders:
                moved += 1
                aside = folder.with_name(f"{folder.name}.deep{moved}")
                with suppress(OSError):
                    os.rename(name, aside, src_dir_fd=descriptor)
                    left.append(aside)
            folders.clear()
        shutil.rmtree(one, ignore_errors=True)


def depth_of(path: str | bytes, top: Path) -> int:
    """Return how deep a path that `os.fwalk` yields is below the top, which is 0."""
    return os.fsdecode(path)[len(str(top)) :].count("/")
