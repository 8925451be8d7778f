"""`flowc backup` and `flowc restore`: a data folder in one file, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import WRONG_USE, say

if TYPE_CHECKING:
    from functions._adapters.sql.sqlite.backup import Backup

Data = Annotated[
    Path | None,
    typer.Option(
        help="Data folder. [env FLOWC_DATA, else .flowc if it is here, else ~/.local/share/flowc]", show_default=False
    ),
]
NewFolder = Annotated[Path, typer.Option("--data", help="Folder to make; it must be empty or not there.")]

ELSEWHERE = {
    "database_url": "FLOWC_DATABASE_URL: the data are in PostgreSQL; `pg_dump` makes backups of it",
    "table": "FLOWC_TABLE: the data are in DynamoDB; its own backups are for it",
}
"""Settings by which the data are not in a folder, and what makes a backup then."""


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; must not be there yet.")],
    data: Data = None,
) -> None:
    """Write a backup of a data folder, in use or not.

    The file holds the database and the key of the workers' tokens, and only its owner may read it. A platform that
    runs goes on meanwhile. Keys that are given by settings and telemetry.jsonl are not in it.
    """
    from functions._adapters.sql.sqlite.backup import back_up
    from functions._core.errors import FlowcError

    folder = _folder(data)
    try:
        made = back_up(folder, file)
    except (FlowcError, OSError) as error:
        say(f"flowc: {error}")
        raise typer.Exit(1) from error
    typer.echo(f"{file}: {_contents(made)}, {made.size / 2**20:.1f} MiB")
    if not made.has_key:
        say(f"{folder} has no worker.key: keep FLOWC_WORKER_KEY, or its secret, with the backup")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")],
    data: NewFolder,
) -> None:
    """Make a new data folder out of a backup.

    The backup is checked as a whole, and brought to the schema of this version. `flowc up --data FOLDER` goes on with
    every flow in it. Stop the platform that the backup is of first: both would do the same work.
    """
    from functions._adapters.sql.sqlite.backup import restore as restored
    from functions._core.errors import FlowcError

    try:
        made = restored(file, data)
    except (FlowcError, OSError) as error:
        say(f"flowc: {error}")
        raise typer.Exit(1) from error
    typer.echo(f"{data}: {_contents(made)}")


def _folder(data: Path | None) -> Path:
    from functions._engine.settings import Settings, SettingsError
    from functions._hosts.one_machine import process

    try:
        settings = Settings.from_mapping(process.environment(), data=data)
    except SettingsError as error:
        say(f"flowc: {error}")
        raise typer.Exit(WRONG_USE) from error
    for name, instead in ELSEWHERE.items():
        if data is None and getattr(settings, name) is not None:
            say(f"flowc: {instead}")
            raise typer.Exit(WRONG_USE)
    return settings.data


def _contents(made: "Backup") -> str:
    key = "the key of the workers' tokens" if made.has_key else "no key"
    return f"schema {made.schema}, {made.flows} {'flow' if made.flows == 1 else 'flows'}, {key}"
