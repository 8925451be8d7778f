"""Plans that wait for a task that applies them: files by their hash, in the worker's folder, for a week.

A plan holds the values of variables and of resources, so it never leaves the machine, or the volume that workers share.
"""

import json
import os
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from functions._core.records.values import JsonObject
from functions._executors.port import CallFailed

APPLIED = ".applied"
"""Suffix of the file that takes the place of a plan that was applied."""

KEPT_SECONDS = 7 * 24 * 3600
MOST_BYTES = 256 * 1024 * 1024
"""Bytes of a plan."""

CONFIGURATION_FILES = 5_000
CONFIGURATION_BYTES = 64 * 1024 * 1024
"""Files of a configuration, and bytes of all of them, that are hashed."""

NOT_HASHED = frozenset({".git", ".terraform", "__pycache__"})
"""Folders that tools make and that are no part of a configuration."""


def keep_plan(folder: Path, made: Path) -> str:
    """Keep a plan that was made in the folder of a job, and return its hash; raise `CallFailed`, `OSError`."""
    plans = folder.resolve() / "plans"
    plans.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in plans.iterdir():
        with suppress(FileNotFoundError):  # another worker was faster
            if old.stat().st_mtime < time.time() - KEPT_SECONDS:
                old.unlink()
    content = _read(made)
    digest = sha256(content).hexdigest()
    kept = plans / digest
    if not kept.exists():
        new = kept.with_suffix(f".{os.getpid()}")
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.replace(kept)
    return digest


def take_plan(folder: Path, digest: str, target: Path) -> None:
    """Put a plan that is kept into the folder of a job; raise `CallFailed` where it is not there, or is another one."""
    kept = folder.resolve() / "plans" / digest
    try:
        content = _read(kept)
    except OSError as error:
        text = "this worker does not have the plan: another worker has made it, or a week has passed"
        raise CallFailed(text, transient=False, kind="no_plan") from error
    if sha256(content).hexdigest() != digest:
        raise CallFailed("the plan is not the one that was shown", transient=False, kind="another_plan")
    target.touch(mode=0o600)
    target.write_bytes(content)


def mark_applied(folder: Path, digest: str, key: str, outputs: JsonObject) -> None:
    """Say instead of a plan that the job of a key has applied it; its worker may die before it has reported that."""
    kept = folder.resolve() / "plans" / digest
    new = kept.with_suffix(f".{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(json.dumps({"key": key, "outputs": dict(outputs)}), encoding="utf-8")
    new.replace(kept.with_suffix(APPLIED))
    kept.unlink(missing_ok=True)


def applied(folder: Path, digest: str, key: str) -> JsonObject | None:
    """Return the outputs of the job of a key that has applied a plan, None where none has.

    Raises `CallFailed` where another one has.
    """
    try:
        said = json.loads(_read((folder.resolve() / "plans" / digest).with_suffix(APPLIED)))
    except (OSError, ValueError):
        return None
    if said.get("key") != key:
        raise CallFailed("the plan was applied already", transient=False, kind="plan_applied")
    outputs: JsonObject = said["outputs"]
    return outputs


def hash_of_folder(folder: Path) -> str:
    """Return the hash of names and contents of the files of a configuration; raise `CallFailed` for too many."""
    digest, files, size = sha256(), 0, 0
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - NOT_HASHED)
        for name in sorted(names):
            file = Path(path) / name
            if not file.is_file() or ".tfstate" in name:
                continue
            files, size = files + 1, size + file.stat().st_size
            if files > CONFIGURATION_FILES or size > CONFIGURATION_BYTES:
                text = f"the project has more than {CONFIGURATION_FILES} files or {CONFIGURATION_BYTES} bytes"
                raise CallFailed(text, transient=False, kind="project_too_large")
            inside = file.relative_to(folder).as_posix()
            digest.update(f"{len(inside)}:{inside}:{file.stat().st_size}:".encode(errors="surrogateescape"))
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(file: Path) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise CallFailed(f"the plan has more than {MOST_BYTES} bytes", transient=False, kind="plan_too_large")
    return content
