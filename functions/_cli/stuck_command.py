"""`flowc stuck`: everything that waits, across all flows."""

from typing import TYPE_CHECKING

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Limit, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject


def stuck(*, limit: Limit = PAGE, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List what waits across all flows, and for what, the worst slack first.

    `flowc why` says more about each of them.
    """
    run(_stuck(limit, url, api_key, as_json=as_json))


async def _stuck(limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get("/api/v1/stuck", limit=min(limit, 500))
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0


def _print(found: "JsonObject") -> None:
    from rich.text import Text  # foreign text would be read as markup

    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time, took

    if not found["items"]:
        console().print("nothing waits")
    for group in found["groups"]:
        typer.echo(clean(group["text"]))
    listing = table("SLACK", "WHAT", "SINCE", "NEXT LOOK", right=("SLACK",), rest="WAITS FOR")
    for item in found["items"]:
        what = item["flow_id"] if item["task_id"] is None else f"{item['flow_id']}/{clean(item['task_id'])}"
        late = item["slack_ms"] < 0
        listing.add_row(
            Text(f"{'-' if late else ''}{took(abs(item['slack_ms']))}", style="bold red" if late else ""),
            Text(what),
            date_and_time(item["since"]),
            date_and_time(item["next_wakeup_at"]) if item["next_wakeup_at"] else "",
            Text(clean(item["waits_for"])),
        )
    if found["items"]:
        typer.echo("")
        console().print(listing)
    if found["waiting"] > len(found["items"]):
        say(f"{found['waiting'] - len(found['items'])} more wait: --limit")
    if not found["complete"]:
        say(f"more is open than was looked at: {found['tickets']} tickets and {found['flows']} flows")
