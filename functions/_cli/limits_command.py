"""`flowc limits`: who holds the places of flows that may be in flight at once, and who waits for one."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

KEYS = 20
"""Concurrency keys that are shown unless another number is asked for."""


def limits(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many keys to print at most.")] = KEYS,
    after: Annotated[str | None, typer.Option(help="The keys behind this one.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Show the limits of what is in flight, who holds places and who waits.

    The limits of the platform come first, then the concurrency keys of plans with flows in flight.
    """
    run(_limits(limit, after, url, api_key, as_json=as_json))


async def _limits(limit: int, after: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get("/api/v1/limits", limit=limit, after=after)
    if as_json:
        print_json(found)
    else:
        _print_limits(found)
    return 0


def _print_limits(found: "JsonObject") -> None:
    from functions._cli.tables import table
    from functions._cli.words import clean

    for kind in ("flows", "tickets"):
        if (own := found[kind]) is not None:
            of_tenant = f", {own['tenant_limit']} of one tenant" if own["tenant_limit"] is not None else ""
            say(f"{kind} in flight: {own['held']} of {own['limit']}{of_tenant}")
    listing = table("KEY", "IN FLIGHT", "WAIT", "OLDEST", right=("IN FLIGHT", "WAIT"), rest="NEXT")
    for key in found["keys"]:
        listing.add_row(
            clean(key["key"]),
            f"{key['held']} of {key['limit'] or '?'}",
            f"{len(key['waiting'])}{'+' if key['more_wait'] else ''}",
            key["holders"][0]["flow_id"] if key["holders"] else "",
            key["waiting"][0] if key["waiting"] else "",
        )
    console().print(listing if found["keys"] else "no flow with a concurrency key is in flight")
    if found["after"] is not None:
        say(f"there are more: --limit, or --after {clean(found['after'])!r}")
