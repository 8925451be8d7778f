"""`flowc submit`: a decision goes in, its flow is followed to the end if wanted."""

from collections.abc import Sequence
from typing import Annotated
from uuid import uuid4

import typer

from functions._cli.console import run
from functions._cli.options import DEFAULT_URL, ApiKey, Url

File = Annotated[
    str,
    typer.Argument(
        metavar="[FILE]", show_default=False, help="A decision or a plan as JSON or YAML; - is stdin. Or --plan."
    ),
]
Stored = Annotated[
    str, typer.Option("--plan", metavar="NAME[@VERSION]", help="A plan that is stored; without a version its newest.")
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A field of the decision, its value as JSON or text; repeated."),
]


def submit(
    file: File = "",
    *,
    stored: Stored = "",
    fields: Fields = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the flow to its end.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end and print its result, as JSON.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Submit a decision and print the id of its flow. Of a plan, each time is another decision.

    Waits up to two seconds for what C1 says of the plan: one that it rejects is exit status 1, with the reasons.
    With --watch or --wait the exit status is 0 only if the flow ends COMPLETED, otherwise 1; with --wait the result
    alone is on standard output.
    It is 2 when the file is no decision, or when the platform refuses it.
    """
    if bool(file) == bool(stored):
        raise typer.BadParameter("give a FILE, or a stored plan by --plan", param_hint="FILE")
    run(_submit(file, stored, fields or (), url, api_key, watch=watch, wait=wait))


async def _submit(
    file: str, stored: str, fields: Sequence[str], url: str, api_key: str, *, watch: bool, wait: bool
) -> int:
    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.submission import decision_of_stored, read_decision_file, submit_decision, with_fields

    run_id = str(uuid4())
    event = with_fields(decision_of_stored(stored, run_id) if stored else read_decision_file(file, run_id), fields)
    async with PlatformClient(url, api_key) as client:
        flow_id = await submit_decision(client, event)
        typer.echo(flow_id, err=wait)
        if not watch and not wait:
            from functions._cli.verdict import verdict_on

            return await verdict_on(client, flow_id)
        from functions._cli.following import APPEARS_WITHIN, follow_or_leave

        progress = await follow_or_leave(client, flow_id, stderr=wait, appears_within=APPEARS_WITHIN)
        if wait:
            from functions._cli.output_commands import print_result

            return print_result(await client.get(flow_path(flow_id, "result")))
    return 0 if progress.flow["status"] == "COMPLETED" else 1
