"""From records to changes of items, and back."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import TypeAdapter

from functions._adapters.documents import document
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import Change
from functions._adapters.dynamodb.table import Table
from functions._adapters.dynamodb.values import (
    Item,
    binary,
    deflate,
    inflate,
    integer,
    text,
    texts,
    to_integer,
)
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.standing import held_since, waits_for_a_worker
from functions._core.audits import ActionRecord, AnyAudit, AuditRecord
from functions._core.errors import Unavailable
from functions._core.machine import FLOWS_UNDER_WAY
from functions._core.models import DeadLetter, Flow, HistoryEntry, Ticket
from functions._core.values import FlowStatus, Record, milliseconds
from functions._core.worker_record import Worker

R = TypeVar("R", bound=Record)

_HISTORY = TypeAdapter(list[HistoryEntry])

LONG = 10_000
"""Milliseconds; an estimate above this says that a record probably lives to see a sweep."""

NO_FLOW = "NOFLOW"
"""Partition of `standing` for actions that concern no flow."""


async def flow_change(writer: Writer, flow: Flow, stamp: int) -> Change:
    """Return the change that writes a flow's row."""
    under_way = flow.status in FLOWS_UNDER_WAY
    indexed = dict(keys.flow_entry(flow, under_way=under_way))
    more: dict[str, Item] = {"st": text(flow.status.value)}
    if flow.ended_at:
        outcome = flow.outcome.value if flow.outcome else ""
        more |= {"eo": text(outcome), "ms": integer(milliseconds(flow.ended_at - flow.received_at))}
    written = await _written(writer.table, keys.of_flow(flow.flow_id), flow, stamp)
    sets = {**written, **more, **texts(indexed)}
    listing = keys.listing_entry("FLOW", flow.flow_id, stamp)
    change = Change(
        keys.flow_key(flow.flow_id),
        flow.version - 1,
        sets=sets,
        keeps={"p": integer(stamp), **texts(listing)},
        removes=_unless(sets, "eo", "ms", "d", "dp"),
    )
    lasts = flow.status is FlowStatus.EXECUTING and _long(flow.critical_path_ms)
    return writer.due.entered(change, "flow", flow.flow_id, flow.next_wakeup_at, lasts=lasts)


async def ticket_change(writer: Writer, ticket: Ticket, stamp: int) -> Change:
    """Return the change that writes a ticket; `stamp` is its position if it is new."""
    indexed: dict[str, str] = {}
    if (since := held_since(ticket)) and ticket.worker_id:
        indexed |= keys.held_entry(ticket, since)
    elif waits_for_a_worker(ticket):
        indexed |= keys.waiting_entry(ticket)
    sets = {
        **await _written(writer.table, keys.of_flow(ticket.flow_id), ticket, stamp),
        **texts(indexed),
        "st": text(ticket.status.value),
    }
    change = Change(
        keys.ticket_key(ticket.flow_id, ticket.ticket_id),
        ticket.version - 1,
        sets=sets,
        removes=_unless(sets, "sp", "ss", "fu", "d", "dp"),
    )
    if ticket.compensates is not None:
        sets["co"] = text(ticket.compensates)
    lasts = ticket.acknowledged_at is not None and _long(ticket.estimated_duration_ms)
    change = writer.due.entered(change, "ticket", ticket.ticket_id, ticket.next_wakeup_at, lasts=lasts)
    return change if ticket.version > 1 else change.but(keeps={"p": integer(stamp)})


async def worker_change(writer: Writer, worker: Worker, stamp: int) -> Change:
    """Return the change that writes a worker."""
    written = await _written(writer.table, keys.WORKERS, worker, stamp)
    key = keys.WORKERS, keys.short(worker.worker_id)
    change = Change(key, worker.version - 1, sets=written, removes=_unless(written, "d", "dp"))
    return writer.due.entered(change, "worker", worker.worker_id, worker.next_wakeup_at)


async def letter_change(table: Table, letter: DeadLetter, stamp: int) -> Change:
    """Return the change that writes a letter; one that was there keeps its place."""
    key = keys.letter_key(letter.letter_id)
    listing = texts(keys.listing_entry("LETTER", letter.letter_id, stamp))
    of_flow = {}
    if letter.flow_id:
        of_flow = texts({"sp": f"LETTERS#{keys.short(letter.flow_id)}", "ss": keys.short(letter.letter_id)})
    sets = {**await table.packed(key[0], document(letter)), **of_flow}
    return Change(key, sets=sets, keeps=listing, removes=_unless(sets, "sp", "ss", "d", "dp"))


async def audit_change(table: Table, audit: AnyAudit, stamp: int) -> Change:
    """Return the change that adds an audit."""
    key = keys.of_flow(audit.flow_id), f"A#{keys.number(stamp)}"
    indexed = dict(keys.listing_entry("AUDIT", audit.audit_id, stamp))
    if isinstance(audit, ActionRecord) and not audit.flow_id:
        indexed |= {"sp": NO_FLOW, "ss": f"{keys.moment(audit.at)}#{keys.number(stamp)}"}
    kind = {"k": text(audit.kind.value), "ok": {"BOOL": isinstance(audit, AuditRecord) and audit.valid}}
    return Change(key, 0, sets={**await table.packed(key[0], document(audit)), **kind, **texts(indexed), **new(stamp)})


def new(stamp: int) -> Mapping[str, Item]:
    """Return what an item has whose key is a position: should two processes give the same, one must think again."""
    return {"v": integer(1), "c": integer(stamp)}


def history_element(entries: Sequence[HistoryEntry], key: keys.Key) -> Item:
    """Return lines of history as the item at `key` keeps them: ids that its key tells are left out."""
    docs = []
    for entry in entries:
        flow_id = "" if keys.of_flow(entry.flow_id) == f"F#{entry.flow_id}" else entry.flow_id
        own = entry.ticket_id is not None and key[1] == f"T#{entry.ticket_id}"
        docs.append(document(entry.but(flow_id=flow_id, ticket_id="" if own else entry.ticket_id)))
    return binary(deflate(f"[{','.join(docs)}]"))


def history_of(item: Item) -> list[HistoryEntry]:
    """Return the history that an item keeps."""
    flow_id, ticket_id = item["pk"]["S"].removeprefix("F#"), item["sk"]["S"].rpartition("T#")[2]
    return [
        entry.but(flow_id=entry.flow_id or flow_id, ticket_id=ticket_id if entry.ticket_id == "" else entry.ticket_id)
        for element in item.get("h", {"L": []})["L"]
        for entry in _HISTORY.validate_json(inflate(bytes(element["B"])))
    ]


async def record_of(table: Table, model: type[R], item: Item) -> R:
    """Return the record that an item holds."""
    found = await table.document(item)
    if found is None:
        raise Unavailable("A record is without its document.")
    return model.model_validate_json(found)


def is_record(item: Item | None) -> bool:
    """Whether an item holds a record of some version, beside whatever else."""
    return item is not None and to_integer(item, "v") > 0


async def _written(table: Table, partition: str, record: Flow | Ticket | Worker, stamp: int) -> Mapping[str, Item]:
    return {
        **await table.packed(partition, document(record)),
        "v": integer(record.version),
        "c": integer(stamp),
    }


def _long(estimate: int | None) -> bool:
    return estimate is not None and estimate > LONG


def _unless(sets: Mapping[str, Item], *names: str) -> list[str]:
    return [name for name in names if name not in sets]


def position_of(item: Item) -> int:
    """Return the position of a flow or ticket: when it was stored first."""
    return to_integer(item, "p")
