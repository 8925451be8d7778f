"""What the commands of `flowc slo` do."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer

from functions._cli.console import CommandFailed, console, print_json, say
from functions._cli.one_record import asked, path_of
from functions._cli.slo_words import BUDGETS, SLOS, bar, percent, slo_named, source_of


async def print_list(
    filters: dict[str, str | None], limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    """Print a page of SLOs."""
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        page = await client.page(SLOS, limit=limit, cursor=cursor, **filters)
    if as_json:
        print_json(page)
        return 0
    listing = table(
        "SLO", "SERVICE", "NAME", "TYPE", "TARGET", "WINDOW", right=("TARGET", "WINDOW"), rest="MEASURED BY"
    )
    for one in page["items"]:
        words = (clean(one["service_name"]), clean(one["name"]), one["slo_type"] or "")
        goal = (percent(100 * one["target"]), f"{one['window_days']} d")
        listing.add_row(one["slo_id"], *words, *goal, clean(source_of(one)))
    console().print(listing if page["items"] else "no SLOs; make one with `flowc slo create NAME`")
    return 0


async def print_slo(name: str, url: str, api_key: str, *, as_json: bool) -> int:
    """Print an SLO and its budget."""
    from functions._cli.budget_commands import budget_lines, newest_budget
    from functions._cli.client import PlatformClient
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        one = await slo_named(client, name)
        budget = await newest_budget(client, one["slo_id"])
    if as_json:
        print_json({**one, "budget": budget})
        return 0
    state = "" if one["enabled"] else " (deleted)"
    labels = ", ".join(f"{key}:{value}" for key, value in one["labels"].items())
    for line in (
        f"SLO {one['name']} of {one['service_name']}{state}, {one['slo_id']}",
        *([f"  for       {one['description']}"] if one["description"] else []),
        f"  target    {percent(100 * one['target'])} over {one['window_days']} days, {one['slo_type']}",
        f"  measured  {source_of(one)}",
        *([f"  labels    {labels}"] if labels else []),
        *([f"  document  {one['managed_by']}"] if one["managed_by"] else []),
        *budget_lines(budget),
    ):
        typer.echo(clean(line) if not line.startswith(" ") else f"  {clean(line)}")
    return 0


async def send(
    name: str | None,
    form: dict[str, Any],
    by: str,
    reason: str | None,
    url: str,
    api_key: str,
    *,
    as_json: bool,
) -> int:
    """Make an SLO, or change the one of a name, and print its id."""
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        if name is None:
            stored = await client.post(asked(SLOS, by, reason), form)
        else:
            known = await slo_named(client, name)
            stored = await client.put(asked(path_of(SLOS, known["slo_id"]), by, reason), form)
    if as_json:
        print_json(stored)
    else:
        typer.echo(stored["slo_id"])
    return 0


async def delete(name: str, by: str, reason: str | None, url: str, api_key: str) -> int:
    """Delete an SLO."""
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        known = await slo_named(client, name)
        await client.delete(asked(path_of(SLOS, known["slo_id"]), by, reason))
    typer.echo(f"deleted {known['slo_id']}")
    return 0


async def test(name: str, url: str, api_key: str, *, as_json: bool) -> int:
    """Print what an SLO measures now."""
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        known = await slo_named(client, name)
        found = await client.post(path_of(SLOS, known["slo_id"], "test"))
    if as_json:
        print_json(found)
        return 0
    number = "" if found["sample_count"] is None else f" of {found['sample_count']}"
    verdict = "met" if found["met"] else "not met"
    typer.echo(f"{percent(100 * found['sli_value'])}{number} was good in {found['window_days']} days: {verdict}")
    typer.echo(f"{percent(found['error_budget_remaining'])} of the error budget would be left; nothing was stored")
    return 0


async def print_history(name: str, days: int, grouping: str, url: str, api_key: str, *, as_json: bool) -> int:
    """Print the course of a budget."""
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import date_and_time

    async with PlatformClient(url, api_key) as client:
        known = await slo_named(client, name)
        path = path_of(BUDGETS, known["slo_id"], "history")
        found = await client.get(path, days=days, aggregation=grouping)
    if as_json:
        print_json(found)
        return 0
    listing = table("AT (UTC)", "GOOD", "LEFT", "LOWEST", "STATUS", right=("GOOD", "LEFT", "LOWEST"), rest="")
    for one in found["items"]:
        numbers = (percent(100 * one["sli_value"]), percent(one["remaining"]), percent(one["remaining_min"]))
        listing.add_row(date_and_time(one["at"]), *numbers, one["status"], bar(one["remaining"]))
    console().print(listing if found["items"] else "nothing was calculated in this time")
    trends = found["trends"]
    if trends is not None:
        say(f"{trends['direction'].lower()}: {trends['change']:+g} percent points of the budget")
    return 0


async def import_file(
    file: str, by: str, reason: str | None, url: str, api_key: str, *, dry_run: bool, as_json: bool
) -> int:
    """Make SLOs of a file of alert rules, and print them."""
    from functions._cli.client import PlatformClient
    from functions._cli.decision_file import text_of
    from functions._cli.words import clean

    form = {"rules": text_of(file).decode(errors="replace"), "dry_run": dry_run}
    async with PlatformClient(url, api_key) as client:
        found = await client.post(asked(f"{SLOS}/import/alerts", by, reason), form)
    if as_json:
        print_json(found)
        return 0
    for one in found["items"]:
        typer.echo(f"{one['slo_id']}  {clean(one['service_name'])}/{clean(one['name'])}  {one['slo_type']}")
    for text in found["skipped"]:
        say(f"skipped: {clean(text)}")
    return 0


async def print_rules(service: str | None, output: Path | None, url: str, api_key: str) -> int:
    """Print the alert rules of SLOs, or write them to a file."""
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        text = await client.text(f"{SLOS}/rules{'' if service is None else f'?service_name={quote(service)}'}")
    if output is None:
        typer.echo(text, nl=False)
        return 0
    written = output.with_name(f"{output.name}.new")
    try:
        written.write_text(text, encoding="utf-8")
        written.replace(output)
    except OSError as error:
        raise CommandFailed(f"{output}: cannot be written: {error.strerror}") from error
    return 0
