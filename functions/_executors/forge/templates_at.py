"""Folders of templates: those that Flow C brings, and those of the worker's owner (WORKER_TEMPLATES).

A template is copied to the folder of a job before anything else is done with it: plain files alone, within bounds,
nothing through a link. All functions block, and raise `CallFailed`.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from functions._core.errors import Rejected
from functions._core.forge.questions import questions_schema
from functions._core.records.yaml_text import parse_documents
from functions._executors.port import CallFailed
from functions._executors.scanners.target import FLAGS, TargetFolder, TargetRefused
from functions._executors.settings import PREFIX, ExecutorSettings

SHIPPED = Path(__file__).with_name("templates")
"""Where the templates are that Flow C brings."""

MOST_FILES, MOST_BYTES = 1_000, 8 * 1024 * 1024
"""What a template has at most."""

CONFIG_BYTES, CONFIG_PARTS, DOCUMENTS = 64 * 1024, 20_000, 10
"""Bytes, values and documents of a copier.yml."""

LEFT_OUT = frozenset({".git", "__pycache__", ".DS_Store"})
"""What is no part of a template: an installer of packages makes some of it."""

NO_TEMPLATE = "bad_template"


def owned_folders(settings: ExecutorSettings) -> Sequence[Path]:
    """Return the folders below which the worker's owner has templates."""
    named = settings.environment.get(f"{PREFIX}TEMPLATES", "")
    return tuple(Path(one.strip()) for one in named.split(",") if one.strip())


def folder_of(bases: Sequence[Path], name: str) -> Path:
    """Return a folder below those that are given, wherever links lead."""
    for base in map(Path.resolve, bases):
        try:
            folder = (base / name).resolve()
        except (OSError, ValueError):
            continue
        if folder != base and folder.is_relative_to(base) and folder.is_dir():
            return folder
    raise CallFailed(f"there is no such folder of templates: {name[:100]!r}", transient=False, kind="no_template")


def copy_template(source: Path, target: Path) -> None:
    """Copy a template into a new folder; links and special files are refused."""
    target.mkdir(mode=0o700)
    laid = TargetFolder(target)
    left = MOST_BYTES
    for place, folders, names in os.walk(source):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        for name in (*folders, *sorted(set(names) - LEFT_OUT)):
            path = Path(place) / name
            where = path.relative_to(source).as_posix()
            if path.is_symlink():
                raise bad(f"the template has a link: {where[:200]}")
            if name in folders or name.endswith((".pyc", ".pyo")):
                continue
            left = _add(laid, path, where, left)
    if not laid.files:
        raise bad("the template has no files")


def check_bounds(files: int, size: int) -> None:
    """Raise for a template of more files or bytes than one may have."""
    if files > MOST_FILES or size > MOST_BYTES:
        raise bad(f"the template has more than {MOST_FILES} files or {MOST_BYTES} bytes")


def questions_in(folder: Path) -> dict[str, object]:
    """Return what the template in a folder asks for, as JSON Schema."""
    found = [path for path in folder.iterdir() if path.name.lower() in {"copier.yml", "copier.yaml"}]
    if len(found) != 1 or found[0].is_symlink() or not found[0].is_file():
        raise bad("the template has no copier.yml, or several")
    if found[0].stat().st_size > CONFIG_BYTES:
        raise bad(f"the template has a copier.yml of more than {CONFIG_BYTES} bytes")
    try:
        documents = parse_documents(found[0].read_bytes(), at_most=DOCUMENTS, parts=CONFIG_PARTS)
        return dict(questions_schema(documents))
    except Rejected as refused:
        raise bad(f"copier.yml: {refused}") from refused


def bad(text: str) -> CallFailed:
    """Return the failure for a template that is none."""
    return CallFailed(text, transient=False, kind=NO_TEMPLATE)


def _add(laid: TargetFolder, path: Path, where: str, left: int) -> int:
    """Take one file in, and return how many bytes there may be after it."""
    try:
        descriptor = os.open(path, FLAGS)
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise bad(f"the template has something that is no plain file: {where[:200]}")
            left -= about.st_size
            check_bounds(len(laid.files) + 1, MOST_BYTES - left)
            laid.add(where, file, about.st_mode)
    except (OSError, TargetRefused) as error:
        raise bad(f"the template has a file that cannot be taken: {where[:200]}") from error
    return left
