"""`flowc hot`: what has to begin first, across all flows."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Limit, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _span(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d{1,6}[smhd]", value, re.ASCII):
        raise typer.BadParameter(f"{value!r} is no span of time such as 90s, 15m, 12h or 1d")
    return value


def hot(
    *,
    within: Annotated[
        str | None, typer.Option(callback=_span, metavar="SPAN", help="Only what has to begin within it, such as 15m.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only those with this label, NAME=VALUE; given again, with all of them.")
    ] = None,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List open tickets in the order in which they have to begin, so that flows are in time.

    The moment of one that is at work is that by which it has to be done.
    """
    labels = [one.replace("=", ":", 1) for one in label or ()]
    seconds = None if within is None else int(within[:-1]) * SECONDS[within[-1]]
    run(_hot(seconds, labels, limit, url, api_key, as_json=as_json))


async def _hot(within: int | None, labels: Sequence[str], limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get("/api/v1/hot-list", limit=min(limit, 500), within_seconds=within, labels=labels)
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0


def _print(found: "JsonObject") -> None:
    from rich.text import Text  # foreign text would be read as markup

    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time, took

    listing = table("SLACK", "BY", "WHAT", "STATUS", "ON PATH", right=("SLACK",), rest="WAITS FOR")
    for item in found["items"]:
        late = item["slack_ms"] < 0
        slack = f"{'-' if late else ''}{took(abs(item['slack_ms']))}"
        listing.add_row(
            Text(slack, style="bold red" if late else ""),
            date_and_time(item["critical_start"]),
            Text(f"{item['flow_id']}/{clean(item['task_id'])}"),
            "PAUSED" if item["sla_paused"] else item["status"],
            "critical" if item["critical"] else "",
            Text(clean(item["waits_for"])),
        )
    console().print(listing if found["items"] else "nothing is open")
    if not found["complete"]:
        say(f"more is open than was looked at: {found['tickets']} tickets")
