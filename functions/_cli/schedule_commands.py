"""`flowc schedule`: decisions that are submitted again and again, at moments that are known before."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import console, print_json, run
from functions._cli.one_record import delete
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

PATH = "/api/v1/schedules"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

schedule = typer.Typer(
    help="Submit a decision again and again, by a schedule.", no_args_is_help=True, rich_markup_mode=None
)


def _span(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d{1,9}[smhd]", value, re.ASCII):
        raise typer.BadParameter(f"{value!r} is no span of time such as 90s, 15m, 12h or 1d")
    return value


def _span_option(text: str) -> Any:  # noqa: ANN401 as Typer's own
    return typer.Option(callback=_span, metavar="SPAN", show_default=False, help=text)


def _seconds(span: str) -> int:
    return int(span[:-1]) * SECONDS[span[-1]]


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]
Moment = Annotated[str, typer.Argument(metavar="MOMENT", help="A moment such as 2026-11-29T02:00:00Z.")]


@schedule.command("put")
def put_schedule(  # noqa: PLR0913 an option for each field
    name: Name,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The decision of each run, as for submit; - is stdin.")],
    *,
    cron: Annotated[str | None, typer.Option(help="When it runs: minute, hour, day, month, weekday.")] = None,
    zone: Annotated[str, typer.Option(help="Time zone of --cron and --except, such as Europe/Berlin.")] = "UTC",
    every: Annotated[str | None, _span_option("In place of --cron: how often it runs, such as 15m.")] = None,
    at: Annotated[list[str], typer.Option("--at", metavar="MOMENT", help="In place of --cron: a moment.")] = [],  # noqa: B006 Typer's way
    except_on: Annotated[  # likewise
        list[str], typer.Option("--except", metavar="DATE", help="A date, or a range FIRST/LAST, without runs.")
    ] = [],  # noqa: B006 likewise
    enabled_from: Annotated[str | None, typer.Option("--from", metavar="MOMENT", help="No runs before it.")] = None,
    enabled_until: Annotated[str | None, typer.Option("--until", metavar="MOMENT", help="No runs after it.")] = None,
    jitter: Annotated[str | None, _span_option("Each run begins up to this much later.")] = None,
    overlap: Annotated[str, typer.Option(help="While the run before goes on: skip, queue or cancel_oldest.")] = "skip",
    catch_up: Annotated[str | None, _span_option("How late a run may begin; 1h without it.")] = None,
    catch_up_runs: Annotated[int | None, typer.Option(min=1, max=100, help="Late runs that are made; 10.")] = None,
    sla: Annotated[str | None, _span_option("How long each run may take; without it as the decision says.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make a schedule, or replace it."""
    late = {"seconds": catch_up and _seconds(catch_up), "runs": catch_up_runs}
    form: dict[str, Any] = {
        "cron": cron,
        "zone": zone,
        "every_seconds": every and _seconds(every),
        "moments": at,
        "exceptions": except_on,
        "enabled_from": enabled_from,
        "enabled_until": enabled_until,
        "jitter_seconds": jitter and _seconds(jitter),
        "overlap": overlap,
        "catch_up": {key: value for key, value in late.items() if value is not None},
        "sla_seconds": sla and _seconds(sla),
    }
    given = {key: value for key, value in form.items() if value is not None}
    run(_put(name, file, given, url, api_key, as_json=as_json))


