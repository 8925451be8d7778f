"""`flowc insights`: what was found in the history of flows, what it means, and what to do about it."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.one_record import path_of
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from functions._cli.pages import say_page

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

insights = typer.Typer(
    help="See what was found in the history of flows, and what to do about it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

INSIGHTS = "/api/v1/insights"

MOST = 500
"""Insights that one request asks for at most."""

COLOURS = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow"}
"""How priorities are written on a terminal."""


@insights.command("list")
def list_insights(
    *,
    kind: Annotated[str | None, typer.Option("--type", help="Only those of this type, e.g. ANOMALY.")] = None,
    priority: Annotated[str | None, typer.Option(help="Only those of this priority, e.g. HIGH.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List insights, the newest first."""
    filters = {"insight_type": kind.upper() if kind else None, "priority": priority.upper() if priority else None}
    run(_list(filters, min(limit, MOST), url, api_key, as_json=as_json))


@insights.command("show")
def show_insight(
    insight_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the insight.")],
    *,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Show an insight with its figures, what it is about, and what may be done."""
    run(_show(insight_id, url, api_key, as_json=as_json))


async def _list(filters: dict[str, str | None], limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get(INSIGHTS, **filters, limit=limit)
    if as_json:
        print_json(found)
        return 0
    _print_list(found["items"])
    say_page(url, "insights")
    return 0


def _print_list(items: "list[JsonObject]") -> None:
    from rich.text import Text  # foreign text would be read as markup

    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    listing = table(
        "FOUND", "PRIORITY", "TYPE", "CONFIDENCE", "IMPACT", "ID", right=("CONFIDENCE", "IMPACT"), rest="WHAT"
    )
    for one in items:
        listing.add_row(
            date_and_time(one["created_at"]),
            Text(one["priority"], style=COLOURS.get(one["priority"], "")),
            one["insight_type"],
            f"{one['confidence_score']:.2f}",
            f"{one['impact_score']:.2f}",
            one["insight_id"],
            Text(clean(one["title"])),
        )
    if items:
        console().print(listing)
    else:
        say("no insights; FLOWC_INSIGHTS=true lets the platform look for them every five minutes")


async def _show(insight_id: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get(path_of(INSIGHTS, insight_id))
    if as_json:
        print_json(found)
        return 0
    _print_one(found)
    say_page(url, "insights", insight_id)
    return 0


def _print_one(one: "JsonObject") -> None:
    from functions._cli.words import clean, date_and_time

    window = one["time_window"]
    scores = f"confidence {one['confidence_score']:.2f}, impact {one['impact_score']:.2f}"
    typer.echo(clean(one["title"]))
    typer.echo(clean(one["summary"]))
    typer.echo(f"{one['insight_type']}, {one['priority']}; {scores}")
    typer.echo(f"from {date_and_time(window['start'])} to {date_and_time(window['end'])} UTC")
    if one["detailed_analysis"]:
        typer.echo(f"\n{clean(one['detailed_analysis'])}")
    if one["metrics"]:
        typer.echo("\nFigures:")
    for name, value in sorted(one["metrics"].items()):
        typer.echo(f"  {clean(name)}: {value:g}")
    if one["related_entities"]:
        typer.echo("\nAbout:")
    for entity in one["related_entities"]:
        typer.echo(f"  {entity['entity_type']} {clean(entity['entity_id'])} ({clean(entity['relationship'])})")
    if one["recommendations"]:
        typer.echo("\nWhat may be done:")
    for advice in one["recommendations"]:
        typer.echo(f"  {clean(advice['action'])} ({advice['priority']}, may help {advice['estimated_impact']:.0%})")
