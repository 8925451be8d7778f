"""`flowc plan`: plans drawn, and stored by name and version."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import WRONG_USE, CommandFailed, console, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url

if TYPE_CHECKING:
    from functions._cli.client import PlatformClient

PLANS = "/api/v1/plans"

plan = typer.Typer(help="Draw plans, and store them by name.", no_args_is_help=True, rich_markup_mode=None)


class Formats(str, Enum):  # noqa: UP042 as plain words in the help
    """What a picture is made of."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


File = Annotated[str, typer.Argument(metavar="FILE", help="A plan or a decision as JSON or YAML; - is stdin.")]


@plan.command("draw")
def draw_plan(
    source: Annotated[
        str, typer.Argument(metavar="FILE|FLOW", help="A plan or a decision, or a flow of the platform.")
    ],
    *,
    form: Annotated[Formats, typer.Option("--format", help="What the picture is made of.")] = Formats.TEXT,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Draw a plan: tasks by level, each construct by its own shape, the critical path marked.

    A flow is drawn with the present states of its tasks.
    """
    in_file = source == "-" or Path(source).is_file()
    run(_draw(source, form, url, api_key, in_file=in_file))


async def _draw(source: str, form: Formats, url: str, api_key: str, *, in_file: bool) -> int:
    from functions._cli.plan_picture import TooLarge, as_mermaid, as_text, picture_of_plan
    from functions._core.decision.reading import InvalidDecision, check_plan, decision_in

    states: Mapping[str, str] = {}
    if in_file:
        from functions._cli.submission import read_decision_file

        document: Any = read_decision_file(source).data
    else:
        document, states = await _of_flow(source, url, api_key)
    try:
        from datetime import UTC, datetime

        decision = decision_in(document)
        errors, _ = check_plan(decision, datetime(1970, 1, 2, tzinfo=UTC))  # one that has expired is drawn, too
    except InvalidDecision as invalid:
        errors = invalid.reasons
    if errors:
        raise CommandFailed(f"{source}: {errors[0].message}", hint=f"see `flowc validate {source}`")
    try:
        picture = picture_of_plan(decision.cognitive_plan.tasks, states)
    except TooLarge as large:
        raise CommandFailed(f"{source}: {large}", exit_status=WRONG_USE) from large
    if form is Formats.SVG:
        from functions._cli.plan_svg import as_svg

        typer.echo(as_svg(picture))
    else:
        typer.echo(as_text(picture) if form is Formats.TEXT else as_mermaid(picture))
    return 0


async def _of_flow(ref: str, url: str, api_key: str) -> tuple[object, Mapping[str, str]]:
    """Return the decision of a flow, and the states of its tasks."""
    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.references import with_flow

    async with PlatformClient(url, api_key) as client:
        flow = await with_flow(client, ref, lambda flow_id: client.get(flow_path(flow_id)))
        flow_id = flow["flow_id"]
        document = await client.get(flow_path(flow_id, "decision"))
        states = {one["task_id"]: one["status"] async for one in client.items(flow_path(flow_id, "tickets"))}
    return document, states


@plan.command("push")
def push_plan(
    file: File,
    named: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="For example nightly@1.2.0.")],
    *,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Store a plan under a name and a version, which never changes afterwards."""
    run(_push(file, named, url, api_key, as_json=as_json))


async def _push(file: str, named: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.decision_file import read_file, text_of
    from functions._cli.words import clean
    from functions._core.errors import Rejected

    path = version_path(named)
    try:
        plan_itself = read_file(file, text_of(file)).plan
    except Rejected as error:
        raise CommandFailed(f"{file}: {error}", exit_status=WRONG_USE) from error
    async with PlatformClient(url, api_key) as client:
        stored = await client.put(path, plan_itself)
    if as_json:
        print_json(stored)
        return 0
    for warning in stored["warnings"]:
        say(f"warning: {clean(warning['message'])} ({clean(warning['code'])})")
    typer.echo(f"{stored['name']}@{stored['version']}")
    return 0


def version_path(named: str) -> str:
    """Return the path of NAME@VERSION; raise `CommandFailed`, exit status 2, for another form."""
    from functions._core.decision.named_plans import plan_reference
    from functions._core.errors import Rejected

    try:
        name, version = plan_reference(named)
    except Rejected as error:
        raise CommandFailed(str(error), exit_status=WRONG_USE) from error
    if version is None:
        raise CommandFailed(f"{named!r} names no version; write {named}@1.0.0", exit_status=WRONG_USE)
    return f"{PLANS}/{name}/versions/{version}"


@plan.command("list")
def list_plans(
    name: Annotated[str, typer.Argument(metavar="[NAME]", show_default=False, help="The versions of this plan.")] = "",
    *,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List the stored plans, or the versions of one."""
    run(_list(name, url, api_key, as_json=as_json))


async def _list(name: str, url: str, api_key: str, *, as_json: bool) -> int:
    from urllib.parse import quote

    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    async with PlatformClient(url, api_key) as client:
        found = await client.get(f"{PLANS}/{quote(name, safe='')}/versions" if name else PLANS)
    if as_json:
        print_json(found)
        return 0
    listing = (
        table("VERSION", "TASKS", "STORED", rest="BY") if name else table("NEWEST", "VERSIONS", "STORED", rest="PLAN")
    )
    for one in found["items"]:
        at = date_and_time(one["created_at"])
        if name:
            listing.add_row(one["version"], str(one["tasks"]), at, clean(one["created_by"]))
        else:
            listing.add_row(one["newest"], str(one["versions"]), at, clean(one["name"]))
    console().print(listing if found["items"] else "no plans")
    return 0


@plan.command("show")
def show_plan(
    named: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="For example nightly@1.2.0.")],
    *,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Print a stored plan as JSON."""
    run(_of_version(named, url, api_key, _print_plan))


@plan.command("delete")
def delete_plan(
    named: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="For example nightly@1.2.0.")],
    *,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Forget a version of a plan; it takes the role admin. Flows that were made of it keep their plan."""
    run(_of_version(named, url, api_key, _delete))


async def _of_version(named: str, url: str, api_key: str, act: Any) -> int:  # noqa: ANN401 one of the two below
    from functions._cli.client import PlatformClient

    path = version_path(named)
    async with PlatformClient(url, api_key) as client:
        await act(client, path)
    return 0


async def _print_plan(client: "PlatformClient", path: str) -> None:
    print_json((await client.get(path))["plan"])


async def _delete(client: "PlatformClient", path: str) -> None:
    await client.delete(path)
    typer.echo(f"deleted {path.split('/')[-3]}@{path.rsplit('/', maxsplit=1)[-1]}")


@plan.command("schema")
def print_schema(
    *,
    decision: Annotated[bool, typer.Option("--decision", help="That of a decision with its plan.")] = False,
) -> None:
    """Print the JSON Schema of a plan, by which editors complete one."""
    from importlib.resources import files

    name = f"{'decision' if decision else 'plan'}.schema.json"
    typer.echo((files("functions.api") / name).read_text(encoding="utf-8"), nl=False)
