"""`flowc inbox`: the flows and tickets that wait for a person."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from functions._cli.console import console, print_json, run, say
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url
from functions._cli.pages import say_page

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

EVERYBODY = "role operator"
"""Those who may decide where nobody is named."""


def inbox(
    *, limit: Limit = PAGE, cursor: Cursor = None, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """List what waits for your decision, the most urgent first, as `flowc approve` and `flowc deny` take it."""
    run(_inbox(limit, cursor, url, api_key, as_json=as_json))


async def _inbox(limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        page = await client.page("/api/v1/inbox", limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return 0
    _print(page["items"])
    if page["cursor"] is not None:
        say(f"there are more: --limit, or --cursor {page['cursor']}")
    say_page(url, "inbox")
    return 0


def _print(items: Sequence["JsonObject"]) -> None:
    from rich.text import Text  # foreign text would be read as markup

    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    listing = table("UNTIL", "WHAT", "MAY DECIDE", "FORM", rest="QUESTION")
    for item in items:
        what = item["flow_id"] if item["task_id"] is None else f"{item['flow_id']}/{clean(item['task_id'])}"
        listing.add_row(
            date_and_time(item["until"]) if item["until"] else "",
            Text(what),
            Text(clean(", ".join(item["approvers"])) or EVERYBODY),
            "yes" if item["form"] is not None else "",
            Text(clean(item["message"])),
        )
    console().print(listing if items else "nothing waits for you")
