"""`flowc models`: the models that say how long work takes, and which of them serves."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, print_json, run
from functions._cli.one_record import By, Why, asked, path_of, show
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

models = typer.Typer(
    help="See the models that say how long work takes, train and promote them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MODELS = "/api/v1/models"

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Id of the model, such as duration:3.")]


@models.command("list")
def list_models(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the models, the newest first, with their errors on held-out tickets."""
    run(_list(url, api_key, as_json=as_json))


@models.command("show")
def show_model(model: Model, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Print a model as JSON: its measures, its state and why."""
    run(show(path_of(MODELS, model), url, api_key))


@models.command("train")
def train_model(
    *, by: By = "", reason: Why = None, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """Ask for a training; `learn` begins it within a minute."""
    run(_train(by, reason, url, api_key, as_json=as_json))


@models.command("promote")
def promote_model(
    model: Model,
    *,
    by: By = "",
    reason: Why = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Let a model serve now: a SHADOW, or a RETIRED one that has served before."""
    run(_changed(model, "promote", by, reason, url, api_key, as_json=as_json))


@models.command("rollback")
def roll_back_model(
    model: Model,
    *,
    by: By = "",
    reason: Why = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Take the model that serves out of service; the one before it serves again, or the estimates count."""
    run(_changed(model, "rollback", by, reason, url, api_key, as_json=as_json))


async def _list(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    async with PlatformClient(url, api_key) as client:
        found = await client.get(MODELS)
    if as_json:
        print_json(found)
        return 0
    listing = table("MODEL", "STATE", "TRAINED (UTC)", "ROWS", "MAE", "BY ESTIMATES", "R²", "P90 HOLDS", rest="WHY")
    for one in found["items"]:
        listing.add_row(
            clean(one["model_id"]),
            clean(one["state"]),
            date_and_time(one["trained_at"]),
            str(one["rows"]),
            *_measures(one["metrics"]),
            clean(one["reasons"][-1] if one["reasons"] else ""),
        )
    console().print(listing if found["items"] else "no models; the estimates of plans count")
    typer.echo(_learned(found))
    return 0


def _measures(metrics: "JsonObject") -> tuple[str, str, str, str]:
    """Return the measures of a model as a list shows them."""
    from functions._cli.words import took

    return (
        took(metrics["mae_ms"]) if "mae_ms" in metrics else "",
        took(metrics["estimate_mae_ms"]) if "estimate_mae_ms" in metrics else "",
        f"{metrics['r2']:.3f}" if "r2" in metrics else "",
        f"{metrics['p90_coverage']:.0%}" if "p90_coverage" in metrics else "",
    )


def _learned(found: "JsonObject") -> str:
    """Return how much history there is, and whether a training is due."""
    from functions._cli.words import clean, date_and_time

    if found["learned_at"] is None:
        text = "no history was taken in yet: is FLOWC_LEARNING on?"
    else:
        text = f"{found['rows']:,} tickets were taken in up to {date_and_time(found['learned_at'])}"
    usable, needed = found.get("usable", 0), found.get("needed", 0)
    if usable < needed and not found["items"]:
        text += f"; a model needs {needed} that were done, and {usable} were"
    asked_by = found["training"]
    return clean(text + (f"; {asked_by['requested_by']} has asked for a training" if asked_by else ""))


async def _train(by: str, reason: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.post(asked(f"{MODELS}/train", by, reason), {})
    if as_json:
        print_json(found)
    else:
        typer.echo(clean(f"asked for by {found['requested_by']}: it begins within a minute, see `flowc models list`"))
    return 0


async def _changed(
    model: str, change: str, by: str, reason: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.post(asked(path_of(MODELS, model, change), by, reason), {})
    if as_json:
        print_json(found)
    else:
        typer.echo(clean(f"{found['model_id']} is {found['state']}"))
    return 0
