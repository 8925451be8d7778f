"""Structured log lines on standard error: JSON, or readable text on a terminal."""

import logging
import sys
from typing import Any

import structlog

log: Any = structlog.get_logger("flowc")
"""The logger; names are dotted constants, everything else is a field. Payloads and tokens are never fields."""


def configure(level: str) -> None:
    """Set the least severe level and the form of the lines, once for the process."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