@schedule.command("list")
def list_schedules(
    *,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List schedules by name."""
    run(_list(limit, cursor, url, api_key, as_json=as_json))


@schedule.command("show")
def show_schedule(name: Name, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Show a schedule, its next runs, and why it runs or does not."""
    run(_show(name, url, api_key, as_json=as_json))


@schedule.command("runs")
def list_runs(name: Name, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List what became of the newest moments, the newest first."""
    run(_runs(name, url, api_key, as_json=as_json))


@schedule.command("pause")
def pause_schedule(
    name: Name,
    *,
    note: Annotated[str | None, typer.Option(help="Why; shown as long as it is paused.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Start no more runs."""
    run(_posted(name, "pause", {"note": note}, "paused {name}", url, api_key))


@schedule.command("resume")
def resume_schedule(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Go on with the moments to come."""
    run(_posted(name, "resume", {}, "{name}: {why}", url, api_key))


@schedule.command("run")
def run_schedule(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Make a run now, and print the id of its flow."""
    run(_posted(name, "run", {}, "{flow_id}", url, api_key))


@schedule.command("backfill")
def backfill_schedule(
    name: Name,
    first: Moment,
    last: Moment,
    *,
    at_once: Annotated[int, typer.Option(min=1, max=10, help="Runs that may be under way at once.")] = 1,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make the runs of the past from FIRST to LAST; what ran at its moment does not run again."""
    body = {"first": first, "last": last, "at_once": at_once}
    run(_posted(name, "backfill", body, "{runs} moments are being made up for", url, api_key))


@schedule.command("stop-backfill")
def stop_backfill(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Start no further runs of the past."""
    run(delete(_path(name, "backfill"), f"stopped the backfill of {name}", url, api_key))


@schedule.command("delete")
def delete_schedule(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Forget a schedule; flows that it has started go on."""
    run(delete(_path(name), f"deleted {name}", url, api_key))


def _path(name: str, *rest: str) -> str:
    from urllib.parse import quote

    return "/".join((PATH, quote(name, safe=""), *rest))


async def _put(name: str, file: str, given: Mapping[str, Any], url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.submission import read_decision_file

    decision = {key: value for key, value in read_decision_file(file).data.items() if key != "decision_id"}
    async with PlatformClient(url, api_key) as client:
        made = await client.put(_path(name), {**given, "decision": decision})
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{name}: {made['why']}")
    return 0


async def _posted(name: str, verb: str, body: Mapping[str, Any], done: str, url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        answer = await client.post(_path(name, verb), body)
    typer.echo(done.format(**answer))
    return 0


async def _list(limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        page = await client.page(PATH, limit=min(limit, 100), cursor=cursor)
    if as_json:
        print_json(page)
        return 0
    listing = table("SCHEDULE", "STATE", "WHEN", "NEXT RUN", rest="WHY")
    for one in page["items"]:
        next_run = one["next_run"] or ""
        listing.add_row(clean(one["name"]), one["state"], clean(_when(one)), next_run, clean(one["why"]))
    console().print(listing if page["items"] else "no schedules; make one with `flowc schedule put NAME FILE`")
    return 0


async def _show(name: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        one = await client.get(_path(name))
    if as_json:
        print_json(one)
        return 0
    counts = ", ".join(f"{number} {result.lower()}" for result, number in sorted(one["counts"].items())) or "none yet"
    lines: Sequence[str] = (
        f"schedule {one['name']} is {one['state']}: {one['why']}",
        f"  when      {_when(one)}, while a run goes on: {one['overlap']}",
        f"  runs      {counts}",
        *(f"  next run  {moment}" for moment in one["next_runs"]),
    )
    for line in lines:
        typer.echo(clean(line))
    return 0


async def _runs(name: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(_path(name, "runs"))
    if as_json:
        print_json({"items": found["items"], "cursor": None})
        return 0
    listing = table("MOMENT", "RESULT", "FLOW", "STATUS", rest="REASON")
    for one in found["items"]:
        number = "" if one["number"] == 1 else f" ({one['number']})"
        cells = (one["moment"], f"{one['result']}{number}", one["flow_id"] or "", one["status"] or "")
        listing.add_row(*cells, clean(one["reason"] or ""))
    console().print(listing if found["items"] else "no runs yet")
    return 0


def _when(one: "JsonObject") -> str:
    """Return when a schedule runs, in a few words."""
    if one["cron"] is not None:
        return f"{one['cron']} {one['zone']}"
    return "at listed moments" if one["every_seconds"] is None else f"every {one['every_seconds']} s"
