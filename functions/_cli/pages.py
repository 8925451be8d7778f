"""Pages of the console: `flowc open`, and their addresses, which views name at their end."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from functions._cli.console import run, say
from functions._cli.options import DEFAULT_URL, ApiKey, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

CONSOLE = "/console/"


def page_at(url: str, *path: str) -> str:
    """Return the address of a page of the console of the platform at `url`, such as `("flows", flow_id)`."""
    return f"{url}{CONSOLE}{'/'.join(quote(part, safe='') for part in path)}"


def say_page(url: str, *path: str) -> None:
    """Name a page on standard error, so that what a program reads stays what it is."""
    say(f"in the browser: {page_at(url, *path)}")


def open_page(
    record_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="A flow, named as for `flowc show`, the id of a ticket, or FLOW/TASK; none: all flows."
        ),
    ] = None,
    *,
    only_print: Annotated[bool, typer.Option("--print", help="Print the address, and open nothing.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Open the console in the browser.

    The address is on standard output, also where there is no browser to open it. The key is not in it: the console
    asks for one.
    """
    run(_open(record_id, url, api_key, only_print=only_print))


async def _open(record_id: str | None, url: str, api_key: str, *, only_print: bool) -> int:
    import webbrowser

    address = await _address(record_id, url, api_key)
    typer.echo(address)
    if not only_print and not webbrowser.open(address):
        say("flowc: there is no browser here to open it with")
    return 0


async def _address(record_id: str | None, url: str, api_key: str) -> str:
    from functions._cli.client import PlatformClient, flow_path, ticket_path
    from functions._cli.references import with_flow_or_ticket

    async with PlatformClient(url, api_key) as client:

        def flow(flow_id: str) -> "Awaitable[JsonObject]":
            return client.get(flow_path(flow_id))

        def ticket(ticket_id: str) -> "Awaitable[JsonObject]":
            return client.get(ticket_path(ticket_id))

        if record_id is None:
            await client.get("/health")  # so that a wrong address is told here and not by the browser
            return page_at(url)
        found = await with_flow_or_ticket(client, record_id, flow, ticket)
    ticket_id = found.get("ticket_id")
    return page_at(url, "tickets", ticket_id) if ticket_id else page_at(url, "flows", found["flow_id"])
