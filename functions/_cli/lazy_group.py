"""A group of commands of which one is imported only when it is called: `flowc --help` imports none."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info, get_group
from typer.models import CommandInfo


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command of the group: its section of the help, name, where its function is, and a line about it."""

    section: str
    name: str
    target: str
    summary: str

    def load(self) -> Any:  # noqa: ANN401 - a command of click has no public name in Typer
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            group = get_group(found)
            group.name = self.name
            return group
        info = CommandInfo(name=self.name, callback=found)
        return get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)


class LazyGroup(TyperGroup):
    """The commands of `entries`, which a subclass names."""

    entries: Sequence[CommandEntry] = ()

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 the base's
        """Return the names, in the order of the help."""
        return [entry.name for entry in self.entries]

    def get_command(self, ctx: object, cmd_name: str) -> Any:  # noqa: ANN401, ARG002 the base's
        """Return a command, imported now; None when there is none of this name."""
        return next((entry.load() for entry in self.entries if entry.name == cmd_name), None)

    def resolve_command(self, ctx: object, args: list[str]) -> Any:  # noqa: ANN401 the base's
        """Return the command that `args` begin with; an unknown one is refused with those of a similar name."""
        self.commands = dict.fromkeys([entry.name for entry in self.entries])  # type: ignore[assignment] # its keys alone are asked for
        return super().resolve_command(cast("Any", ctx), args)

    def format_commands(self, ctx: object, formatter: Any) -> None:  # noqa: ANN401, ARG002 the base's
        """Write the commands by section."""
        for section in dict.fromkeys(entry.section for entry in self.entries):
            with formatter.section(section):
                formatter.write_dl([(entry.name, entry.summary) for entry in self.entries if entry.section == section])
