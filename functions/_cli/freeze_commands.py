"""`flowc freeze`: what is frozen, since when and why; the gate of pipelines; policies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import console, print_json, run
from functions._cli.freeze_policy_commands import policy
from functions._cli.one_record import By, path_of
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url
from functions._cli.slo_words import FREEZES, GATE, Service

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

FROZEN = 3
"""Exit status of `flowc freeze status` for a service that is frozen: neither a failure (1) nor wrong use (2)."""

freeze = typer.Typer(
    help="See what is frozen by spent error budgets, and ask before a deploy.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
freeze.add_typer(policy, name="policy")


@freeze.command("list")
def list_freezes(
    *, service: Service = None, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """List the freezes that last."""
    run(_list(service, url, api_key, as_json=as_json))


@freeze.command("history")
def show_history(
    *,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days back.")] = 7,
    service: Service = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List freezes, the newest first, and how long they lasted."""
    run(_history(days, service, limit, cursor, url, api_key, as_json=as_json))


@freeze.command("status")
def show_status(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service that is to be deployed.")],
    *,
    namespace: Annotated[
        str | None, typer.Option(show_default="those of its SLOs", help="The namespace that it is in.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(show_default="any", help="What is to be done: BLOCK_DEPLOY or BLOCK_SCALE.")
    ] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Say whether a service is frozen, for pipelines.

    Exit status: 0 when it is open, 3 when it is frozen, 1 when that cannot be found out, 2 for wrong use.
    """
    run(_status(service, namespace, action, url, api_key, as_json=as_json))


@freeze.command("resolve")
def resolve_freeze(
    event_id: Annotated[str, typer.Argument(metavar="EVENT", help="Id of the freeze.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with the freeze.")],
    by: By = "",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """End a freeze by hand; its policy does not freeze again before the budget has recovered."""
    run(_resolve(event_id, reason, by, url, api_key, as_json=as_json))


async def _list(service: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get(f"{FREEZES}/active", service_name=service)
    if as_json:
        print_json(found)
    else:
        _print(found["items"], "nothing is frozen")
    return 0


async def _history(
    days: int, service: str | None, limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        page = await client.page(f"{FREEZES}/history", limit=limit, cursor=cursor, days=days, service_name=service)
    if as_json:
        print_json(page)
    else:
        _print(page["items"], "nothing was frozen in this time")
    return 0


async def _status(
    service: str, namespace: str | None, action: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(path_of(GATE, service), namespace=namespace, action=action, use_cache="false")
    if as_json:
        print_json(found)
    else:
        typer.echo(clean(f"{service} is {'frozen' if found['frozen'] else 'open'}"))
        for one in found["events"]:
            typer.echo(clean(f"{', '.join(one['actions'])} since {one['since']}: {one['reason']} ({one['event_id']})"))
    return FROZEN if found["frozen"] else 0


async def _resolve(event_id: str, reason: str, by: str, url: str, api_key: str, *, as_json: bool) -> int:
    from getpass import getuser

    from functions._cli.client import PlatformClient

    body: dict[str, Any] = {"requested_by": by or getuser(), "reason": reason}
    async with PlatformClient(url, api_key) as client:
        found = await client.post(path_of(FREEZES, event_id, "resolve"), body)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"resolved {found['event_id']}")
    return 0


def _print(freezes: "Sequence[JsonObject]", none: str) -> None:
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time, took

    listing = table("FREEZE", "TARGET", "ACTIONS", "SINCE (UTC)", "LASTED", "ENDED BY", rest="REASON")
    for one in freezes:
        target = f"{one['scope'].lower()} {one['target']}" if one["target"] != "*" else "everything"
        listing.add_row(
            one["event_id"],
            clean(target),
            ",".join(one["actions"]),
            date_and_time(one["triggered_at"]),
            took(1000 * one["duration_seconds"]),
            "" if one["active"] else clean(one["resolved_by"] or ""),
            clean(one["trigger_reason"]),
        )
    console().print(listing if freezes else none)
