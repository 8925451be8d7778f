"""What a function's `handler.py` exposes to the platforms that load it, and how one is served by itself.

`new` is the contract of Knative functions in Python: it returns an object with `handle(scope, receive, send)`, `start`,
`stop`, `alive` and `ready`.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functions._runtime.knative_function import KnativeFunction

NAMES = (
    "validate",
    "generate_tickets",
    "discover",
    "assign",
    "monitor",
    "publish_telemetry",
    "enforce_sla",
    "track_workers",
    "dead_letter",
    "api",
)
"""The deployable functions; `python -m functions <name>` serves one."""


def expose(function: Callable[..., Awaitable[Any]]) -> "Callable[[], KnativeFunction]":
    """Return `new` of a function, which is named like its folder."""

    def new() -> "KnativeFunction":
        """Return the function, not started; called so because `func_python.serve` goes by the name."""
        from functions._runtime.knative_function import KnativeFunction

        return KnativeFunction(function.__name__)

    return new


def serve_alone(name: str) -> None:
    """Serve the function `name` on `PORT` until SIGTERM; the environment has its settings."""
    # structlog imports rich where it finds it, for nothing that is used here; that is a tenth of a cold start.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how Python says that a module is not there
    from functions._runtime.knative_function import KnativeFunction, serve

    serve(KnativeFunction(name), os.environ)
