"""`flowc sla policy`: what is done when flows come at risk of missing their deadlines, or have missed them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import console, print_json, run
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

PATH = "/api/v1/flow-sla-policies"

VALUES = {"raise_priority": "to", "ask": "note", "pause_others": "at_most", "hedge": "at_most"}
"""The field that the value of an action is, as in `raise_priority=HIGH`."""

sla = typer.Typer(help="Act on flows that are at risk or late.", no_args_is_help=True, rich_markup_mode=None)
policy = typer.Typer(help="Policies for flows at risk or late.", no_args_is_help=True, rich_markup_mode=None)
sla.add_typer(policy, name="policy")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy.")]


def _labels(given: Sequence[str] | None) -> dict[str, str]:
    labels = dict(one.partition("=")[::2] for one in given or ())
    if wrong := [name for name, value in labels.items() if not value]:
        raise typer.BadParameter(f"{wrong[0]!r} is no label such as team=red")
    return labels


def _actions(given: Sequence[str], others: Mapping[str, str]) -> list[dict[str, Any]]:
    actions = []
    for one in given:
        name, _, value = one.partition("=")
        action: dict[str, Any] = {"action": name}
        if value and name not in VALUES:
            raise typer.BadParameter(f"{name!r} takes no value", param_hint="--do")
        if value:
            action[VALUES[name]] = int(value) if VALUES[name] == "at_most" and value.isdecimal() else value
        if name == "pause_others" and others:
            action["labels"] = others
        actions.append(action)
    return actions


@policy.command("put")
def put_policy(  # noqa: PLR0913 an option for each field
    name: Name,
    *,
    do: Annotated[
        list[str],
        typer.Option(
            "--do",
            metavar="ACTION",
            help="notify, raise_priority=HIGH, ask[=NOTE], pause_others[=NUMBER], hedge[=NUMBER], cancel or "
            "cancel_and_compensate; given again, in this order.",
        ),
    ],
    on: Annotated[str, typer.Option(help="When it acts: at_risk or breached.")] = "at_risk",
    of: Annotated[str, typer.Option(help="Whose deadline that is: flow, or ticket for the share of one.")] = "flow",
    plan: Annotated[str | None, typer.Option(help="Only flows of this plan.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only flows with this label, NAME=VALUE.")] = None,
    risk: Annotated[str | None, typer.Option(help="Only flows of this risk: low, medium, high or critical.")] = None,
    priority: Annotated[str | None, typer.Option(help="Only flows of this priority.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only flows of this tenant.")] = None,
    others_label: Annotated[
        list[str] | None, typer.Option(help="pause_others pauses only flows with this label, NAME=VALUE.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    disabled: Annotated[bool, typer.Option("--disabled", help="Keep it, but let it not act.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make a policy, or replace it."""
    selector = {"plan_id": plan, "risk_band": risk, "priority": priority, "tenant_id": tenant}
    form = {
        "description": description,
        "enabled": not disabled,
        "on": on,
        "of": of,
        "selector": {"labels": _labels(label), **{key: value for key, value in selector.items() if value is not None}},
        "actions": _actions(do, _labels(others_label)),
    }
    run(_put(name, form, url, api_key, as_json=as_json))


@policy.command("list")
def list_policies(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the policies, in the order in which they act."""
    run(_list(url, api_key, as_json=as_json))


@policy.command("show")
def show_policy(name: Name, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Show a policy."""
    run(_show(name, url, api_key, as_json=as_json))


@policy.command("delete")
def delete_policy(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Forget a policy; what it has done stays."""
    run(_deleted(name, url, api_key))


def _path(name: str) -> str:
    from urllib.parse import quote

    return f"{PATH}/{quote(name, safe='')}"


async def _put(name: str, form: Mapping[str, Any], url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        made = await client.put(_path(name), form)
    if as_json:
        print_json(made)
    else:
        typer.echo(_line(made))
    return 0


async def _list(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(PATH)
    if as_json:
        print_json({"items": found["items"], "cursor": None})
        return 0
    listing = table("POLICY", "ENABLED", "ON", "FLOWS", rest="ACTIONS")
    for one in found["items"]:
        enabled = "yes" if one["enabled"] else "no"
        listing.add_row(clean(one["name"]), enabled, _on(one), clean(_flows(one)), clean(_acts(one)))
    console().print(listing if found["items"] else "no policies; make one with `flowc sla policy put NAME --do ACTION`")
    return 0


async def _show(name: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        one = await client.get(_path(name))
    if as_json:
        print_json(one)
    else:
        typer.echo(_line(one))
    return 0


async def _deleted(name: str, url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        await client.delete(_path(name))
    typer.echo(f"deleted {name}")
    return 0


def _line(one: "JsonObject") -> str:
    from functions._cli.words import clean

    state = "" if one["enabled"] else ", disabled"
    about = f": {one['description']}" if one["description"] else ""
    return clean(f"policy {one['name']}{state}{about}: on {_on(one)}, of {_flows(one)}: {_acts(one)}")


def _on(one: "JsonObject") -> str:
    return f"{one['on']} ({one['of']})"


def _flows(one: "JsonObject") -> str:
    """Return which flows a policy is for, in a few words."""
    selector = one["selector"]
    words = [f"{name}={selector[name]}" for name in ("plan_id", "risk_band", "priority", "tenant_id") if selector[name]]
    words += [f"{name}={value}" for name, value in sorted(selector["labels"].items())]
    return " ".join(words) or "all flows"


def _acts(one: "JsonObject") -> str:
    """Return what a policy does, in a few words."""
    words = []
    for action in one["actions"]:
        value = action[VALUES[action["action"]]] if action["action"] in VALUES else None
        others = "".join(f" {name}={text}" for name, text in sorted((action["labels"] or {}).items()))
        words.append(f"{action['action']}{'' if value is None else f'={value}'}{others}")
    return ", ".join(words)
