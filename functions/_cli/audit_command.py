"""`flowc audits` and `incidents`: what validation found in decisions, what people did, and what went wrong."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Limit, Url
from functions._cli.pages import say_page

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

MOST = 500
"""What the platform returns at most: its audits have no pages."""


def audits(
    *,
    flow: Annotated[str | None, typer.Option(metavar="ID", help="Only about this flow.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only these: validation, action or incident.")] = None,
    valid: Annotated[
        bool | None, typer.Option("--valid/--invalid", help="Only validations that found nothing wrong, or something.")
    ] = None,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List what validation found, what people did and what went wrong, the newest first."""
    filters = {"flow_id": flow, "kind": kind, "valid": None if valid is None else str(valid).lower()}
    run(_audits(filters, min(limit, MOST), url, api_key, as_json=as_json))


def incidents(
    *,
    flow: Annotated[str | None, typer.Option(metavar="ID", help="Only of this flow.")] = None,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List what went wrong beyond what flows fix by themselves, the newest first."""
    run(_incidents(flow, min(limit, MOST), url, api_key, as_json=as_json))


async def _incidents(flow: str | None, limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.references import flow_id_of
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    async with PlatformClient(url, api_key) as client:
        flow_id = flow and await flow_id_of(client, flow)
        found = (await client.get("/api/v1/incidents", flow_id=flow_id, limit=limit))["items"]
    if as_json:
        print_json({"items": found, "cursor": None})
        return 0
    listing = table("TIME", "SEVERITY", "TYPE", "FLOW", rest="DETAILS")
    for one in found:
        details = clean("; ".join(one["details"]))
        time = date_and_time(one["created_at"])
        listing.add_row(time, one["severity"], one["incident_type"], one["flow_id"], details)
    console().print(listing if found else "no incidents")
    say_page(url, "incidents")
    return 0


async def _audits(filters: dict[str, str | None], limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.references import flow_id_of
    from functions._cli.tables import table

    async with PlatformClient(url, api_key) as client:
        if filters["flow_id"]:
            filters["flow_id"] = await flow_id_of(client, filters["flow_id"])
        found = (await client.get("/api/v1/audits", **filters, limit=limit))["items"]
    if as_json:
        print_json({"items": found, "cursor": None})
        return 0
    listing = table("TIME", "WHAT", "ABOUT", "BY", rest="WHY")
    for audit in found:
        listing.add_row(*_cells(audit))
    console().print(listing if found else "no audits")
    say_page(url, "audit")
    return 0


def _cells(audit: "JsonObject") -> tuple[str, ...]:
    from functions._cli.words import clean, date_and_time

    if audit["kind"] == "action":
        time, what, about = audit["at"], audit["action"], audit["target"]
        by, why = audit["who"], audit["why"]
    elif audit["kind"] == "incident":
        time, what, about, by = audit["created_at"], audit["incident_type"], audit["flow_id"], audit["severity"]
        why = "; ".join(audit["details"])
    else:
        time = audit["checked_at"]
        what, about, by = ("valid" if audit["valid"] else "invalid"), audit["flow_id"], "validate"
        why = "; ".join(f"{error['code']}: {error['message']}" for error in (*audit["errors"], *audit["warnings"]))
    return (date_and_time(time), *(clean(text) for text in (what, about, by, why)))
