"""Generated files: written in one form, and compared with what is there."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
"""Where the project's files are, when it runs from its own tree."""

BY_HAND = frozenset({"proto"})
"""Folders among the generated files that people write."""

WIDTH = 110
STEP = "  "


def pretty(value: Any, indent: str = "", before: int = 0) -> str:  # noqa: ANN401 any JSON value
    """Return a JSON value as text: what fits on a line is on one line; `before` is what stands in front of it."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(indent) + before + len(line) <= WIDTH:
        return line
    inner = indent + STEP
    if isinstance(value, list):
        parts = [pretty(item, inner) for item in value]
        opening, closing = "[", "]"
    else:
        names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        parts = [name + pretty(item, inner, len(name)) for name, item in zip(names, value.values(), strict=True)]
        opening, closing = "{", "}"
    return f"{opening}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{closing}"


def differences(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Yield, for every file of `folder` that is not as `files` has it, its name and what is the matter."""
    yield from stale(folder, files)
    for name in strays(folder, files):
        yield f"{name} belongs to nothing"


def stale(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    """Yield, for each of `files` that `folder` does not have as it is, its name and what is the matter."""
    for name, text in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif path.read_text(encoding="utf-8") != text:
            yield f"{name} differs"


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Make `folder` hold `files` and nothing else; return the names of those that were removed."""
    save(folder, files)
    removed = strays(folder, files)
    for name in removed:
        (folder / name).unlink()
    return removed


def save(folder: Path, files: Mapping[str, str]) -> None:
    """Write `files` into `folder`; what else is there stays."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def strays(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Return the names of the files in `folder` that are not among `files`, those of `BY_HAND` aside."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return sorted({path.as_posix() for path in found if path.parts[0] not in BY_HAND} - files.keys())
