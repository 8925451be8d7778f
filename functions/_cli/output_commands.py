"""`flowc result` and `flowc logs`: the result of a flow, the outputs of its tasks, and their logs."""

from typing import TYPE_CHECKING, Annotated

import typer

from functions._cli.console import CommandFailed, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from functions._cli.wire import COMPLETED

if TYPE_CHECKING:
    from functions._cli.client import PlatformClient
    from functions._cli.wire import JsonObject

NO_SUCH_TASK = 1

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "SKIPPED", "COMPENSATED"})
"""Statuses of a ticket whose log gets no more."""

FOLLOW_SECONDS = 1.0
"""Between two looks at a log that is followed: a worker tells of it each 5 s at most."""


def result(
    flow: Annotated[
        str, typer.Argument(metavar="ID", help="The flow, named as for `flowc show`, or one of its tasks: FLOW/TASK.")
    ],
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", show_default=False, help="Only this one's.")] = None,
    *,
    outputs: Annotated[bool, typer.Option("--outputs", help="The outputs of all tasks instead, by task.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Print the result of a flow as JSON: what its plan declares, else the outputs of its last tasks.

    With TASK the output of that task is printed, with --outputs those of all tasks that are done. The exit status is 1
    while the flow has not ended COMPLETED: outputs that are there are printed anyway.
    """
    run(_result(flow, task, url, api_key, outputs=outputs))


async def _result(ref: str, task: str | None, url: str, api_key: str, *, outputs: bool) -> int:
    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.references import with_flow

    if outputs or task is not None or "/" in ref:
        return await _outputs(ref, task, url, api_key)
    async with PlatformClient(url, api_key) as client:
        return print_result(await with_flow(client, ref, lambda flow_id: client.get(flow_path(flow_id, "result"))))


def print_result(found: "JsonObject") -> int:
    """Print the result of a flow that has ended, or say why it has none, and return the exit status."""
    from functions._cli.words import clean

    if found["outcome"] == COMPLETED:
        print_json(found["result"])
        return 0
    why = "; ".join(clean(reason["message"]) for reason in found["reasons"])
    say(f"flowc: the flow ended {found['outcome']}{f': {why}' if why else ''}")
    say(f"`flowc result {found['flow_id']} --outputs` prints the outputs of the tasks that were done")
    return 1


async def _outputs(ref: str, task: str | None, url: str, api_key: str) -> int:
    from functions._cli.client import PlatformClient, flow_path
    from functions._cli.references import flow_and_task, with_flow

    if task is None and "/" in ref:
        ref, task = flow_and_task(ref)
    async with PlatformClient(url, api_key) as client:
        flow = await with_flow(client, ref, lambda flow_id: client.get(flow_path(flow_id)))
        tickets = [ticket async for ticket in client.items(flow_path(flow["flow_id"], "tickets"))]
    outputs = {ticket["task_id"]: ticket["output"] for ticket in tickets if has_output(ticket)}
    if task is None:
        print_json(outputs)
    elif task in outputs:
        print_json(outputs[task])
    else:
        known = any(ticket["task_id"] == task for ticket in tickets)
        wrong = f"task {task!r} has no output" if known else f"flow {ref} has no task {task!r}"
        raise CommandFailed(wrong, exit_status=NO_SUCH_TASK)
    if flow["status"] == COMPLETED:
        return 0
    say(f"flowc: the flow is {flow['status']}; `flowc why {flow['flow_id']}` says more")
    return 1


def has_output(ticket: "JsonObject") -> bool:
    """Tell whether a ticket is one of the plan, and done."""
    return ticket["compensates"] is None and ticket["status"] == COMPLETED


def logs(
    record: Annotated[str, typer.Argument(metavar="FLOW[/TASK]", help="A flow, or one of its tasks.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Print what the tasks of a flow wrote to standard output and standard error: the last 64 KiB of each.

    A worker sends it when an attempt has ended, and the last 8 KiB while it runs; of a task that was tried again it is
    the newest attempt's. With --follow the log of one task is printed as it comes.
    """
    if follow and ("/" not in record or as_json):
        raise typer.BadParameter("the log of one task, FLOW/TASK, can be followed, and not as JSON")
    run(_followed(record, url, api_key) if follow else _logs(record, url, api_key, as_json=as_json))


async def _logs(record: str, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient, ticket_path
    from functions._cli.references import with_ticket

    async with PlatformClient(url, api_key) as client:
        if "/" in record:
            found = [await with_ticket(client, record, lambda one: client.get(ticket_path(one, "logs")))]
        else:
            found = await _of_flow(client, record)
    if as_json:
        print_json({"items": found, "cursor": None})
    else:
        _print_logs(found, headed="/" not in record)
    return 0


async def _followed(record: str, url: str, api_key: str) -> int:
    """Print the log of a task as it comes, whole lines while it runs; one that is tried again goes on."""
    from asyncio import sleep

    from functions._cli.client import PlatformClient, ticket_path
    from functions._cli.references import with_ticket

    attempt, shown, ended = 0, "", False
    async with PlatformClient(url, api_key) as client:
        while not ended:
            ticket = await with_ticket(client, record, lambda one: client.get(ticket_path(one)))
            ended = ticket["status"] in ENDED  # before the log is read, which has its end then
            log = await client.get(ticket_path(ticket["ticket_id"], "logs"))
            if log["attempt"] != attempt:
                attempt, shown = log["attempt"], ""
            text = log["text"] if ended else log["text"][: log["text"].rfind("\n") + 1]
            for line in news(shown, text).splitlines():
                typer.echo(clean_line(line))
            shown = text or shown
            if not ended:
                await sleep(FOLLOW_SECONDS)
    return 0


def news(shown: str, text: str) -> str:
    """Return what is new in the end of a log, of which another end was shown; what is missing between is `…`."""
    at = text.find(shown)
    if at >= 0:
        return text[at + len(shown) :]
    sizes = range(min(len(shown), len(text)), 0, -1)
    overlap = next((size for size in sizes if text.startswith(shown[-size:])), 0)
    return text[overlap:] if overlap else f"…\n{text}"


async def _of_flow(client: "PlatformClient", ref: str) -> "list[JsonObject]":
    from functions._cli.client import flow_path, ticket_path
    from functions._cli.references import with_flow

    flow = await with_flow(client, ref, lambda flow_id: client.get(flow_path(flow_id)))
    tickets = client.items(flow_path(flow["flow_id"], "tickets"))
    wrote = [ticket["ticket_id"] async for ticket in tickets if ticket["log_bytes"]]
    return [await client.get(ticket_path(ticket_id, "logs")) for ticket_id in wrote]


def _print_logs(found: "list[JsonObject]", *, headed: bool) -> None:
    from functions._cli.words import clean

    if not any(log["text"] for log in found):
        say("nothing was written")
    for log in found:
        if headed:
            again = f" (attempt {log['attempt']})" if log["attempt"] > 1 else ""
            typer.echo(f"==> {clean(log['task_id'])}{again} <==")
        lines = log["text"].splitlines()
        for line in lines:
            typer.echo(clean_line(line))


def clean_line(line: str) -> str:
    """Return a foreign line with nothing in it that steers a terminal, its spaces and tabs kept."""
    from functions._cli.wire import UNPRINTABLE

    return UNPRINTABLE.sub("?", line.expandtabs())
