"""`flowc events` and `flowc dead-letters`: what has happened everywhere, and what could not be handled."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import console, nobody_reads, print_json, run, say
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url
from functions._cli.pages import say_page

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

EVENTS = "/api/v1/events"
LETTERS = "/api/v1/dead-letters"
FOLLOW_SECONDS = 0.5

dead_letters = typer.Typer(
    help="See, replay or drop events that could not be handled.", no_args_is_help=True, rich_markup_mode=None
)

By = Annotated[str | None, typer.Option("--by", help="Who wants it; it is kept.")]
Why = Annotated[str | None, typer.Option("--reason", help="Why; it is kept.")]
LetterId = Annotated[str, typer.Argument(metavar="ID", help="Id of the dead letter.")]


def events(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Begin behind this position.")] = 0,
    limit: Limit = PAGE,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Print the events of all flows, the oldest first.

    With --json each line is one CloudEvent.
    """
    run(_follow(after, url, api_key, as_json=as_json) if follow else _list(after, limit, url, api_key, as_json=as_json))


async def _list(after: int, limit: int, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PAGE, PlatformClient

    async with PlatformClient(url, api_key) as client:
        while limit > 0:
            page = await client.get(EVENTS, after=after, limit=min(limit, PAGE))
            if not page["items"]:
                return 0
            _print(page["items"], as_json=as_json)
            after = page["after"]
            limit -= len(page["items"])
    say(f"there may be more; go on with --after {after}, or --follow")
    return 0


async def _follow(after: int, url: str, api_key: str, *, as_json: bool) -> int:
    """Print events for ever; a platform that has answered once may go away and come back."""
    import asyncio

    from functions._cli.client import PAGE, NoPlatform, PlatformClient, PlatformUnavailable

    async with PlatformClient(url, api_key) as client:
        page = await client.get(EVENTS, after=after, limit=PAGE)
        away = False
        while True:
            _print(page["items"], as_json=as_json)
            if not page["items"]:
                if nobody_reads():
                    return 1
                await asyncio.sleep(FOLLOW_SECONDS)
            try:
                page = await client.get(EVENTS, after=page["after"], limit=PAGE)
                away = False
            except (NoPlatform, PlatformUnavailable) as error:
                page = {"items": [], "after": page["after"]}
                if not away:
                    say(f"flowc: {error}; going on when it is back")
                away = True


def _print(events: Sequence["JsonObject"], *, as_json: bool) -> None:
    for event in events:
        typer.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))


def _line(event: "JsonObject") -> str:
    from functions._cli.words import transition

    data = event["data"] or {}
    event_type = event["type"].removeprefix("io.neuralhive.").removesuffix(".v1")
    return f"{(data.get('flow_id') or '')[:8]:<8}  {transition({**data, 'type': event_type, 'at': event['time']})}"


@dead_letters.command("list")
def list_letters(
    *, limit: Limit = PAGE, cursor: Cursor = None, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """List dead letters, the newest first."""
    run(_list_letters(limit, cursor, url, api_key, as_json=as_json))


async def _list_letters(limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    async with PlatformClient(url, api_key) as client:
        page = await client.page(LETTERS, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return 0
    letters = page["items"]
    listing = table("LETTER", "LAST SEEN", "TRIES", "FUNCTION", right=("TRIES",), rest="REASON")
    for letter in letters:
        reason = letter["reason"]
        listing.add_row(
            letter["letter_id"],
            date_and_time(letter["last_seen"]),
            str(letter["attempts"]),
            letter["function"],
            clean(f"{reason['code']}: {reason['message']}"),
        )
    console().print(listing if letters else "no dead letters")
    say_page(url, "dead-letters")
    return 0


@dead_letters.command("replay")
def replay_letter(
    letter_id: LetterId, *, by: By = None, reason: Why = None, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """Queue the event of a dead letter again."""
    run(_with_letter(letter_id, _signed(by, reason), url, api_key, replay=True))


@dead_letters.command("drop")
def drop_letter(
    letter_id: LetterId, *, by: By = None, reason: Why = None, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """Forget a dead letter."""
    run(_with_letter(letter_id, _signed(by, reason), url, api_key, replay=False))


def _signed(by: str | None, reason: str | None) -> str:
    """Return who does it and why, as the query of an address."""
    from urllib.parse import urlencode

    given = {name: value for name, value in (("requested_by", by), ("reason", reason)) if value}
    return f"?{urlencode(given)}" if given else ""


async def _with_letter(letter_id: str, signed: str, url: str, api_key: str, *, replay: bool) -> int:
    from urllib.parse import quote

    from functions._cli.client import PlatformClient

    path = f"{LETTERS}/{quote(letter_id, safe='')}"
    async with PlatformClient(url, api_key) as client:
        await (client.post(f"{path}/replay{signed}") if replay else client.delete(f"{path}{signed}"))
    typer.echo(f"{'replayed' if replay else 'dropped'} {letter_id}")
    return 0
