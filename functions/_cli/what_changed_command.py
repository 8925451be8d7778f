"""`flowc what-changed` and `flowc predictions`: why a flow was slow, and how good predictions were."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, FlowId, Limit, Url
from functions._cli.pages import say_page

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

MOST = 500
"""Tickets that one request asks for at most."""


def what_changed(flow_id: FlowId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Say what made a flow slow, late or fail, compared with the flows before it.

    Names the three likeliest causes, with the figures on which they stand.
    """
    run(_what_changed(flow_id, url, api_key, as_json=as_json))


async def _what_changed(ref: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.references import with_flow

    async with PlatformClient(url, api_key) as client:
        found = await with_flow(client, ref, lambda one: client.get(flow_path(one, "what-changed")))
    if as_json:
        print_json(found)
        return 0
    from functions._cli.words import clean

    for line in found["text"]:
        typer.echo(clean(line))
    _print_evidence(found["causes"])
    say_page(url, "flows", found["flow_id"])
    return 0


def _print_evidence(causes: "list[JsonObject]") -> None:
    from rich.text import Text  # foreign text would be read as markup

    from functions._cli.tables import table
    from functions._cli.words import clean, took

    if not causes:
        return
    figures = ("EXPLAINS", "SURE", "BEFORE", "NOW", "SAMPLES")
    listing = table("", "CAUSE", *figures, "FIGURE", right=figures, rest="ABOUT")
    for number, cause in enumerate(causes, 1):
        for first, one in enumerate(cause["evidence"]):
            said = (f"{number}.", cause["kind"], took(cause["explained_ms"]), f"{cause['sure']:.0%}")
            listing.add_row(
                *(said if not first else ("", "", "", "")),
                _figure(one["before"], one["unit"]),
                _figure(one["now"], one["unit"]),
                str(one["samples"] or ""),
                one["name"],
                Text(clean(cause["subject"]) if not first else ""),
            )
    typer.echo("")
    console().print(listing)


def _figure(value: float, unit: str) -> str:
    """Return a figure of evidence with its unit."""
    from functions._cli.words import took

    match unit:
        case "ms":
            return took(value)
        case "share":
            return f"{value:.0%}"
        case "bytes":
            return f"{value:.0f} B"
        case _:
            return f"{value:g}"


SLOT_TIMES = ("worker_ms", "expected_worker_ms")
"""What a ticket has taken of workers' slots, and what such work is expected to take."""


def predictions(
    *,
    task_type: Annotated[str | None, typer.Option("--type", help="Only tickets of this type, e.g. TRANSFORM.")] = None,
    worker: Annotated[str | None, typer.Option(help="Only tickets that this worker had.")] = None,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List predictions of ended tickets beside what happened, and how good they were.

    Tickets have predictions where the platform learns: FLOWC_LEARNING.
    """
    run(_predictions(task_type, worker, min(limit, MOST), url, api_key, as_json=as_json))


async def _predictions(
    task_type: str | None, worker: str | None, limit: int, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient

    wanted = task_type.upper() if task_type else None
    async with PlatformClient(url, api_key) as client:
        found = await client.get("/api/v1/predictions", task_type=wanted, worker=worker, limit=limit)
    if as_json:
        print_json(found)
        return 0
    _print_predictions(found)
    say_page(url, "predictions")
    return 0


def _print_predictions(found: "JsonObject") -> None:
    from rich.text import Text  # foreign text would be read as markup

    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time, took

    if not found["items"]:
        console().print("no ended ticket has a prediction; FLOWC_LEARNING=advise makes models and shows what they say")
        return
    figures = ("P50", "P90", "TOOK", "ESTIMATE", "SLOT TIME", "EXPECTED")
    listing = table("ENDED", "TYPE", *figures, "INSIDE", "MODEL", right=figures, rest="TICKET")
    for one in found["items"]:
        told, actual = one["prediction"], one["actual_ms"]
        inside = {True: "p90", False: "no", None: ""}[one["inside_p90"]]
        if actual is not None and actual <= told["p50_ms"]:
            inside = "p50"
        listing.add_row(
            date_and_time(one["completed_at"]),
            one["task_type"],
            took(told["p50_ms"]),
            took(told["p90_ms"]),
            one["status"] if actual is None else took(actual),
            took(one["estimate_ms"]),
            *(took(ms) if (ms := one["resources"][name]) is not None else "" for name in SLOT_TIMES),
            inside,
            Text(clean(told["model"])),
            Text(f"{one['flow_id']}/{clean(one['task_id'])}"),
        )
    console().print(listing)
    known = found["tickets_accuracy"]
    if known["tickets"]:
        inside = f"{known['inside_p50']:.0%} took at most their p50, {known['inside_p90']:.0%} at most their p90"
        off = f"predictions were off by {took(known['mean_error_ms'])} on average, estimates by"
        typer.echo(f"\nof {known['tickets']} done tickets {inside}; {off} {took(known['estimates_mean_error_ms'])}")
    flows = found["flows_accuracy"]
    if flows["flows"]:
        typer.echo(f"of {flows['flows']} flows {flows['met']:.0%} met their deadline, {flows['expected']:.0%} was said")
    if not found["complete"]:
        say(f"the newest {found['looked_at']} ended flows were looked at")
