"""`flowc heal`: playbooks that heal incidents, and what they have done."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import WRONG_USE, CommandFailed, console, print_json, run
from functions._cli.one_record import By, Why, asked, delete, path_of, show
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from functions._cli.slo_documents import File

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

heal = typer.Typer(
    help="Heal incidents by playbooks, and see what they have done.", no_args_is_help=True, rich_markup_mode=None
)

PLAYBOOKS, RUNS = "/api/v1/playbooks", "/api/v1/healing-runs"

MOST = 500
"""Runs that one request asks for at most."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the playbook.")]


@heal.command("list")
def list_playbooks(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the playbooks, in the order in which they are looked at."""
    run(_list(url, api_key, as_json=as_json))


@heal.command("show")
def show_playbook(name: Name, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Print a playbook as JSON."""
    run(show(path_of(PLAYBOOKS, name), url, api_key))


@heal.command("apply")
def apply_playbooks(
    file: File,
    *,
    by: By = "",
    reason: Why = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make the playbooks of a file, or replace them: each document has a `name`, and the fields of a playbook."""
    run(_apply(_documents(file), by, reason, url, api_key))


@heal.command("delete")
def delete_playbook(
    name: Name, *, by: By = "", reason: Why = None, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """Forget a playbook; what it is at work on goes to a person."""
    run(delete(asked(path_of(PLAYBOOKS, name), by, reason), f"deleted {name}", url, api_key))


@heal.command("dry-run")
def rehearse(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="A flow that has had an incident.")],
    *,
    incident: Annotated[str | None, typer.Option(help="Id of the incident; its newest.")] = None,
    playbook: Annotated[str | None, typer.Option(help="Name of a playbook; the one that would heal it.")] = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Say what would be done about an incident now, and do nothing."""
    run(_rehearse(flow, incident, playbook, url, api_key, as_json=as_json))


@heal.command("runs")
def list_runs(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="Only those of this flow.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List what playbooks have done, the newest incident first."""
    run(_runs(flow, min(limit, MOST), url, api_key, as_json=as_json))


def _documents(file: str) -> "list[JsonObject]":
    """Return the playbooks of a file; raise `CommandFailed`, exit status 2, for what is none."""
    from functions._cli.decision_file import text_of
    from functions._core.errors import Rejected
    from functions._core.healing.playbooks import MAX_PLAYBOOKS
    from functions._core.records.yaml_text import parse_documents

    try:
        found = parse_documents(text_of(file), at_most=MAX_PLAYBOOKS)
    except Rejected as error:
        raise CommandFailed(f"{file}: {error}", exit_status=WRONG_USE) from error
    named = [one for one in found if isinstance(one, dict) and isinstance(one.get("name"), str)]
    if not named or len(named) < len(found):
        raise CommandFailed(f"{file}: each document is a playbook and has a name", exit_status=WRONG_USE)
    return named


async def _list(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(PLAYBOOKS)
    if as_json:
        print_json({"items": found["items"], "cursor": None})
        return 0
    listing = table("PLAYBOOK", "ORDER", "ACTS", "FOR", rest="STEPS")
    for one in sorted(found["items"], key=lambda one: (one["order"], one["name"])):
        acts = "no" if not one["enabled"] else "on trial" if one["dry_run"] else "yes"
        listing.add_row(clean(one["name"]), str(one["order"]), acts, clean(_matches(one)), _steps(one))
    console().print(listing if found["items"] else "no playbooks; make one with `flowc heal apply -f FILE`")
    return 0


def _matches(one: "JsonObject") -> str:
    """Return which incidents a playbook is for, in a few words."""
    match, words = one["match"], list[str]()
    for name in ("incident_types", "severities", "errors", "task_types", "capabilities", "workers"):
        words += match[name]
    words += [f"{name}={value}" for name, value in sorted(match["labels"].items())]
    return " ".join(words) or "all incidents"


def _steps(one: "JsonObject") -> str:
    return ", ".join(step["action"] for step in one["steps"])


async def _apply(documents: "list[JsonObject]", by: str, reason: str | None, url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        for one in documents:
            form = {name: value for name, value in one.items() if name != "name"}
            made = await client.put(asked(path_of(PLAYBOOKS, one["name"]), by, reason), form)
            typer.echo(clean(f"playbook {made['name']}: {_steps(made)}, for {_matches(made)}"))
    return 0


async def _rehearse(
    flow: str, incident: str | None, playbook: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.references import flow_id_of
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        form: dict[str, Any] = {"flow_id": await flow_id_of(client, flow), "incident_id": incident}
        told = await client.post(f"{RUNS}/rehearse", {**form, "playbook": playbook})
    if as_json:
        print_json(told)
        return 0
    if told["playbook"] is None:
        typer.echo(f"no playbook is for incident {told['incident_id']}")
        return 0
    fits = "" if told["fits"] else ", although it is not for such incidents, or is switched off"
    typer.echo(clean(f"playbook {told['playbook']} for incident {told['incident_id']}{fits}:"))
    for number, one in enumerate(told["steps"], 1):
        typer.echo(
            clean(f"  {number}. {one['action']}{'' if one['possible'] else ' (not possible now)'}: {one['text']}")
        )
    return 0


async def _runs(flow: str | None, limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.references import flow_id_of
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    async with PlatformClient(url, api_key) as client:
        flow_id = await flow_id_of(client, flow) if flow else None
        found = await client.get(RUNS, flow_id=flow_id, limit=limit)
    if as_json:
        print_json(found)
        return 0
    listing = table("RAISED", "INCIDENT", "PLAYBOOK", "STATE", "FLOW", rest="ACTIONS")
    for one in found["items"]:
        about = one["incident"]
        acts = "; ".join(action["text"] or action["action"] for action in one["actions"]) or one["why"]
        kind, playbook = about["incident_type"], clean(one["playbook"])
        listing.add_row(date_and_time(about["raised_at"]), kind, playbook, one["state"], about["flow_id"], clean(acts))
    console().print(listing if found["items"] else "no playbook has had an incident")
    return 0
