"""`flowc slo admission`: what becomes of flows while an error budget is spent."""

from typing import Annotated, Any

import typer

from functions._cli.console import console, print_json, run
from functions._cli.one_record import By, Why, asked, delete, path_of, show
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from functions._cli.slo_words import pairs

admission = typer.Typer(
    help="Say what becomes of flows while an error budget is spent.", no_args_is_help=True, rich_markup_mode=None
)

PATH = "/api/v1/admission-policies"
MANY: Any = []  # Typer's way

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy.")]


@admission.command("list")
def list_policies(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the policies, in the order in which they are looked at."""
    run(_list(url, api_key, as_json=as_json))


@admission.command("show")
def show_policy(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Print a policy as JSON."""
    run(show(path_of(PATH, name), url, api_key))


@admission.command("set")
def set_policy(  # noqa: PLR0913 an option for each field
    name: Name,
    *,
    action: Annotated[str, typer.Option(help="ADMIT, LOWER, HOLD, APPROVE or REFUSE.")],
    service: Annotated[str | None, typer.Option(help="Only flows whose label `service` is this one.")] = None,
    label: Annotated[list[str], typer.Option(metavar="NAME:VALUE", help="Only flows with it; repeatable.")] = MANY,
    risk_band: Annotated[list[str], typer.Option(help="Only flows of this risk band; repeatable.")] = MANY,
    priority: Annotated[list[str], typer.Option(help="Only flows of this priority; repeatable.")] = MANY,
    slo: Annotated[list[str], typer.Option(metavar="ID", help="An SLO that it looks at; repeatable.")] = MANY,
    slo_label: Annotated[
        list[str], typer.Option(metavar="NAME:VALUE", help="A label of the SLOs that it looks at.")
    ] = MANY,
    status: Annotated[
        list[str], typer.Option(help="The status of a budget in which it holds; EXHAUSTED; repeatable.")
    ] = MANY,
    freeze_policy: Annotated[
        list[str], typer.Option(metavar="ID", help="In place of budgets: while a freeze of this policy lasts.")
    ] = MANY,
    lower_to: Annotated[str | None, typer.Option(help="The priority that LOWER gives at most; LOW.")] = None,
    hold_seconds: Annotated[int | None, typer.Option(min=1, help="For how long HOLD holds at most; 3600.")] = None,
    order: Annotated[int | None, typer.Option(min=0, help="Policies with a lower number come first; 100.")] = None,
    disable: Annotated[bool, typer.Option("--disable", help="Keep it, and do not look at it.")] = False,
    by: By = "",
    reason: Why = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make a policy, or replace it as a whole."""
    flows = {
        "service": service,
        "labels": pairs(label) or None,
        "risk_bands": [*risk_band] or None,
        "priorities": [*priority] or None,
    }
    form = {
        "action": action,
        "flows": _given(flows) or None,
        "slo_selector": {"slo_ids": [*slo], "labels": pairs(slo_label)} if slo or slo_label else None,
        "statuses": [*status] or None,
        "freeze_policies": [*freeze_policy] or None,
        "priority": lower_to,
        "hold_at_most_seconds": hold_seconds,
        "order": order,
        "enabled": False if disable else None,
    }
    run(_set(asked(path_of(PATH, name), by, reason), _given(form), url, api_key))


@admission.command("delete")
def delete_policy(name: Name, *, by: By = "", reason: Why = None, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Forget a policy; flows that it holds go on within a minute."""
    run(delete(asked(path_of(PATH, name), by, reason), "deleted", url, api_key))


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


async def _list(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(PATH)
    if as_json:
        print_json(found)
        return 0
    listing = table("ORDER", "ACTION", "WHILE", "ENABLED", rest="NAME")
    for one in found["items"]:
        enabled = "yes" if one["enabled"] else "no"
        listing.add_row(str(one["order"]), one["action"], _for(one), enabled, clean(one["name"]))
    console().print(listing if found["items"] else "no policies; make one with `flowc slo admission set NAME`")
    return 0


def _for(one: dict[str, Any]) -> str:
    """Return while what a policy holds."""
    return "a freeze lasts" if one["freeze_policies"] else f"a budget is {' or '.join(one['statuses'])}"


async def _set(path: str, form: dict[str, Any], url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        made = await client.put(path, form)
    typer.echo(f"admission policy {made['name']}: {made['action']} while {_for(made)}")
    return 0
