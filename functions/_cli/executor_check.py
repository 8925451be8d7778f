"""`flowc doctor executor`: whether a worker on this machine could use executors."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from functions._cli.console import print_json

if TYPE_CHECKING:
    from functions._executors.settings import ExecutorSettings

ALL = "all"
"""The word for every executor that there is."""


async def check_executor(name: str | None, *, as_json: bool) -> int:
    """Print what executors have looked at; return 1 where something is missing that one of them needs.

    `name` is an executor, several with commas between, the family of some, or `all`.
    """
    from functions._executors.settings import ExecutorSettings

    sys.path.insert(0, str(Path.cwd()))  # where users keep executors of their own
    names = _names(name)
    try:
        settings = ExecutorSettings.from_environment()
        found = [await _checked(one, settings, alone=len(names) == 1) for one in names]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from error
    if not as_json:
        for one in found:
            _print(one)
    else:
        print_json(found[0] if names == [name] else {"ready": all(one["ready"] for one in found), "executors": found})
    return 0 if all(one["ready"] for one in found) else 1


def _names(name: str | None) -> Sequence[str]:
    from functions._core.executors.table import EXECUTORS
    from functions._executors.registry import known_executors

    known = known_executors()
    if name is None:
        families = sorted({entry.family for entry in EXECUTORS.values()})
        text = f"which executor? There are {', '.join(known)}; of a family: {', '.join(families)}; or {ALL}"
        raise typer.BadParameter(text, param_hint="NAME")
    if name == ALL:
        return known
    of_family = [] if name in known else sorted(one for one, entry in EXECUTORS.items() if entry.family == name)
    return of_family or list(dict.fromkeys(filter(None, map(str.strip, name.split(","))))) or [name]


async def _checked(name: str, settings: "ExecutorSettings", *, alone: bool) -> dict[str, Any]:
    """Return what one executor has looked at; raise `ValueError` for one that cannot be made, if it is alone."""
    from functions._executors.file_store import store_at
    from functions._executors.port import ToolCheck
    from functions._executors.registry import executor_named

    try:
        executor, store = executor_named(name, settings), store_at(settings.logs)
    except ValueError as error:
        if alone:
            raise
        return {"executor": name, "ready": False, "checks": [ToolCheck("settings", False, str(error))._asdict()]}
    try:
        checks: list[ToolCheck] = [*await executor.check()]
    finally:
        await executor.aclose()
    if store is not None:
        fault = store.fault()
        checks.append(ToolCheck("logs", not fault, fault or settings.logs))
    ready = all(check.ok for check in checks if check.required)
    return {"executor": name, "ready": ready, "checks": [check._asdict() for check in checks]}


def _print(found: dict[str, Any]) -> None:
    from functions._cli.words import clean

    typer.echo(f"{found['executor']}: {'ready' if found['ready'] else 'not ready'}")
    for check in found["checks"]:
        word = "ok" if check["ok"] else "missing" if check["required"] else "absent"
        typer.echo(f"  {word:<8} {clean(check['name'])}: {clean(check['detail'])}")
