"""`docs/reference/cli.md`: every command as its own help describes it."""

import signal
from collections.abc import Iterator
from typing import Any

import typer
import typer.main

from functions._cli import CANNOT_WRITE
from functions._cli.app import Commands, app
from functions._cli.console import WRONG_USE, CommandFailed
from infra.generate.pages.markdown import bullets, code, page, paragraphs, sentence, text

INTRODUCTION = """
Every command of `flowc`, with its arguments and options. `flowc COMMAND --help` shows the same.
The result of a command goes to standard output, all other words to standard error.
"""

STATUSES = {
    0: "The command did what it was asked to do.",
    CommandFailed("").exit_status: "The command failed: the platform refused it or could not be reached, or the "
    "result is a failure. The command itself says which.",
    WRONG_USE: "Nothing was tried: an option, an argument, a setting or a file is wrong.",
    CANNOT_WRITE: "The output could not be written, for example because the disk is full.",
    128 + signal.SIGINT: "Ctrl-C ended the command.",
    128 + signal.SIGTERM: "SIGTERM ended a command that was waiting. `flowc up` and `flowc worker` stop with 0.",
}
"""Statuses that a script may see, and their meaning for every command."""


def cli() -> str:
    """Return the page."""
    return page("Command line", INTRODUCTION, _every(), _commands())


def _every() -> Iterator[str]:
    yield "## Exit statuses"
    yield bullets(f"{code(status)}: {meaning}" for status, meaning in STATUSES.items())
    yield text("A command that gives one of these a narrower meaning says so below.")


def _commands() -> Iterator[str]:
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="flowc")
    yield "## All commands"
    yield _usage(group, context)
    yield from _parameters(group, context)
    for section in dict.fromkeys(entry.section for entry in Commands.entries):
        yield f"## {section}"
        for entry in Commands.entries:
            if entry.section == section:
                yield from _command(entry.load(), f"flowc {entry.name}", context)


def _command(command: Any, name: str, parent: typer.Context) -> Iterator[str]:  # noqa: ANN401 Typer has no public type
    context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=parent)
    yield f"### {name}"
    yield paragraphs(command.help or "")
    yield _usage(command, context)
    yield from _parameters(command, context)
    for below in getattr(command, "commands", {}).values():
        yield from _command(below, f"{name} {below.name}", context)


def _usage(command: Any, context: typer.Context) -> str:  # noqa: ANN401 Typer has no public type
    pieces = " ".join(command.collect_usage_pieces(context))
    return f"```text\n{context.command_path} {pieces}\n```"


def _parameters(command: Any, context: typer.Context) -> Iterator[str]:  # noqa: ANN401 Typer has no public type
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        found = [part.get_help_record(context) for part in command.params if part.param_type_name == kind]
        lines = [f"{code(names)}: {sentence(says)}" for names, says in filter(None, found)]
        if lines:
            yield f"{title}:"
            yield bullets(lines)
