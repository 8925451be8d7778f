"""`flowc audits`: what validation found in decisions, and what people did to the platform."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._runtime.cli.console import console, print_json, run
from functions._runtime.cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Limit, Url

if TYPE_CHECKING:
    from functions._runtime.cli.words import JsonObject

MOST = 500
"""What the platform returns at most: its audits have no pages."""


def audits(
    *,
    flow: Annotated[str | None, typer.Option(metavar="ID", help="Only about this flow.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only these: validation or action.")] = None,
    valid: Annotated[
        bool | None, typer.Option("--valid/--invalid", help="Only validations that found nothing wrong, or something.")
    ] = None,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List what validation found and what people did, the newest first."""
    filters = {"flow_id": flow, "kind": kind, "valid": None if valid is None else str(valid).lower()}
    run(_audits(filters, min(limit, MOST), url, api_key, as_json=as_json))


async def _audits(filters: dict[str, str | None], limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._runtime.cli.client import Client
    from functions._runtime.cli.tables import table

    async with Client(url, api_key) as client:
        found = (await client.get("/api/v1/audits", **filters, limit=limit))["items"]
    if as_json:
        print_json(found)
        return 0
    listing = table("TIME", "WHAT", "ABOUT", "BY", rest="WHY")
    for audit in found:
        listing.add_row(*_cells(audit))
    console().print(listing if found else "no audits")
    return 0


def _cells(audit: "JsonObject") -> tuple[str, ...]:
    from functions._runtime.cli.words import clean, date_and_time

    if audit["kind"] == "action":
        what, about, by, why = audit["action"], audit["target"], audit["who"], audit["why"]
    else:
        what, about, by = ("valid" if audit["valid"] else "invalid"), audit["flow_id"], "validate"
        why = "; ".join(f"{error['code']}: {error['message']}" for error in (*audit["errors"], *audit["warnings"]))
    time = date_and_time(audit["at"] if audit["kind"] == "action" else audit["checked_at"])
    return (time, *(clean(text) for text in (what, about, by, why)))
