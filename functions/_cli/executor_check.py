"""`flowc doctor executor`: whether a worker on this machine could use an executor."""

import sys
from pathlib import Path

import typer

from functions._cli.console import print_json


async def check_executor(name: str | None, *, as_json: bool) -> int:
    """Print what the executor has looked at; return 1 where something is missing that it needs."""
    from functions._executors.file_store import store_at
    from functions._executors.port import ToolCheck
    from functions._executors.registry import executor_named, known_executors
    from functions._executors.settings import ExecutorSettings

    if name is None:
        raise typer.BadParameter(f"which executor? There are {', '.join(known_executors())}", param_hint="NAME")
    sys.path.insert(0, str(Path.cwd()))  # where users keep executors of their own
    try:
        settings = ExecutorSettings.from_environment()
        executor, store = executor_named(name, settings), store_at(settings.logs)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from error
    try:
        checks = [*await executor.check()]
    finally:
        await executor.aclose()
    if store is not None:
        fault = store.fault()
        checks.append(ToolCheck("logs", not fault, fault or settings.logs))
    ready = all(check.ok for check in checks if check.required)
    if as_json:
        print_json({"executor": name, "ready": ready, "checks": [check._asdict() for check in checks]})
    else:
        _print(name, [(_word(ok=c.ok, required=c.required), c.name, c.detail) for c in checks], ready=ready)
    return 0 if ready else 1


def _word(*, ok: bool, required: bool) -> str:
    return "ok" if ok else "missing" if required else "absent"


def _print(name: str, lines: list[tuple[str, str, str]], *, ready: bool) -> None:
    from functions._cli.words import clean

    typer.echo(f"{name}: {'ready' if ready else 'not ready'}")
    for word, what, detail in lines:
        typer.echo(f"  {word:<8} {clean(what)}: {clean(detail)}")
