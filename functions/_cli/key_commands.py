"""`flowc keys`: keys for people, programs and workers, made by an administrator."""

import re
from typing import Annotated, Any

import typer

from functions._cli.console import console, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url

KEYS = "/api/v1/keys"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

keys = typer.Typer(help="Make, list or revoke API keys.", no_args_is_help=True, rich_markup_mode=None)


def _span(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9]\d{0,8}[smhd]", value, re.ASCII):
        raise typer.BadParameter(f"{value!r} is no span of time such as 30d, 12h, 15m or 90s")
    return value


Name = Annotated[str, typer.Option("--name", help="Name that is kept with everything that the holder does.")]
Roles = Annotated[list[str], typer.Option("--role", help="viewer, operator, worker or admin; may be repeated.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="Only this area of the API, such as flows or metrics; may be repeated."),
]
Worker = Annotated[
    str, typer.Option("--worker", metavar="ID", help="Only this worker; for a key whose one role is worker.")
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", callback=_span, metavar="SPAN", show_default=False, help="How long it holds: 30d, 12h, 15m."
    ),
]


@keys.command("create")
def create_key(  # noqa: PLR0913 an option each
    name: Name,
    role: Roles,
    *,
    expires: Expires = None,
    scope: Scopes = None,
    worker: Worker = "",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make a key and print it: it is shown this once."""
    asked: dict[str, Any] = {"name": name, "roles": role, "scopes": scope or []}
    if worker:
        asked["worker_id"] = worker
    if expires is not None:
        asked["expires_in_seconds"] = int(expires[:-1]) * SECONDS[expires[-1]]
    run(_create(asked, url, api_key, as_json=as_json))


async def _create(asked: dict[str, Any], url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        made = await client.post(KEYS, asked)
    if as_json:
        print_json(made)
        return 0
    typer.echo(made["key"])
    say(f"key {made['key_id']} of {made['name']}; it is not shown again")
    return 0


@keys.command("list")
def list_keys(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the keys that hold."""
    run(_list(url, api_key, as_json=as_json))


async def _list(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PAGE, PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    items: list[dict[str, Any]] = []
    after: str | None = None
    async with PlatformClient(url, api_key) as client:
        while True:
            page = await client.get(KEYS, after=after, limit=PAGE)
            items += page["items"]
            after = page["after"]
            if after is None:
                break
    if as_json:
        print_json({"items": items})
        return 0
    listing = table("KEY", "ROLES", "SCOPES", "EXPIRES", "MADE BY", rest="NAME")
    for key in items:
        expires = date_and_time(key["expires_at"]) if key["expires_at"] else "never"
        scopes = ", ".join(key["scopes"]) or "all"
        roles = ", ".join(key["roles"])
        if key["worker_id"] is not None:
            roles = f"{roles} {clean(key['worker_id'])}"
        listing.add_row(key["key_id"], roles, scopes, expires, clean(key["created_by"]), clean(key["name"]))
    console().print(listing if items else "no keys")
    return 0


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, the part between its underscores.")],
    *,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Revoke a key: within 10 seconds nothing takes it any more."""
    run(_revoke(key_id, url, api_key))


async def _revoke(key_id: str, url: str, api_key: str) -> int:
    from urllib.parse import quote

    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        await client.delete(f"{KEYS}/{quote(key_id, safe='')}")
    typer.echo(f"revoked {key_id}")
    return 0
