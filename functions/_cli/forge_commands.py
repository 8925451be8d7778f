"""`flowc forge`: pipelines of the code forge, and the templates that there are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.one_record import path_of
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Cursor, Url
from functions._cli.pages import say_page
from functions._cli.wire import COMPLETED, ENDED_FLOWS, JsonObject

if TYPE_CHECKING:
    from functions._cli.client import PlatformClient

PATH, TEMPLATES = "/api/v1/pipelines", "/api/v1/templates"
MOST, PAGE = 100, 20

LOOK_SECONDS = 1.0

forge = typer.Typer(
    help="Have artifacts made by pipelines of the code forge, and follow them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the pipeline.")]


@forge.command("build")
def build_artifact(
    artifact: Annotated[str, typer.Argument(metavar="ARTIFACT", help="What is made, such as acme/shop.")],
    *,
    template: Annotated[
        str | None, typer.Option("--template", "-t", show_default="the one that fits best", help="The template.")
    ] = None,
    parameters: Annotated[
        list[str],
        typer.Option(
            "--parameter", "-p", help="NAME=VALUE, JSON or text: a word of the forge, or what the template asks."
        ),
    ] = [],  # noqa: B006 Typer's way
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Begin a pipeline. With --watch the exit status is 0 only if it ends COMPLETED."""
    given = dict(map(_parameter, parameters)) | ({"template_id": template} if template else {})
    form = {"artifact_id": artifact, "parameters": given}
    run(_build(form, url, api_key, watch=watch, as_json=as_json))


@forge.command("list")
def list_pipelines(
    *,
    status: Annotated[str | None, typer.Option(help="Only those in this status, e.g. REQUIRES_APPROVAL.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST, help="Look at so many at most.")] = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List pipelines, the newest first."""
    run(_list(status, limit, cursor, url, api_key, as_json=as_json))


@forge.command("show")
def show_pipeline(
    pipeline_id: Id,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Show a pipeline, its stages and what it has made.

    With --watch the exit status is 0 only if it ends COMPLETED.
    """
    run(_show(pipeline_id, url, api_key, watch=watch, as_json=as_json))


@forge.command("templates")
def list_templates(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the templates."""
    run(_templates(url, api_key, as_json=as_json))


def _parameter(text: str) -> tuple[str, Any]:
    from json import JSONDecodeError, loads

    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--parameter")
    try:
        return name, loads(value)
    except JSONDecodeError:
        return name, value


async def _build(form: "JsonObject", url: str, api_key: str, *, watch: bool, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        pipeline = await client.post(PATH, form)
        if watch:
            pipeline = await _ended(client, pipeline["pipeline_id"])
    if as_json or watch:
        return _said(pipeline, url, watch=watch, as_json=as_json)
    typer.echo(pipeline["pipeline_id"])
    return 0


async def _list(status: str | None, limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        page = await client.get(PATH, status=status, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return 0
    _print_pipelines(page["items"])
    if page["cursor"] is not None:
        say(f"there are more: --cursor {page['cursor']}")
    return 0


def _print_pipelines(found: "Sequence[JsonObject]") -> None:
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    listing = table("PIPELINE", "STATUS", "STAGE", "CREATED", "SCORE", right=("SCORE",), rest="ARTIFACT")
    for one in found:
        score = "" if one["score"] is None else f"{one['score']:.2f}"
        created = date_and_time(one["created_at"])
        listing.add_row(
            one["pipeline_id"], one["status"], one["stage"] or "", created, score, clean(one["artifact_id"])
        )
    console().print(listing if found else "no pipelines")


async def _show(pipeline_id: str, url: str, api_key: str, *, watch: bool, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        pipeline = await (_ended(client, pipeline_id) if watch else client.get(path_of(PATH, pipeline_id)))
    return _said(pipeline, url, watch=watch, as_json=as_json)


async def _ended(client: "PlatformClient", pipeline_id: str) -> "JsonObject":
    """Return a pipeline that has ended; each stage that it comes to is named meanwhile, and each review."""
    from asyncio import sleep

    told = ""
    while True:
        pipeline = await client.get(path_of(PATH, pipeline_id))
        if pipeline["status"] in ENDED_FLOWS:
            return pipeline
        where = pipeline["git_mr_url"] or (pipeline["url"] if pipeline["review"] else None)
        news = f"{pipeline['status']} {pipeline['stage']}{f': {where}' if where else ''}"
        if news != told:
            say(told := news)
        await sleep(LOOK_SECONDS)


def _said(pipeline: "JsonObject", url: str, *, watch: bool, as_json: bool) -> int:
    """Print a pipeline; return the exit status."""
    if as_json:
        print_json(pipeline)
    else:
        _print_pipeline(pipeline)
        say_page(url, "flows", pipeline["pipeline_id"])
    return 0 if not watch or pipeline["status"] == COMPLETED else 1


def _print_pipeline(pipeline: "JsonObject") -> None:
    from functions._cli.tables import table
    from functions._cli.words import clean, took

    score = "" if pipeline["score"] is None else f", score {pipeline['score']:.2f}"
    typer.echo(f"{clean(pipeline['artifact_id'])}: {pipeline['status']}{score}")
    stages = table("STAGE", "STATUS", "TIME", "ATTEMPTS", right=("TIME", "ATTEMPTS"), rest="ERROR")
    for stage in pipeline["stages"]:
        time = "" if stage["duration_ms"] is None else took(stage["duration_ms"])
        attempts = str(stage["attempts"] or "")
        # Stages that never began repeat the error of the pipeline, which is said below.
        error = "" if stage["status"] == "CANCELLED" and pipeline["error"] else clean(stage["error"] or "")
        stages.add_row(stage["name"], stage["status"], time, attempts, error)
    console().print(stages)
    for made in pipeline["artifacts"]:
        typer.echo(f"{made['artifact_type']} {clean(made['location'])} {clean(made['checksum'])}")
    if pipeline["git_mr_url"]:
        typer.echo(f"merge request: {clean(pipeline['git_mr_url'])}")
    if pipeline["review"]:
        ticket_id = pipeline["review"]["ticket_id"]
        typer.echo(f"{clean(pipeline['review']['message'])}\nflowc approve {ticket_id} | flowc deny {ticket_id}")
    if pipeline["error"]:
        typer.echo(clean(pipeline["error"]))


async def _templates(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(TEMPLATES)
    if as_json:
        print_json(found)
        return 0
    listing = table("TEMPLATE", "TYPE", "LANGUAGE", "QUALITY", right=("QUALITY",), rest="MAKES")
    for card in found["items"]:
        words = (card["template_id"], card["artifact_type"], card["language"])
        listing.add_row(*map(clean, words), f"{card['quality']:.2f}", clean(card["description"]))
    console().print(listing)
    return 0
