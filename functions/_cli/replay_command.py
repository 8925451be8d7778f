"""`flowc replay`: whether the history of a flow and its records say the same."""

from typing import TYPE_CHECKING

import typer

from functions._cli.console import print_json, run
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, FlowId, Url

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject


def replay(flow_id: FlowId, *, as_json: AsJson = False, url: Url = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Rebuild a flow from its history alone and compare it with the stored records.

    The exit status is 1 when they differ.
    """
    run(_replay(flow_id, url, api_key, as_json=as_json))


async def _replay(flow_id: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.references import with_flow

    async with PlatformClient(url, api_key) as client:
        rebuilt = await with_flow(client, flow_id, lambda one: client.get(flow_path(one, "replay")))
    if as_json:
        print_json(rebuilt)
    else:
        _print(rebuilt)
    return 0 if rebuilt["agrees"] else 1


def _print(rebuilt: "JsonObject") -> None:
    from functions._cli.words import clean
    from functions._core.explain.spans import counted

    typer.echo(counted(rebuilt["lines"], "line"))
    typer.echo(f"flow {rebuilt['status']}, outcome {rebuilt['outcome'] or 'not known yet'}")
    for ticket in rebuilt["tickets"]:
        worker = f", worker {clean(ticket['worker_id'])}" if ticket["worker_id"] else ""
        typer.echo(f"ticket {clean(ticket['task_id'])} {ticket['status']}, attempt {ticket['attempt']}{worker}")
    for difference in rebuilt["differences"] or ("the history and the records agree",):
        typer.echo(clean(difference))
