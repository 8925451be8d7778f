"""`flowc guard`: which tasks must not be done, and the decision about tickets that wait in quarantine."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from functions._cli.console import console, print_json, run
from functions._cli.one_record import By, Why, asked, delete, path_of, show
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, DryRun, TicketId, Url
from functions._cli.slo_words import pairs

guard = typer.Typer(
    help="Say which tasks must not be done, and decide about those in quarantine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PATH = "/api/v1/guard-policies"
MANY: Any = []  # Typer's way

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy.")]
Because = Annotated[str, typer.Option("--reason", help="Why, for the history and the audit.")]


@guard.command("list")
def list_policies(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the policies that are stored, by name."""
    run(_list(url, api_key, as_json=as_json))


@guard.command("show")
def show_policy(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Print a policy as JSON."""
    run(show(path_of(PATH, name), url, api_key))


@guard.command("set")
def set_policy(  # noqa: PLR0913 an option for each field
    name: Name,
    *,
    action: Annotated[str, typer.Option(help="DENY or QUARANTINE.")],
    secrets: Annotated[bool, typer.Option("--secrets", help="Broken by parameters that hold a secret.")] = False,
    clearance: Annotated[str | None, typer.Option(metavar="LEVEL", help="Broken by a higher security level.")] = None,
    allow_type: Annotated[list[str], typer.Option(help="Broken by other types of tasks; repeatable.")] = MANY,
    allow_provider: Annotated[list[str], typer.Option(help="Broken by other providers, or none; repeatable.")] = MANY,
    deny_capability: Annotated[list[str], typer.Option(help="Broken by tasks that require it; repeatable.")] = MANY,
    task_type: Annotated[list[str], typer.Option(help="Only tasks of this type; repeatable.")] = MANY,
    provider: Annotated[list[str], typer.Option(help="Only tasks with this provider; repeatable.")] = MANY,
    risk_band: Annotated[list[str], typer.Option(help="Only flows of this risk band; repeatable.")] = MANY,
    priority: Annotated[list[str], typer.Option(help="Only flows of this priority; repeatable.")] = MANY,
    label: Annotated[list[str], typer.Option(metavar="NAME:VALUE", help="Only flows with it; repeatable.")] = MANY,
    message: Annotated[str | None, typer.Option(help="What people are told who break it.")] = None,
    disable: Annotated[bool, typer.Option("--disable", help="Keep it, and do not look at it.")] = False,
    by: By = "",
    reason: Why = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make a policy, or replace it as a whole."""
    flows = {"labels": pairs(label), "risk_bands": [*risk_band], "priorities": [*priority]}
    form = {
        "action": action,
        "secrets": secrets,
        "security_level_at_most": clearance,
        "allowed_task_types": [*allow_type],
        "allowed_providers": [*allow_provider],
        "denied_capabilities": [*deny_capability],
        "task_types": [*task_type],
        "providers": [*provider],
        "flows": _given(flows),
        "message": message,
    }
    given = _given(form) | ({"enabled": False} if disable else {})
    run(_set(asked(path_of(PATH, name), by, reason), given, url, api_key))


@guard.command("delete")
def delete_policy(name: Name, *, by: By = "", reason: Why = None, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Forget a policy; tickets in quarantine stay there until a person decides."""
    run(delete(asked(path_of(PATH, name), by, reason), "deleted", url, api_key))


@guard.command("release")
def release(
    ticket_id: TicketId,
    *,
    reason: Because,
    by: By = "",
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Let a ticket in quarantine go on; no guard puts it there again."""
    run(_ruled("release", ticket_id, by, reason, url, api_key, dry_run=dry_run))


@guard.command("reject")
def reject(
    ticket_id: TicketId,
    *,
    reason: Because,
    by: By = "",
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Let a ticket in quarantine fail."""
    run(_ruled("reject", ticket_id, by, reason, url, api_key, dry_run=dry_run))


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


async def _list(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(PATH)
    if as_json:
        print_json(found)
        return 0
    listing = table("ACTION", "BROKEN BY", "ENABLED", rest="NAME")
    for one in found["items"]:
        listing.add_row(one["action"], clean(_rules(one)), "yes" if one["enabled"] else "no", clean(one["name"]))
    console().print(listing if found["items"] else "no policies; make one with `flowc guard set NAME`")
    return 0


RULES = {
    "secrets": "secrets",
    "security_level_at_most": "clearance",
    "allowed_task_types": "types",
    "allowed_providers": "providers",
    "denied_capabilities": "capabilities",
}
"""The rules of a policy, by their fields, as a list shows them."""


def _rules(one: Mapping[str, Any]) -> str:
    return ", ".join(word for field, word in RULES.items() if one[field])


async def _set(path: str, form: dict[str, Any], url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        made = await client.put(path, form)
    typer.echo(f"guard policy {clean(made['name'])}: {made['action']}, broken by {clean(_rules(made))}")
    return 0


async def _ruled(ruling: str, ticket_id: str, by: str, reason: str, url: str, api_key: str, *, dry_run: bool) -> int:
    from getpass import getuser

    from functions._cli.client import PlatformClient, ticket_path
    from functions._cli.references import with_ticket

    said: dict[str, Any] = {"ruling": ruling, "requested_by": by or getuser(), "reason": reason}
    said |= {"dry_run": True} if dry_run else {}
    async with PlatformClient(url, api_key) as client:
        flow = await with_ticket(client, ticket_id, lambda found: client.post(ticket_path(found, "quarantine"), said))
    done = {"release": "released", "reject": "rejected"}[ruling]
    if dry_run:
        typer.echo(f"it would be {done}" if flow["changes"] else "nothing would change")
    else:
        typer.echo(f"{done if flow.get('changes') else 'nothing to change'}; the flow is {flow['status']}")
    return 0
