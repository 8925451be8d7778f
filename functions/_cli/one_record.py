"""One record of the platform by its path: who wants what of it, to show it, and to remove it."""

from typing import Annotated

import typer

from functions._cli.console import print_json

Why = Annotated[str | None, typer.Option("--reason", help="Why; it is kept in the audits.")]
By = Annotated[str, typer.Option(show_default="login name", help="Who wants it; it is kept in the audits.")]


def path_of(root: str, *parts: str) -> str:
    """Return the path of a record, or of something that belongs to it."""
    from urllib.parse import quote

    return "/".join((root, *(quote(part, safe="") for part in parts)))


def asked(path: str, by: str, reason: str | None) -> str:
    """Return a path with who wants it, and why."""
    from getpass import getuser
    from urllib.parse import urlencode

    said = {"requested_by": by or getuser(), "reason": reason}
    return f"{path}?{urlencode({name: value for name, value in said.items() if value is not None})}"


async def show(path: str, url: str, api_key: str) -> int:
    """Print a record as JSON; return the exit status."""
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        print_json(await client.get(path))
    return 0


async def delete(path: str, done: str, url: str, api_key: str) -> int:
    """Remove a record and say what was done; return the exit status.

    `path` may have the name of a person and a reason as its query, for the audit.
    """
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        await client.delete(path)
    typer.echo(done)
    return 0
