"""`flowc submit`: a decision goes in, its flow is followed to the end if wanted."""

from typing import Annotated

import typer

from functions._cli.console import run
from functions._cli.options import DEFAULT_URL, ApiKey, Url


def submit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A decision or a plan as JSON or YAML; - is stdin.")],
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the flow to its end.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Submit a decision and print the id of its flow.

    Waits up to two seconds for what C1 says of the plan: one that it rejects is exit status 1, with the reasons.
    With --watch the exit status is 0 only if the flow ends COMPLETED, otherwise 1.
    It is 2 when the file is no decision, or when the platform refuses it.
    """
    run(_submit(file, url, api_key, watch=watch))


async def _submit(file: str, url: str, api_key: str, *, watch: bool) -> int:
    from functions._cli.client import PlatformClient
    from functions._cli.submission import read_decision_file, submit_decision

    event = read_decision_file(file)
    async with PlatformClient(url, api_key) as client:
        flow_id = await submit_decision(client, event)
        typer.echo(flow_id)
        if not watch:
            from functions._cli.verdict import verdict_on

            return await verdict_on(client, flow_id)
        from functions._cli.following import APPEARS_WITHIN, follow_or_leave

        progress = await follow_or_leave(client, flow_id, appears_within=APPEARS_WITHIN)
    return 0 if progress.flow["status"] == "COMPLETED" else 1
