"""`flowc signal` and `flowc events-in`: events of users for tickets that wait, and why none fits."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import WRONG_USE, CommandFailed, console, print_json, run
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Limit, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

WAITS = "/api/v1/event-waits"
KEPT = "/api/v1/kept-events"

After = Annotated[
    str | None, typer.Option("--after", metavar="AFTER", show_default=False, help="Begin behind the page that gave it.")
]


def signal(  # noqa: PLR0913 as many as an event has
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the event, such as com.example.paid.")],
    *,
    source: Annotated[str, typer.Option("--source", help="Sender of the event.")] = "/flowc/cli",
    subject: Annotated[str | None, typer.Option("--subject", help="What the event is about.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="JSON", help="Its data; @FILE reads a file.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", show_default="a new one", help="Its id; the same one again does nothing.")
    ] = None,
    attributes: Annotated[
        list[str], typer.Option("--attribute", "-a", metavar="NAME=VALUE", help="One more attribute.")
    ] = [],  # noqa: B006 Typer's way
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Send an event for a ticket that waits for it, and say which wait it has ended.

    Without such a wait the event is kept for a while.
    """
    from uuid import uuid4

    envelope = {"specversion": "1.0", "id": event_id or str(uuid4()), "source": source, "type": event_type}
    envelope |= {} if subject is None else {"subject": subject}
    more = dict(_attribute(text) for text in attributes)
    document: dict[str, Any] = more | envelope
    if data is not None:
        document["data"] = _json(data)
    run(_send(document, url, api_key, as_json=as_json))


def events_in(
    *,
    kept: Annotated[bool, typer.Option("--kept", help="List the events that have come instead of the waits.")] = False,
    event_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only waits for events of this type.")
    ] = None,
    limit: Limit = PAGE,
    after: After = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List the tickets that wait for events, or the events that are kept."""
    if kept and event_type is not None:
        raise typer.BadParameter("--type is for waits", param_hint="--type")
    run(_list(KEPT if kept else WAITS, event_type, limit, after, url, api_key, as_json=as_json))


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--attribute")
    return name, value


def _json(text: str) -> object:
    try:
        found = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        return json.loads(found)
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]}: cannot be read: {error.strerror}", param_hint="--data") from error
    except ValueError as error:
        raise typer.BadParameter(f"is no JSON: {error}", param_hint="--data") from error


async def _send(document: "JsonObject", url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    headers = {"content-type": "application/cloudevents+json"}
    async with PlatformClient(url, api_key) as client:
        answer = await client.send(headers, json.dumps(document).encode())
    if "result" not in answer:
        raise CommandFailed(f"{document['type']} is an event of the platform itself", exit_status=WRONG_USE)
    if as_json:
        print_json({"id": document["id"], **answer})
    else:
        typer.echo(_said(answer))
    return 0


def _said(answer: "JsonObject") -> str:
    by = f"ticket {answer['ticket_id']} of flow {answer['flow_id']}" if "ticket_id" in answer else ""
    if answer["result"] == "matched":
        return f"matched: it has ended the wait of {by}"
    known = "duplicate: it is known already" if answer["result"] == "duplicate" else "kept: no ticket waits for it yet"
    if by:
        return f"{known}, for {by}"
    return f"{known}; it is kept until {answer['kept_until']}"


async def _list(
    path: str, event_type: str | None, limit: int, after: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient

    asked = {"limit": min(limit, 500), "after": after} | ({"type": event_type} if event_type is not None else {})
    async with PlatformClient(url, api_key) as client:
        page = await client.get(path, **asked)
    if as_json:
        print_json(page)
        return 0
    _show(page["items"], kept=path == KEPT)
    if page["after"] is not None:
        typer.echo(f"there may be more; go on with --after {page['after']}", err=True)
    return 0


def _show(items: Sequence["JsonObject"], *, kept: bool) -> None:
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    if not items:
        console().print("no events" if kept else "no ticket waits for an event")
        return
    listing = (
        table("ARRIVED", "RESULT", "TYPE", "SOURCE", rest="ID")
        if kept
        else table("SINCE", "TICKET", "TYPE", rest="WANTED")
    )
    for one in items:
        if kept:
            names = (clean(one[name]) for name in ("type", "source", "id"))
            listing.add_row(date_and_time(one["arrived_at"]), one["result"], *names)
        else:
            by, wanted = one["by"], one["wanted"]
            listing.add_row(date_and_time(by["since"]), by["ticket_id"], clean(wanted["type"]), clean(_wanted(wanted)))
    console().print(listing)


def _wanted(wanted: "JsonObject") -> str:
    """Return the facts that a wait asks for, as text."""
    found = [f"{name} {wanted[name]}" for name in ("source", "subject") if wanted.get(name)]
    correlation = wanted.get("correlation")
    found += [f"{correlation['at']} = {json.dumps(correlation['equals'])}"] if correlation else []
    found += [str(wanted["filter"])] if wanted.get("filter") else []
    return ", ".join(found) or "any"
