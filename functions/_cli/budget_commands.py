"""`flowc budget`: how much of the error budgets is left, how fast they burn, and when they are spent."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from functions._cli.console import console, print_json, run
from functions._cli.one_record import By, Why, asked, path_of
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url
from functions._cli.slo_words import BUDGETS, Service, SloName, bar, percent, slo_named

if TYPE_CHECKING:
    from functions._cli.client import PlatformClient
    from functions._cli.wire import JsonObject


class OrShow(TyperGroup):
    """A group of commands; a first word that is none of them is what `show` shows."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 the base's
        """Return the command that `args` begin with, or `show`."""
        known = not args or args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if known else ["show", *args])


budget = typer.Typer(
    cls=OrShow,
    help="See how much of the error budgets is left: `flowc budget`, or `flowc budget SLO`.",
    invoke_without_command=True,
    subcommand_metavar="[SLO | COMMAND [ARGS]...]",
    rich_markup_mode=None,
)


@budget.callback()
def list_budgets(  # noqa: PLR0913 a filter each
    ctx: typer.Context,
    *,
    service: Service = None,
    status: Annotated[str | None, typer.Option(help="HEALTHY, WARNING, CRITICAL or EXHAUSTED.")] = None,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """See how much of the error budgets is left: all of them, or with an SLO that of one."""
    if ctx.invoked_subcommand is None:
        run(_list(service, status, limit, cursor, url, api_key, as_json=as_json))


@budget.command("show")
def show_budget(
    name: SloName,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure it now; nothing is stored.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Show a budget; the same as `flowc budget SLO`."""
    run(_show(name, url, api_key, fresh=fresh, as_json=as_json))


@budget.command("summary")
def show_summary(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Count the budgets by status."""
    run(_summary(url, api_key, as_json=as_json))


@budget.command("recalculate")
def recalculate_budget(
    name: SloName,
    *,
    by: By = "",
    reason: Why = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Calculate a budget now, and freeze or free what it should."""
    run(_recalculate(name, by, reason, url, api_key, as_json=as_json))


def budget_lines(one: "JsonObject | None") -> Iterator[str]:
    """Yield the lines about a budget."""
    if one is None:
        yield "  budget    not calculated yet: its query finds nothing, or its history is still counted"
        return
    left = one["error_budget_remaining"]
    yield f"  budget    {bar(left)} {percent(left)} is left: {one['status']}"
    number = "" if one["sample_count"] is None else f" of {one['sample_count']}"
    when = f"calculated at {one['calculated_at']} ({_age(one['calculated_at'])})"
    yield f"  good      {percent(100 * one['sli_value'])}{number}, {when}"
    rates = [f"{burn['rate']:g} over {_hours(burn['window_hours'])} ({burn['level']})" for burn in one["burn_rates"]]
    if rates:
        yield f"  burns     {', '.join(rates)}"
    if one["exhaustion_earliest"] is not None:
        latest = one["exhaustion_latest"] or "perhaps never"
        yield f"  is spent  {one['exhaustion_earliest']} at the earliest, {latest} at the latest"
    if one["violations_count"]:
        yield f"  violated  {one['violations_count']} times in the window, last at {one['last_violation_at']}"


async def newest_budget(client: "PlatformClient", slo_id: str) -> "JsonObject | None":
    """Return the newest budget of an SLO; None before the first one."""
    from functions._cli.client import CommandRefused

    try:
        return await client.get(path_of(BUDGETS, slo_id))
    except CommandRefused as refusal:
        if refusal.code != "unknown_budget":
            raise
        return None


def _age(moment: str) -> str:
    """Return how long ago a moment was: a budget stays while nothing can be measured."""
    from datetime import UTC, datetime

    from functions._cli.words import passed

    return f"{passed(moment, datetime.now(UTC))} ago"


def _hours(hours: float) -> str:
    return f"{hours:g} h" if hours >= 1 else f"{hours * 60:g} min"


async def _list(
    service: str | None, status: str | None, limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        page = await client.page(BUDGETS, limit=limit, cursor=cursor, service_name=service, status=status)
    if as_json:
        print_json(page)
        return 0
    listing = table("SLO", "SERVICE", "GOOD", "LEFT", "STATUS", right=("GOOD", "LEFT"), rest="")
    for one in page["items"]:
        left = one["error_budget_remaining"]
        numbers = (percent(100 * one["sli_value"]), percent(left))
        listing.add_row(one["slo_id"], clean(one["service_name"]), *numbers, one["status"], bar(left))
    none = "no budgets; they are calculated every few minutes, and by `flowc budget recalculate SLO`"
    console().print(listing if page["items"] else none)
    return 0


async def _show(name: str, url: str, api_key: str, *, fresh: bool, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        known = await slo_named(client, name)
        path = path_of(BUDGETS, known["slo_id"])
        found = await client.get(path, use_cache="false") if fresh else await client.get(path)
    _print(known, found, as_json=as_json)
    return 0


async def _recalculate(name: str, by: str, reason: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        known = await slo_named(client, name)
        found = await client.post(asked(path_of(BUDGETS, known["slo_id"], "recalculate"), by, reason))
    _print(known, found, as_json=as_json)
    return 0


def _print(slo: "JsonObject", found: "JsonObject", *, as_json: bool) -> None:
    from functions._cli.words import clean

    if as_json:
        print_json(found)
        return
    typer.echo(clean(f"SLO {slo['name']} of {slo['service_name']}, target {percent(100 * slo['target'])}"))
    for line in budget_lines(found):
        typer.echo(f"  {clean(line)}")


async def _summary(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        found = await client.get(f"{BUDGETS}/summary")
    if as_json:
        print_json(found)
        return 0
    for status in ("healthy", "warning", "critical", "exhausted"):
        typer.echo(f"{status.upper():<10} {found[status]}")
    mean = found["average_remaining_percent"]
    left = "" if mean is None else f", {percent(mean)} is left on average"
    typer.echo(f"{found['total']} budgets{left}; {found['without_budget']} SLOs without one")
    return 0
