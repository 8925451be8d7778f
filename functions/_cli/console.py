"""How commands speak and how they end: what was asked for on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 400
"""Columns where there is no terminal: nothing that a program reads is cut off."""


WRONG_USE = 2
"""Exit status when the command, its arguments or its input are wrong, whatever the platform is like; Typer's, too."""


class CommandFailed(Exception):
    """The command ends here: the message and the `hint` what to do are for people, `exit_status` is for scripts."""

    def __init__(self, message: str, *, hint: str = "", exit_status: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_status = exit_status


def nobody_reads() -> bool:
    """Tell whether standard output is a pipe whose reader has gone: who writes nothing would never know."""
    import select

    try:
        stdout = select.poll()
        stdout.register(sys.stdout.fileno(), select.POLLERR)
        return bool(stdout.poll(0))
    except (OSError, ValueError):  # it is no file of the system's
        return False


def run(work: Coroutine[Any, Any, int]) -> None:
    """Do `work` to its end and leave with the exit status it returns.

    SIGTERM cancels it, so that it cleans up as it does on Ctrl-C.
    """
    import asyncio

    try:
        status = asyncio.run(_terminable(work))
    except CommandFailed as failure:
        say(f"flowc: {failure}; {failure.hint}" if failure.hint else f"flowc: {failure}")
        status = failure.exit_status
    if status:
        raise typer.Exit(status)


async def _terminable(work: Coroutine[Any, Any, int]) -> int:
    import asyncio
    import signal

    task: asyncio.Task[int] = asyncio.ensure_future(work)
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    with suppress(RuntimeError):  # signals are for the main thread, and for systems that have them
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await task
    except asyncio.CancelledError:
        if terminated:
            return 128 + signal.SIGTERM
        raise


def say(text: str) -> None:
    """Tell the user something that is not the command's result."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def console(*, stderr: bool = False) -> "Console":
    """Return a console for rich text; without a terminal it writes plain, wide lines."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=PIPED_WIDTH)
