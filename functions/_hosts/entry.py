"""What a function's `handler.py` exposes to the platforms that load it, and how one is served by itself.

`lambda_handler` is what AWS Lambda calls. `new` is the contract of Knative functions in Python: it returns an object
with `handle(scope, receive, send)`, `start`, `stop`, `alive` and `ready`.
"""

import gc
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functions._hosts.knative.function import KnativeFunction

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
    "notify",
    "calculate_budgets",
    "enforce_freezes",
    "reconcile_resources",
    "heal_incident",
    "run_executor",
    "learn",
    "analyze",
    "api",
)
"""The deployable functions; `python -m functions <name>` serves one."""


ON_LAMBDA = "AWS_LAMBDA_RUNTIME_API" in os.environ

LambdaHandler = Callable[[Mapping[str, Any], Any], Any]


def expose(function: Callable[..., Awaitable[Any]] | str) -> "tuple[LambdaHandler, Callable[[], KnativeFunction]]":
    """Return `lambda_handler` and `new` of a function, which is named like its folder; the api is only a name."""
    name = function if isinstance(function, str) else function.__name__

    def lambda_handler(event: Mapping[str, Any], context: Any) -> Any:  # noqa: ANN401 as Lambda has it
        """Handle an invocation."""
        from functions._hosts.aws.environment import invoked

        return invoked(name, event, context)

    def new() -> "KnativeFunction":
        """Return the function, not started; called so because `func_python.serve` goes by the name."""
        from functions._hosts.knative.function import KnativeFunction

        return KnativeFunction(name)

    if ON_LAMBDA:
        _load()
    return lambda_handler, new


def _load() -> None:
    """Import what an invocation needs while Lambda starts, when CPU is plenty, and SnapStart keeps what is there."""
    import functions._hosts.aws.environment  # noqa: F401 to have it

    gc.freeze()
    gc.enable()


def lean() -> None:
    """Import what follows for less: without looking for garbage among what stays, nor for what nobody uses.

    The garbage is an eighth of a cold start; rich, which structlog imports where it finds it, a tenth; plugins of
    pydantic, which are looked for in all distributions, a twentieth.
    """
    gc.disable()
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is how Python says that a module is not there
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def serve_alone(name: str) -> None:
    """Serve the function `name` on `PORT` until SIGTERM; the environment has its settings."""
    lean()
    from functions._hosts.knative.function import KnativeFunction, serve

    gc.freeze()
    gc.enable()
    serve(KnativeFunction(name), os.environ)


if ON_LAMBDA:
    lean()  # right here, as a handler imports its function next
