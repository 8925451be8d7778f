"""Loads what the references of a ticket stand for, and no more, and fills it in."""

from collections.abc import Collection, Sequence
from typing import Any

from functions._core.decision.references import INDEX, ReferencesTooLarge, UnresolvedReference
from functions._core.decision.resolving import Resolution
from functions._core.decision.vocabulary import shown
from functions._core.ports import FlowStore
from functions._core.records.models import Ticket
from functions._core.records.values import JsonObject, TicketStatus, ticket_id_of

OUTPUTS_AT_ONCE = 8
"""Upstream tickets in memory at once while their outputs are filled in: of each only what is referred to is kept."""

CHILDREN_AT_ONCE = 200
"""Children of one ticket that are read, or made, at once."""


async def resolved_parameters(ticket: Ticket, store: FlowStore, most: int) -> JsonObject:
    """Return a ticket's parameters with every reference replaced by the upstream output.

    `most` is how many bytes the references may stand for. Raises `Undeliverable` for one that stands for nothing.
    """
    resolution = Resolution(dict(ticket.parameters), most)
    await _load(resolution, ticket, store, most)
    return resolution.parameters()


async def resolved(value: object, root: str, ticket: Ticket, store: FlowStore, most: int) -> Any:  # noqa: ANN401 any JSON
    """Return any value of a ticket's task, at `root`, in the same way."""
    resolution = Resolution(value, most, root)
    await _load(resolution, ticket, store, most)
    return resolution.value()


async def _load(resolution: Resolution, ticket: Ticket, store: FlowStore, most: int) -> None:
    if not resolution.references:
        return
    if ticket.index is not None:
        resolution.add_item(ticket.item, ticket.index)
    if resolution.needs_input:
        around = ticket_id_of(ticket.flow_id, ticket.scope[:-1])
        owner = (await store.tickets([around], ticket.flow_id)).get(around) if ticket.scope else None
        if owner is None:
            raise UnresolvedReference("parameters: there is no sub-flow around the task that could have an input")
        resolution.add_input(await resolved_parameters(owner, store, most))
    task_ids = {ticket_id_of(ticket.flow_id, ticket.scope + task_id): task_id for task_id in resolution.task_ids}
    ids = list(task_ids)
    for start in range(0, len(ids), OUTPUTS_AT_ONCE):
        upstream = await store.tickets(ids[start : start + OUTPUTS_AT_ONCE], ticket.flow_id)
        for ticket_id, other in upstream.items():
            task_id = task_ids[ticket_id]
            if other.status in {TicketStatus.SKIPPED, TicketStatus.FAILED}:
                resolution.add_nothing(task_id)
                continue
            paths = resolution.paths_of(task_id)
            resolution.add(task_id, await output_of(other, store, most, paths))


async def output_of(ticket: Ticket, store: FlowStore, most: int, paths: Collection[str] = ("",)) -> Any:  # noqa: ANN401 any JSON
    """Return the output of a ticket, as far as `paths` point into it.

    Where the outputs of children stay with them, a list has only the entries that paths begin with; a path to the whole
    is `ReferencesTooLarge` when they have more than `most` bytes together.
    """
    children = ticket.children
    if children is None or not children.apart:
        return ticket.output
    indexes = [path.split("/")[1] for path in paths if path]
    if len(indexes) < len(paths):
        raise ReferencesTooLarge(len(paths), most)
    if any(not INDEX.fullmatch(index) or int(index) >= children.total for index in indexes):
        raise UnresolvedReference(f"the output of task {shown(ticket.task_id)} has {children.total} entries")
    wanted = {ticket_id_of(ticket.flow_id, f"{ticket.task_id}[{index}]"): int(index) for index in indexes}
    found = await store.tickets(wanted, ticket.flow_id)
    entries: list[Any] = [None] * children.total
    for ticket_id, child in found.items():
        entries[wanted[ticket_id]] = child.output
    return entries


async def children_of(ticket: Ticket, names: Sequence[str], store: FlowStore) -> dict[str, Ticket]:
    """Return those children of a ticket that exist, by the end of their task id: `[0]`, or `/a`."""
    ids = {ticket_id_of(ticket.flow_id, ticket.task_id + name): name for name in names}
    found = await store.tickets(ids, ticket.flow_id) if ids else {}
    return {ids[ticket_id]: child for ticket_id, child in found.items()}
