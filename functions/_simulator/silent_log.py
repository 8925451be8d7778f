"""The platform's log within a simulation: nothing is printed, and what should never be logged is kept."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from functions._core.errors import FlowcError, IllegalTransition

EXPECTED = ("Unavailable(", "Conflict(", "Rejected(", "UnresolvedReference(")
"""Errors that are part of the platform's life; as they stand in a line."""


def unexpected(error: BaseException) -> bool:
    """Whether an error is none that the platform's parts may raise to each other."""
    return not isinstance(error, FlowcError) or isinstance(error, IllegalTransition)


@contextmanager
def listening(broken: list[str]) -> Iterator[None]:
    """Silence the log, and add to `broken` whatever says that something failed by an error of its own."""

    def hear(_logger: object, _method: str, fields: Any) -> Any:
        error = sys.exc_info()[1]
        told = str(fields.get("error", ""))
        if fields.get("event") == "sweep.failed":
            if error is None or unexpected(error):
                broken.append(f"sweep.failed: {error!r}")
        elif _is_repr(told) and not told.startswith(EXPECTED):
            broken.append(f"{fields['event']}: {told}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[hear],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _is_repr(text: str) -> bool:
    """Whether `text` is the `repr` of an error."""
    return text.split("(", maxsplit=1)[0].isidentifier() and text.endswith(")")
