"""`flowc subscriptions`: webhooks that get events, and what became of each delivery."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import console, print_json, run
from functions._cli.options import DEFAULT_URL, PAGE, ApiKey, AsJson, Cursor, Limit, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

PATH = "/api/v1/subscriptions"
DAY = 86_400
RESULTS = "code-forge.results"

subscriptions = typer.Typer(
    help="Send events to webhooks, and see what became of them.", no_args_is_help=True, rich_markup_mode=None
)

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the subscription.")]
DeliveryId = Annotated[str, typer.Argument(metavar="DELIVERY", help="Id of the delivery.")]


@subscriptions.command("create")
def create_subscription(  # noqa: PLR0913 as many as a subscription has
    sink: Annotated[str, typer.Argument(metavar="URL", help="Where events are POSTed to.")],
    *,
    types: Annotated[list[str], typer.Option("--type", "-t", help="A type of event, such as flow.completed.")] = [],  # noqa: B006 Typer's way
    subject: Annotated[str | None, typer.Option("--subject", help="Only events of this flow or ticket.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=8, help="Deliveries that are begun together.")] = 1,
    handshake: Annotated[bool, typer.Option("--handshake", help="Ask the sink for its consent first.")] = False,
    tickets: Annotated[
        bool, typer.Option("--tickets", help="Only for tickets that name a webhook on this host; it is sent theirs.")
    ] = False,
    pipelines: Annotated[
        bool, typer.Option("--pipelines", help="Only results of the code forge, as another Flow C takes them.")
    ] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Subscribe a webhook to events, and print the secret that signs them: it is shown this once."""
    form: dict[str, Any] = {"sink": sink, "types": types, "config": {"concurrency": concurrency}}
    if tickets:
        form["config"] |= {"tickets": True, "x_webhook_signature": True}
    if pipelines:
        form["types"] = [RESULTS]
        form["config"] |= {"body": "pipeline_completed", "x_webhook_signature": True}
    form |= {"filters": [{"exact": {"subject": subject}}]} if subject else {}
    form |= {"protocolsettings": {"handshake": True}} if handshake else {}
    run(_shown_with_secret(PATH, form, url, api_key, as_json=as_json))


@subscriptions.command("list")
def list_subscriptions(*, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """List the subscriptions."""
    run(_list(url, api_key, as_json=as_json))


@subscriptions.command("test")
def try_subscription(subscription_id: Id, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Send a subscriber a test event."""
    run(_posted(_path(subscription_id, "test"), "sent as {delivery_id}", url, api_key))


@subscriptions.command("deliveries")
def list_deliveries(
    subscription_id: Id,
    *,
    limit: Limit = PAGE,
    cursor: Cursor = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """List what became of the events for a subscriber, the newest first."""
    run(_deliveries(subscription_id, limit, cursor, url, api_key, as_json=as_json))


@subscriptions.command("resend")
def resend_delivery(
    subscription_id: Id, delivery_id: DeliveryId, *, url: Url = DEFAULT_URL, api_key: ApiKey = ""
) -> None:
    """Deliver an event again."""
    run(_posted(_path(subscription_id, "deliveries", delivery_id, "resend"), "due again: {delivery_id}", url, api_key))


@subscriptions.command("rotate")
def rotate_secret(
    subscription_id: Id,
    *,
    overlap: Annotated[int, typer.Option(min=0, max=7 * DAY, help="Seconds for which the old one signs, too.")] = DAY,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Make a new secret and print it: it is shown this once."""
    body = {"overlap_seconds": overlap}
    run(_shown_with_secret(_path(subscription_id, "rotate-secret"), body, url, api_key, as_json=as_json))


@subscriptions.command("delete")
def delete_subscription(subscription_id: Id, *, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Forget a subscription; what waits for it is not delivered any more."""
    run(_deleted(subscription_id, url, api_key))


def _path(subscription_id: str, *rest: str) -> str:
    from urllib.parse import quote

    return "/".join((PATH, *(quote(part, safe="") for part in (subscription_id, *rest))))


async def _shown_with_secret(path: str, body: Mapping[str, Any], url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        subscription = await client.post(path, body)
    if as_json:
        print_json(subscription)
    else:
        typer.echo(f"subscription {subscription['id']}\nsecret {subscription['secret']}")
    return 0


async def _posted(path: str, done: str, url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        delivery = await client.post(path)
    typer.echo(done.format(**delivery))
    return 0


async def _deleted(subscription_id: str, url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient

    async with PlatformClient(url, api_key) as client:
        await client.delete(_path(subscription_id))
    typer.echo(f"deleted {subscription_id}")
    return 0


async def _list(url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        found = await client.get(PATH)
    if as_json:
        print_json({"items": found["items"], "cursor": None})
        return 0
    listing = table("SUBSCRIPTION", "STATUS", "TYPES", rest="SINK")
    for one in found["items"]:
        types = f"{len(one['types'])} of them" if one["types"] else "all"
        listing.add_row(clean(one["id"]), one["status"], types, clean(one["sink"]))
    console().print(listing if found["items"] else "no subscriptions; make one with `flowc subscriptions create URL`")
    return 0


async def _deliveries(
    subscription_id: str, limit: int, cursor: str | None, url: str, api_key: str, *, as_json: bool
) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.tables import table
    from functions._cli.words import clean

    async with PlatformClient(url, api_key) as client:
        page = await client.page(_path(subscription_id, "deliveries"), limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return 0
    listing = table("DELIVERY", "STATUS", "TRIES", "EVENT", right=("TRIES",), rest="LAST ANSWER")
    for one in page["items"]:
        listing.add_row(
            clean(one["delivery_id"]), one["status"], str(one["attempts"]), one["event_type"], clean(_answer(one))
        )
    console().print(listing if page["items"] else "no deliveries")
    return 0


def _answer(delivery: "JsonObject") -> str:
    status, detail = delivery["last_status"], delivery["last_detail"]
    return " ".join(part for part in ("" if status is None else str(status), detail) if part)
