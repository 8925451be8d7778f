"""`flowc flows`, `show` and `why`: what flows do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from functions._runtime.cli.console import console, print_json, run
from functions._runtime.cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, FlowId, Limit, Url

if TYPE_CHECKING:
    from functions._runtime.cli.progress import Progress
    from functions._runtime.cli.words import JsonObject

COMPLETED = "COMPLETED"

EVENTS_SHOWN = 3
"""The last transitions that `why` tells; `flowc events` tells all."""


def flows(
    *,
    status: Annotated[str | None, typer.Option(help="Only those in this status, e.g. EXECUTING.")] = None,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List flows, the newest first."""
    run(_flows(status, limit, url, api_key, as_json=as_json))


async def _flows(status: str | None, limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._runtime.cli.client import Client

    async with Client(url, api_key) as client:
        wanted = status.upper() if status else None
        found = [flow async for flow in client.items("/api/v1/flows", limit=limit, status=wanted)]
    if as_json:
        print_json(found)
        return 0
    _print_flows(found)
    if len(found) == limit:
        console(stderr=True).print(f"[dim]the newest {limit}; see more with --limit[/dim]")
    return 0


def _print_flows(found: Sequence["JsonObject"]) -> None:
    from datetime import UTC, datetime

    from functions._runtime.cli.pictures import flow_status
    from functions._runtime.cli.tables import table
    from functions._runtime.cli.words import clean, date_and_time, sla_left

    now = datetime.now(UTC)
    listing = table("FLOW", "STATUS", "TICKETS", "RECEIVED", "SLA", right=("TICKETS",), rest="PLAN")
    for flow in found:
        listing.add_row(
            flow["flow_id"],
            flow_status(flow["status"]),
            str(flow["tickets_generated"] or ""),
            date_and_time(flow["received_at"]),
            sla_left(flow, now),
            clean(flow["plan_id"] or ""),
        )
    console().print(listing if found else "no flows")


def show(
    flow_id: FlowId,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Show a flow and its tickets.

    With --watch the exit status is 0 only if the flow ends COMPLETED, otherwise 1.
    With --json the tickets are part of the flow's document.
    """
    run(_show(flow_id, limit, url, api_key, watch=watch, as_json=as_json))


async def _show(flow_id: str, limit: int, url: str, api_key: str, *, watch: bool, as_json: bool) -> int:
    from functions._runtime.cli.client import Client, flow_path
    from functions._runtime.cli.following import follow_or_leave
    from functions._runtime.cli.watching import snapshot

    async with Client(url, api_key) as client:
        status = COMPLETED
        if watch:
            status = (await follow_or_leave(client, flow_id, stderr=as_json)).flow["status"]
        if as_json:
            flow = await client.get(flow_path(flow_id))
            tickets = [ticket async for ticket in client.items(flow_path(flow_id, "tickets"))]
            print_json(flow | {"tickets": tickets})
        elif not watch:
            _print_picture(await snapshot(client, flow_id), limit)
    return 0 if status == COMPLETED else 1


def _print_picture(progress: "Progress", limit: int) -> None:
    from functions._runtime.cli.pictures import picture

    console().print(picture(progress, limit))


def why(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a flow or of a ticket.")],
    task_id: Annotated[
        str | None, typer.Argument(metavar="TASK", help="With the id of a flow: a task of its plan.")
    ] = None,
    *,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Say what a flow or a ticket waits for, and what happens next.

    Tells the last three events, too, and of a ticket the workers that could do it.
    """
    run(_why(_ticket_of(record_id, task_id) if task_id else record_id, url, api_key, as_json=as_json))


def _ticket_of(flow_id: str, task_id: str) -> str:
    from functions._core.values import ticket_id_of

    try:
        return ticket_id_of(flow_id, task_id)
    except ValueError:
        raise typer.BadParameter(f"{flow_id!r} is not the id of a flow") from None


async def _why(record_id: str, url: str, api_key: str, *, as_json: bool) -> int:
    from urllib.parse import quote

    from functions._runtime.cli.client import Client

    async with Client(url, api_key) as client:
        explanation = await client.get(f"/api/v1/why/{quote(record_id, safe='')}")
    if as_json:
        print_json(explanation)
    else:
        _print_why(explanation)
    return 0


def _print_why(explanation: "JsonObject") -> None:
    from functions._runtime.cli.tables import candidates_table
    from functions._runtime.cli.words import clock, transition

    for line in explanation["text"]:
        typer.echo(line)
    if explanation["candidates"]:
        typer.echo(f"\nWorkers as ranked at {clock(explanation['ranked_at'])}:")
        console().print(candidates_table(explanation["candidates"]))
    if explanation["last_events"]:
        typer.echo("\nLast events:")
    for entry in explanation["last_events"][-EVENTS_SHOWN:]:
        typer.echo(transition(entry))
