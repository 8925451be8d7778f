"""`flowc freeze policy`: which budgets freeze what."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from functions._cli.console import console, print_json, run
from functions._cli.one_record import By, Why, asked, delete, path_of, show
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url
from functions._cli.slo_words import POLICIES, pairs, percent

policy = typer.Typer(help="Say which spent budgets freeze what.", no_args_is_help=True, rich_markup_mode=None)

MANY: Any = []  # Typer's way

Id = Annotated[str, typer.Argument(metavar="POLICY", help="Id of the policy.")]
Scope = Annotated[str | None, typer.Option(help="What it freezes: NAMESPACE, SERVICE or GLOBAL.")]
Target = Annotated[str | None, typer.Option(help="The namespace or service; not for GLOBAL.")]
Actions = Annotated[
    list[str], typer.Option("--action", help="BLOCK_DEPLOY (default), BLOCK_SCALE or ALERT_ONLY; repeatable.")
]
Trigger = Annotated[
    float | None, typer.Option(min=0, max=100, help="It freezes when no more percent of a budget are left; 20.")
]
Unfreeze = Annotated[
    float | None, typer.Option(min=0, max=100, help="It frees when as many percent of each budget are left; 50.")
]
Manual = Annotated[
    bool | None, typer.Option("--manual/--auto", show_default=False, help="Whether a person has to free again.")
]
Least = Annotated[int | None, typer.Option("--min-seconds", min=0, help="How long a freeze lasts at least.")]
Ids = Annotated[list[str], typer.Option("--slo", metavar="ID", help="An SLO that it looks at; repeatable.")]
Labels = Annotated[
    list[str], typer.Option("--slo-label", metavar="NAME:VALUE", help="A label of the SLOs that it looks at.")
]


@policy.command("list")
def list_policies(
    *,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that were deleted.")] = False,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List the policies."""
    run(_list(limit, cursor, url, api_key, deleted=deleted, as_json=as_json))


@policy.command("show")
def show_policy(policy_id: Id, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Print a policy as JSON."""
    run(show(path_of(POLICIES, policy_id), url, api_key))


@policy.command("create")
def create_policy(  # noqa: PLR0913 an option for each field
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the policy.")],
    *,
    scope: Scope = "SERVICE",
    target: Target = None,
    action: Actions = MANY,
    trigger: Trigger = None,
    unfreeze: Unfreeze = None,
    manual: Manual = None,
    min_seconds: Least = None,
    slo: Ids = MANY,
    slo_label: Labels = MANY,
    by: By = "",
    reason: Why = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make a policy, and print its id."""
    form = _form(scope, target, action, trigger, unfreeze, min_seconds, manual=manual, slo=slo, slo_label=slo_label)
    run(_sent("post", asked(POLICIES, by, reason), {"name": name, **form}, url, api_key))


@policy.command("update")
def update_policy(  # noqa: PLR0913 an option for each field
    policy_id: Id,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    scope: Scope = None,
    target: Target = None,
    action: Actions = MANY,
    trigger: Trigger = None,
    unfreeze: Unfreeze = None,
    manual: Manual = None,
    min_seconds: Least = None,
    slo: Ids = MANY,
    slo_label: Labels = MANY,
    enable: Annotated[bool, typer.Option("--enable", help="Bring a deleted one back.")] = False,
    by: By = "",
    reason: Why = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Change a policy; what no option names stays as it is. It is evaluated at once."""
    form = _form(scope, target, action, trigger, unfreeze, min_seconds, manual=manual, slo=slo, slo_label=slo_label)
    form |= ({} if name is None else {"name": name}) | ({"enabled": True} if enable else {})
    if not form:
        raise typer.BadParameter("nothing is to be changed: name an option")
    run(_sent("put", asked(path_of(POLICIES, policy_id), by, reason), form, url, api_key))


@policy.command("delete")
def delete_policy(
    policy_id: Id, *, by: By = "", reason: Why = None, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """Evaluate a policy no more; what it has frozen is free."""
    run(delete(asked(path_of(POLICIES, policy_id), by, reason), f"deleted {policy_id}", url, api_key))


def _form(  # noqa: PLR0913 a field each
    scope: str | None,
    target: str | None,
    action: Sequence[str],
    trigger: float | None,
    unfreeze: float | None,
    min_seconds: int | None,
    *,
    manual: bool | None,
    slo: Sequence[str],
    slo_label: Sequence[str],
) -> dict[str, Any]:
    """Return the fields that are given."""
    form = {
        "scope": scope,
        "target": target,
        "actions": [*action] or None,
        "trigger_threshold_percent": trigger,
        "unfreeze_threshold_percent": unfreeze,
        "auto_unfreeze": None if manual is None else not manual,
        "min_duration_seconds": min_seconds,
        "slo_selector": {"slo_ids": [*slo], "labels": pairs(slo_label)} if slo or slo_label else None,
    }
    return {name: value for name, value in form.items() if value is not None}


async def _list(limit: int, cursor: str | None, url: str, api_key: str, *, deleted: bool, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    enabled = "false" if deleted else "true"
    async with PlatformClient(url, api_key) as client:
        page = await client.page(POLICIES, limit=limit, cursor=cursor, enabled=enabled)
    if as_json:
        print_json(page)
        return 0
    listing = table("POLICY", "SCOPE", "FREEZES AT", "FREES AT", "ACTIONS", rest="NAME")
    for one in page["items"]:
        frees = percent(one["unfreeze_threshold_percent"]) if one["auto_unfreeze"] else "by hand"
        scope = f"{one['scope']} {one['target']}" if one["target"] != "*" else one["scope"]
        freezes = percent(one["trigger_threshold_percent"])
        listing.add_row(one["policy_id"], clean(scope), freezes, frees, ",".join(one["actions"]), clean(one["name"]))
    console().print(listing if page["items"] else "no policies; make one with `flowc freeze policy create NAME`")
    return 0


async def _sent(verb: str, path: str, form: Mapping[str, Any], url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        stored = await (client.post(path, form) if verb == "post" else client.put(path, form))
    typer.echo(stored["policy_id"])
    return 0
