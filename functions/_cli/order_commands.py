"""Orders of people: `flowc cancel`, `approve`, `deny`, `pause`, `redrive`, `retry`, `freeze-exception`, `skip` etc."""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import print_json, run
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, By, DryRun, FlowId, TicketId, Url, Why

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

Said = dict[str, Any]


def _of_flow(verb: str, says: str) -> Callable[..., None]:
    def command(
        flow_id: FlowId,
        *,
        by: By = "",
        reason: Why = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        url: Url = DEFAULT_URL,
        api_key: ApiKey = "",
    ) -> None:
        run(_ordered(verb, flow_id, _said(by, reason, dry_run=dry_run), url, api_key, as_json=as_json))

    return _named(command, verb, says)


def _of_ticket(verb: str, says: str) -> Callable[..., None]:
    def command(
        ticket_id: TicketId,
        *,
        by: By = "",
        reason: Why = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        url: Url = DEFAULT_URL,
        api_key: ApiKey = "",
    ) -> None:
        said = _said(by, reason, dry_run=dry_run)
        run(_ordered(verb, ticket_id, said, url, api_key, as_json=as_json, of_ticket=True))

    return _named(command, verb, says)


def _decision(verb: str, says: str) -> Callable[..., None]:
    def command(  # noqa: PLR0913 - each is an option
        record_id: Annotated[
            str, typer.Argument(metavar="ID", help="A flow, as for other commands, or a ticket: its id, or FLOW/TASK.")
        ],
        *,
        data: Annotated[str | None, typer.Option(metavar="JSON", help="What the form of the ticket asks for.")] = None,
        by: By = "",
        reason: Why = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        url: Url = DEFAULT_URL,
        api_key: ApiKey = "",
    ) -> None:
        said = _said(by, reason, dry_run=dry_run)
        if data is not None:
            said["data"] = _json(data, "--data")
        either = None if data is None else True  # a flow has no form
        run(_ordered(verb, record_id, said, url, api_key, as_json=as_json, of_ticket=either))

    return _named(command, verb, says)


def _named(command: Callable[..., None], verb: str, says: str) -> Callable[..., None]:
    command.__name__, command.__doc__ = verb, says
    return command


cancel = _of_flow(
    "cancel", "Cancel a flow.\n\nTickets that wait are dropped, workers of those that run are told to stop."
)
approve = _decision(
    "approve", "Approve a flow or a ticket.\n\nThe flow begins, or the ticket is done; `flowc inbox` lists what waits."
)
deny = _decision(
    "deny", "Deny a flow or a ticket.\n\nThe flow ends REJECTED; the ticket fails, unless its plan says otherwise."
)
pause = _of_flow("pause", "Pause a flow.\n\nNothing more is assigned; what runs goes on, and the SLA's time stands.")
resume = _of_flow("resume", "Let a paused flow go on, with the time that it had left.")
retry = _of_ticket("retry", "Try a ticket that waits now instead of later.")
reassign = _of_ticket("reassign", "Take a ticket from its worker and give it to another one.")
freeze_exception = _of_ticket(
    "freeze-exception",
    "Let a ticket pass the freezes of its service.\n\nOnly a DEPLOY ticket waits for the end of a freeze; say why.",
)


