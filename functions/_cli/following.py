"""Follows a flow before the user's eyes: as a live picture on a terminal, as plain lines elsewhere."""

from asyncio import CancelledError

import typer

from functions._cli.client import PlatformClient
from functions._cli.console import console, say
from functions._cli.live_view import live_view
from functions._cli.pages import say_page
from functions._cli.plain_lines import PlainLines
from functions._cli.progress import Progress
from functions._cli.watching import watch

APPEARS_WITHIN = 15.0
"""Seconds that a flow just submitted may take to appear where a broker lies between the door and the store."""


async def follow(
    client: PlatformClient,
    flow_id: str,
    *,
    stderr: bool = False,
    patience: float | None = None,
    appears_within: float = 0,
) -> Progress:
    """Show a flow until its end, on stdout unless `stderr`; see `watch` for the rest."""
    screen = console(stderr=stderr)
    if screen.is_terminal:
        async with live_view(screen) as view:
            return await watch(client, flow_id, view, patience=patience, appears_within=appears_within)
    lines = PlainLines(lambda line: typer.echo(line, err=stderr))
    return await watch(client, flow_id, lines, patience=patience, appears_within=appears_within)


async def follow_or_leave(
    client: PlatformClient, flow_id: str, *, stderr: bool = False, appears_within: float = 0
) -> Progress:
    """Follow a flow that goes on when the user stops watching, and say so then; name its page first."""
    say_page(client.url, "flows", flow_id)
    try:
        return await follow(client, flow_id, stderr=stderr, appears_within=appears_within)
    except CancelledError:
        say(f"\nthe flow goes on; watch it again:\n  flowc show {flow_id} --watch")
        raise
