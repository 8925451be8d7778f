"""`flowc workers`: who can do tickets, and how they are."""

from typing import TYPE_CHECKING

from functions._cli.console import console, print_json, run
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from functions._cli.pages import say_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functions._cli.wire import JsonObject


OWN = "the platform itself"
"""The endpoint of the platform's own worker."""


def workers(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the workers that the platform knows, with what they can do and how many tickets they hold."""
    run(_workers(url, api_key, as_json=as_json))


async def _workers(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get("/api/v1/workers")
    if as_json:
        print_json({"items": found["items"], "cursor": None})
    else:
        _print_workers(found["items"])
        say_page(url, "workers")
    return 0


def _print_workers(found: "Sequence[JsonObject]") -> None:
    from functions._cli.tables import table
    from functions._cli.words import clean
    from functions._core.explain.spans import span_of_seconds
    from functions._core.records.worker import OWN_WORKER

    listing = table("WORKER", "HEALTH", "HOLDS", "SEEN", "ENDPOINT", right=("HOLDS", "SEEN"), rest="CAN DO")
    for worker in found:
        listing.add_row(
            clean(worker["worker_id"]),
            worker["health"],
            f"{worker['active_tickets']} of {worker['slots']}",
            f"{span_of_seconds(worker['silence_seconds'])} ago",
            clean(worker["endpoint"] or (OWN if worker["worker_id"] == OWN_WORKER else "asks for its tickets")),
            clean(", ".join(worker["capabilities"])),
        )
    console().print(listing if found else "no workers; start one with `flowc worker`")
