"""`flowc migrate`: the database brought to the schema of this version."""

import asyncio

import typer

from functions._cli.console import say

WRONG_SETTINGS = 2


def migrate() -> None:
    """Bring the PostgreSQL database of FLOWC_DATABASE_URL to the schema of this version.

    `flowc up` does so, too; this is for those who want it done before, by a user who may.
    """
    from functions._core.errors import FlowcError
    from functions._engine.settings import Settings, SettingsError
    from functions._hosts.one_machine import process
    from functions._hosts.open_store import migrate_database

    try:
        url = Settings.from_mapping(process.environment()).database_url
    except SettingsError as error:
        say(f"flowc: {error}")
        raise typer.Exit(WRONG_SETTINGS) from error
    if url is None:
        say("flowc: FLOWC_DATABASE_URL is not set; a data folder is migrated by `flowc up`")
        raise typer.Exit(WRONG_SETTINGS)
    try:
        applied = asyncio.run(migrate_database(url.get_secret_value()))
    except FlowcError as error:
        say(f"flowc: {error}")
        raise typer.Exit(1) from error
    for number in applied:
        typer.echo(f"applied migration {number}")
    typer.echo("the schema is up to date" if not applied else f"the schema is at version {applied[-1]}")