def redrive(  # noqa: PLR0913 - each is an option
    flow_id: FlowId,
    *,
    sla_seconds: Annotated[float | None, typer.Option(help="The time it has; as much as at first if absent.")] = None,
    by: By = "",
    reason: Why = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Let a flow that did not succeed go on where it failed.

    What is done stays done; the rest is tried again.
    """
    said = _said(by, reason, dry_run=dry_run) | ({} if sla_seconds is None else {"sla_seconds": sla_seconds})
    run(_ordered("redrive", flow_id, said, url, api_key, as_json=as_json))


def adjust(  # noqa: PLR0913 - each is an option
    flow_id: FlowId,
    *,
    priority: Annotated[str | None, typer.Option(help="LOW, NORMAL, HIGH or CRITICAL.")] = None,
    max_retries: Annotated[int | None, typer.Option(min=0, help="Retries of each open ticket at most.")] = None,
    sla_seconds: Annotated[float | None, typer.Option(help="The time that the flow has from now on.")] = None,
    by: By = "",
    reason: Why = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Change priority, retries or deadline of a flow.

    It is for the tickets that are open; what is not named stays as it is.
    """
    given = {"priority": priority, "max_retries": max_retries, "sla_seconds": sla_seconds}
    said = _said(by, reason, dry_run=dry_run) | {name: value for name, value in given.items() if value is not None}
    run(_ordered("adjust", flow_id, said, url, api_key, as_json=as_json))


def replan(  # noqa: PLR0913 - each is an option
    flow_id: FlowId,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The new plan, or a decision with it, as JSON; - is stdin.")
    ],
    *,
    force: Annotated[bool, typer.Option(help="Also take away what workers have begun.")] = False,
    by: By = "",
    reason: Why = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Let a flow go on by another plan.

    Tickets whose tasks are the same stay; others are cancelled, changed or made.
    """
    from functions._cli.submission import read_decision_file

    async def ordered() -> int:
        said = _said(by, reason, dry_run=dry_run) | {"cognitive_plan": read_decision_file(file).data}
        return await _ordered(
            "replan", flow_id, said | ({"force": True} if force else {}), url, api_key, as_json=as_json
        )

    run(ordered())


def skip(  # noqa: PLR0913 - each is an option
    ticket_id: TicketId,
    *,
    output: Annotated[str | None, typer.Option(metavar="JSON", help="Its result, for what depends on it.")] = None,
    by: By = "",
    reason: Why = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Take a ticket as done without its being done."""
    said = _said(by, reason, dry_run=dry_run)
    if output is not None:
        said["output"] = _json(output, "--output")
    run(_ordered("skip", ticket_id, said, url, api_key, as_json=as_json, of_ticket=True))


def _json(text: str, option: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text[:60]!r} is not JSON", param_hint=option) from error


def _said(by: str, reason: str | None, *, dry_run: bool) -> Said:
    from getpass import getuser

    said: Said = {"requested_by": by or getuser()}
    if reason is not None:
        said["reason"] = reason
    return said | ({"dry_run": True} if dry_run else {})


async def _ordered(
    verb: str, record_id: str, said: Said, url: str, api_key: str, *, as_json: bool, of_ticket: bool | None = False
) -> int:
    """Send an order about a flow or a ticket; `of_ticket` is None where it may be either."""
    from functions._cli.client import PlatformClient, flow_path, ticket_path
    from functions._cli.references import with_flow, with_flow_or_ticket, with_ticket

    async with PlatformClient(url, api_key) as client:

        def to_flow(flow_id: str) -> "Awaitable[JsonObject]":
            return client.post(flow_path(flow_id, verb), said)

        def to_ticket(ticket_id: str) -> "Awaitable[JsonObject]":
            return client.post(ticket_path(ticket_id, verb), said)

        if of_ticket is None:
            flow = await with_flow_or_ticket(client, record_id, to_flow, to_ticket)
        else:
            flow = await (with_ticket if of_ticket else with_flow)(
                client, record_id, to_ticket if of_ticket else to_flow
            )
    if as_json:
        print_json(flow)
    elif said.get("dry_run"):
        _print_preview(flow)
    elif not _too_late(verb, flow):
        changed = flow.get("changes") or verb == "cancel"
        typer.echo(f"{DONE[verb] if changed else 'nothing to change'}; the flow is {flow['status']}")
    if _too_late(verb, flow):
        typer.echo(f"too late: the outcome of the flow is {flow.get('outcome')} already", err=True)
        return 1
    return 0


def _too_late(verb: str, flow: "JsonObject") -> bool:
    return verb == "cancel" and flow.get("outcome") != "CANCELLED"


def _print_preview(flow: "JsonObject") -> None:
    from functions._cli.changes import change

    for entry in flow["changes"]:
        typer.echo(change(entry))
    typer.echo("nothing was changed" if flow["changes"] else "nothing would change, and nothing was changed")


DONE = {
    "cancel": "cancelled",
    "approve": "approved",
    "deny": "denied",
    "pause": "paused",
    "resume": "resumed",
    "redrive": "redriven",
    "adjust": "adjusted",
    "replan": "replanned",
    "retry": "tried now",
    "reassign": "reassigned",
    "freeze-exception": "excepted from freezes",
    "skip": "skipped",
}
