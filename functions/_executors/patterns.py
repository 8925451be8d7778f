"""Patterns such as `acme/*`, by which owners of workers say what jobs may use, and plans which files they mean."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]

from functions._executors.port import CallFailed


@lru_cache(maxsize=256)
def fitting(pattern: str) -> Any:  # noqa: ANN401 - its author publishes no types
    """Return a pattern as an expression, which takes linear time, whoever wrote it.

    `*` and `?` stand for parts of a name, `**/` for any folders.
    """
    text = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*").replace(r"\*\*", ".*")
    return re2.compile(text.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))


def fits(value: str, patterns: Iterable[str]) -> bool:
    """Whether a value fits any of some patterns."""
    return any(fitting(pattern).fullmatch(value) for pattern in patterns)


def admit(value: str, patterns: Iterable[str], what: str) -> None:
    """Raise `CallFailed` for what fits no pattern of the worker's owner."""
    if not fits(value, patterns):
        raise CallFailed(f"the worker's owner does not allow {what}", transient=False, kind="not_allowed")
