"""`flowc flows`, `show` and `why`: what flows do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, FlowId, Limit, Url
from functions._cli.pages import say_page
from functions._cli.wire import COMPLETED

if TYPE_CHECKING:
    from functions._cli.progress import Progress
    from functions._cli.wire import JsonObject

WIDEST = 40
"""Characters of a decision id in the listing; --json has it whole."""

OUTPUT_SHOWN = 100
"""Characters of an output that `show` prints; `flowc result` prints all."""

EVENTS_SHOWN = 3
"""The last transitions that `why` tells; `flowc events` tells all."""


def flows(
    *,
    status: Annotated[str | None, typer.Option(help="Only those in this status, e.g. EXECUTING.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only those with this label, NAME=VALUE; given again, with all of them.")
    ] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List flows, the newest first, with the ids that other commands take: flow, decision, plan."""
    labels = [one.replace("=", ":", 1) for one in label or ()]
    run(_flows(status, labels, limit, cursor, url, api_key, as_json=as_json))


async def _flows(
    status: str | None,
    labels: Sequence[str],
    limit: int,
    cursor: str | None,
    url: str,
    api_key: str,
    *,
    as_json: bool,
) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        wanted = status.upper() if status else None
        page = await client.page("/api/v1/flows", limit=limit, cursor=cursor, status=wanted, label=labels)
    if as_json:
        print_json(page)
        return 0
    _print_flows(page["items"])
    if page["cursor"] is not None:
        say(f"there are more: --limit, or --cursor {page['cursor']}")
    say_page(url, "flows")
    return 0


def _print_flows(found: Sequence["JsonObject"]) -> None:
    from datetime import UTC, datetime

    from functions._cli.pictures import flow_status
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time, sla_left

    now = datetime.now(UTC)
    listing = table("FLOW", "STATUS", "TICKETS", "RECEIVED", "SLA", "DECISION", right=("TICKETS",), rest="PLAN")
    for flow in found:
        listing.add_row(
            flow["flow_id"],
            flow_status(flow["status"]),
            str(flow["tickets_generated"] or ""),
            date_and_time(flow["received_at"]),
            sla_left(flow, now),
            clean(flow["decision_id"])[:WIDEST],
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


async def _show(ref: str, limit: int, url: str, api_key: str, *, watch: bool, as_json: bool) -> int:
    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.references import with_flow

    async with PlatformClient(url, api_key) as client:
        flow = await with_flow(client, ref, lambda one: client.get(flow_path(one)))
        flow_id = flow["flow_id"]
        if watch:
            from functions._cli.following import follow_or_leave

            flow = (await follow_or_leave(client, flow_id, stderr=as_json)).flow
        if as_json:
            tickets = [ticket async for ticket in client.items(flow_path(flow_id, "tickets"))]
            print_json(flow | {"tickets": tickets})
        elif not watch:
            from functions._cli.watching import snapshot

            _print_picture(await snapshot(client, flow), limit)
            say_page(url, "flows", flow_id)
    return 0 if not watch or flow["status"] == COMPLETED else 1


def _print_picture(progress: "Progress", limit: int) -> None:
    from functions._cli.pictures import picture

    console().print(picture(progress, limit))
    _print_outputs(progress, limit)


def _print_outputs(progress: "Progress", limit: int) -> None:
    from json import dumps

    from functions._cli.words import clean

    outputs = [(line.task_id, line.output) for line in progress.planned() if line.output is not None]
    if not outputs:
        return
    typer.echo(f"\nOutputs (`flowc result {progress.flow['flow_id']}` prints all of them):")
    for task_id, output in outputs[:limit]:
        text = clean(dumps(output, ensure_ascii=False))
        typer.echo(f"  {clean(task_id)}: {text if len(text) <= OUTPUT_SHOWN else text[: OUTPUT_SHOWN - 1] + '…'}")


def why(
    record_id: Annotated[
        str, typer.Argument(metavar="ID", help="A flow, named as for `flowc show`, the id of a ticket, or FLOW/TASK.")
    ],
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
    run(_why(f"{record_id}/{task_id}" if task_id else record_id, url, api_key, as_json=as_json))


async def _why(record_id: str, url: str, api_key: str, *, as_json: bool) -> int:
    from urllib.parse import quote

    from functions._cli.client import PlatformClient
    from functions._cli.references import with_flow, with_ticket

    async with PlatformClient(url, api_key) as client:
        find = with_ticket if "/" in record_id else with_flow
        explanation = await find(client, record_id, lambda one: client.get(f"/api/v1/why/{quote(one, safe='')}"))
    if as_json:
        print_json(explanation)
    else:
        _print_why(explanation)
        say_page(url, f"{explanation['kind']}s", explanation["subject"])
    return 0


def _print_why(explanation: "JsonObject") -> None:
    from functions._cli.tables import candidates_table
    from functions._cli.words import clock, transition

    for line in explanation["text"]:
        typer.echo(line)
    if explanation["candidates"]:
        typer.echo(f"\nWorkers as ranked at {clock(explanation['ranked_at'])}:")
        console().print(candidates_table(explanation["candidates"]))
    if explanation["last_events"]:
        typer.echo("\nLast events:")
    for entry in explanation["last_events"][-EVENTS_SHOWN:]:
        typer.echo(transition(entry))
