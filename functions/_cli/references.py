"""From what people call a flow or a ticket to its id: ids, their beginnings, decision and plan ids."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from functions._cli.client import CommandRefused, PlatformClient, flow_path
from functions._cli.console import WRONG_USE, CommandFailed
from functions._cli.wire import UUID_TEXT, ticket_id_of

Answer = TypeVar("Answer")


async def with_flow(client: PlatformClient, ref: str, ask: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Ask about the flow that `ref` means and return the answer; raise `CommandRefused` when none or several are meant.

    What looks like an id is taken for one first: that costs one request, and asking for what is not there does nothing.
    """
    if UUID_TEXT.fullmatch(ref):
        try:
            return await ask(ref)
        except CommandRefused as refusal:
            if not refusal.code.startswith("unknown_"):
                raise
    return await ask(await flow_id_of(client, ref))


async def flow_id_of(client: PlatformClient, ref: str) -> str:
    """Return the id of the one flow that `ref` means."""
    found = await client.get(flow_path("resolve"), ref=ref)
    return str(found["flow_id"])


def flow_and_task(ref: str) -> tuple[str, str]:
    """Return both parts of FLOW/TASK, raise `CommandFailed` when one of them is none."""
    flow, _, task_id = ref.partition("/")
    if flow.strip(".") and task_id:
        return flow, task_id
    raise CommandFailed(
        f"{ref!r} names no task: give FLOW/TASK, the flow by an id or its first 4 characters", exit_status=WRONG_USE
    )


async def with_flow_or_ticket(
    client: PlatformClient,
    ref: str,
    ask_flow: Callable[[str], Awaitable[Answer]],
    ask_ticket: Callable[[str], Awaitable[Answer]],
) -> Answer:
    """Ask about a flow, or about a ticket: one named as FLOW/TASK, or by an id that is no flow's."""
    if "/" in ref:
        return await with_ticket(client, ref, ask_ticket)
    try:
        return await with_flow(client, ref, ask_flow)
    except CommandRefused as refusal:
        if refusal.code != "unknown_flow" or UUID_TEXT.fullmatch(ref) is None:
            raise
    return await ask_ticket(ref)


async def with_ticket(client: PlatformClient, ref: str, ask: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Ask about a ticket: one named by its id, or as FLOW/TASK, the flow being named in any way."""
    if "/" not in ref:
        return await ask(ref)
    flow, task_id = flow_and_task(ref)
    try:
        return await with_flow(client, flow, lambda flow_id: ask(ticket_id_of(flow_id, task_id)))
    except CommandRefused as refusal:
        if refusal.code != "unknown_ticket":
            raise
        raise CommandRefused(f"flow {flow} has no task {task_id!r}", refusal.status, refusal.code) from refusal
