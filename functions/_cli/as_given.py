"""Spares commands the import of pydantic, with which Typer since 0.29 converts every parameter, even text to text.

It takes longer than all else that a command does before its work. A Typer that works otherwise is left as it is.
"""

from typing import Any

import typer.core

PARAMETER: Any = getattr(typer.core, "_TyperParameter", None)
CONVERTING: Any = getattr(PARAMETER, "get_runtime_param", None)


class AsGiven:
    """Takes a value that has its type already; Typer converts all others."""

    def __init__(self, parameter: Any) -> None:  # noqa: ANN401 - a parameter of click has no public name in Typer
        self._parameter = parameter

    def coerce(self, value: Any, param: object, ctx: object) -> Any:  # noqa: ANN401 Typer's
        """Return `value` as the command takes it; raise a usage error."""
        if value is None:
            return () if self._parameter.multiple or self._parameter.nargs == -1 else None
        if type(value) is self._parameter.type_descriptor.annotation:
            return value
        return CONVERTING(self._parameter).coerce(value, param=param, ctx=ctx)


def install() -> None:
    """Stand before Typer's conversion, for all commands of this process."""
    if CONVERTING is not None:
        PARAMETER.get_runtime_param = lambda parameter: AsGiven(parameter)  # noqa: PLW0108 a class is no method
