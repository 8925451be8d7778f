"""From records to changes of items, and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from functions._adapters.documents import document, read_audit, read_document
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import ItemChange
from functions._adapters.dynamodb.plans import FROM_PAGE, PlannedTicket
from functions._adapters.dynamodb.table import Incomplete, Table
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
from functions._adapters.worker_claims import held_since, waits_for_a_worker
from functions._core.errors import FlowcError
from functions._core.events.envelope import CloudEvent
from functions._core.machine.tables import FLOWS_UNDER_WAY
from functions._core.records.attempts import held_as, other_of
from functions._core.records.audits import ActionRecord, AnyAudit, AuditRecord
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record, decode
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import FlowStatus, milliseconds
from functions._core.records.worker import Worker

R = TypeVar("R", bound=Record)
T = TypeVar("T")

LONG = 10_000
"""Milliseconds; an estimate above this says that a record probably lives to see a sweep."""

Stored = bytes | Exception
"""A document, or what kept it from being unpacked."""

MAY_BE_UNTOUCHED = FLOWS_UNDER_WAY - {FlowStatus.PUBLISHING}
"""Statuses of a flow that may have tickets without items; later all tickets have ended."""

NO_FLOW = "NOFLOW"
"""Partition of `standing` for actions that concern no flow."""


async def flow_change(
    writer: Writer, flow: Flow, base: int, stamp: int, planned: Sequence[PlannedTicket]
) -> ItemChange:
    """Return the change that writes a flow's row, which is at version `base` in the table, and `planned` tickets."""
    under_way = flow.status in FLOWS_UNDER_WAY
    indexed = dict(keys.flow_entry(flow, under_way=under_way))
    more: dict[str, Item] = {"st": text(flow.status.value)}
    if flow.ended_at:
        outcome = flow.outcome.value if flow.outcome else ""
        more |= {"eo": text(outcome), "ms": integer(milliseconds(flow.ended_at - flow.received_at))}
    written = await _written(writer.table, keys.of_flow(flow.flow_id), flow, stamp)
    partition = keys.of_flow(flow.flow_id)
    if planned:
        more |= await writer.plans.put(partition, planned)
    sets = {**written, **more, **texts(indexed)}
    listing = keys.listing_entry("FLOW", flow.flow_id, stamp)
    change = ItemChange(
        keys.flow_key(flow.flow_id),
        base,
        sets=sets,
        keeps={"p": integer(stamp), **texts(listing)},
        removes=_unless(sets, "eo", "ms", "d", "dp"),
    )
    if planned:
        times = [flow.next_wakeup_at, *(one.ticket.next_wakeup_at for one in planned)]
        return writer.due.entered(change, "flow", flow.flow_id, min(filter(None, times), default=None))
    if base and flow.status in MAY_BE_UNTOUCHED and await writer.plans.of(partition, base):
        return writer.due.lowered(change, "flow", flow.flow_id, flow.next_wakeup_at)
    lasts = flow.status is FlowStatus.EXECUTING and _long(flow.critical_path_ms)
    return writer.due.entered(change, "flow", flow.flow_id, flow.next_wakeup_at, lasts=lasts)


async def ticket_change(writer: Writer, ticket: Ticket, base: int, stamp: int) -> ItemChange:
    """Return the change that writes a ticket, at version `base` in the table; `stamp` is its position if it is new."""
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
    change = ItemChange(
        keys.ticket_key(ticket.flow_id, ticket.ticket_id),
        base,
        sets=sets,
        removes=_unless(sets, "sp", "ss", "fu", "d", "dp"),
    )
    if ticket.compensates is not None:
        sets["co"] = text(ticket.compensates)
    lasts = ticket.acknowledged_at is not None and _long(ticket.estimated_duration_ms)
    change = writer.due.entered(change, "ticket", ticket.ticket_id, ticket.next_wakeup_at, lasts=lasts)
    if base == 1 and (page := await writer.plans.find([change.key])):
        sets = {**change.sets, FROM_PAGE: {"BOOL": True}}
        return change.but(planned=True, sets=sets, keeps={"p": page[change.key]["p"]})
    return change if base else change.but(keeps={"p": integer(stamp)})


def hedge_change(ticket: Ticket) -> ItemChange:
    """Return the change by which the other attempt at a ticket is found, or is not any more."""
    key, other = keys.hedge_key(ticket.flow_id, ticket.ticket_id), other_of(ticket)
    if other is None:
        return ItemChange(key, delete=True)
    return ItemChange(key, sets=texts(keys.held_entry(held_as(ticket, other.worker_id), other.assigned_at)))


async def worker_change(writer: Writer, worker: Worker, stamp: int) -> ItemChange:
    """Return the change that writes a worker."""
    written = await _written(writer.table, keys.WORKERS, worker, stamp)
    key = keys.WORKERS, keys.short(worker.worker_id)
    change = ItemChange(key, worker.version - 1, sets=written, removes=_unless(written, "d", "dp"))
    return writer.due.entered(change, "worker", worker.worker_id, worker.next_wakeup_at)


async def letter_change(table: Table, letter: DeadLetter, stamp: int) -> ItemChange:
    """Return the change that writes a letter; one that was there keeps its place."""
    key = keys.letter_key(letter.letter_id)
    listing = texts(keys.listing_entry("LETTER", letter.letter_id, stamp))
    of_flow = {}
    if letter.flow_id:
        of_flow = texts({"sp": f"LETTERS#{keys.short(letter.flow_id)}", "ss": keys.short(letter.letter_id)})
    sets = {**await table.packed(key[0], document(letter)), **of_flow}
    return ItemChange(key, sets=sets, keeps=listing, removes=_unless(sets, "sp", "ss", "d", "dp"))


async def audit_change(table: Table, audit: AnyAudit, stamp: int) -> ItemChange:
    """Return the change that adds an audit."""
    key = keys.of_flow(audit.flow_id), f"A#{keys.number(stamp)}"
    indexed = dict(keys.listing_entry("AUDIT", audit.audit_id, stamp))
    if isinstance(audit, ActionRecord) and not audit.flow_id:
        indexed |= {"sp": NO_FLOW, "ss": f"{keys.moment(audit.at)}#{keys.number(stamp)}"}
    kind = {"k": text(audit.kind.value), "ok": {"BOOL": isinstance(audit, AuditRecord) and audit.valid}}
    return ItemChange(
        key, 0, sets={**await table.packed(key[0], document(audit)), **kind, **texts(indexed), **new(stamp)}
    )


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


def history_of(table: Table, item: Item) -> list[HistoryEntry]:
    """Return the history that an item keeps; what cannot be read is set aside."""
    flow_id, ticket_id = item["pk"]["S"].removeprefix("F#"), item["sk"]["S"].rpartition("T#")[2]
    elements = (
        table.set_aside.read(
            RecordKind.HISTORY,
            f"{flow_id}/{item['sk']['S']}/{place}",
            partial(_lines_of, element),
            flow_id=flow_id,
        )
        for place, element in enumerate(item.get("h", {"L": []})["L"])
    )
    return [
        entry.but(flow_id=entry.flow_id or flow_id, ticket_id=ticket_id if entry.ticket_id == "" else entry.ticket_id)
        for entries in elements
        for entry in entries or ()
    ]


def _lines_of(element: Item) -> list[HistoryEntry]:
    return decode(list[HistoryEntry], inflate(bytes(element["B"])))


async def record_of(table: Table, model: type[R], item: Item) -> R:
    """Return the record that an item holds; raise `Unreadable`, or `Incomplete` where its document is not there."""
    found = await stored(table, item)
    if isinstance(found, Incomplete):
        raise found
    kind, record_id, _ = identity(item)
    parse = partial(_parsed, model, found)
    return table.set_aside.read_one(kind, record_id, parse, version=to_integer(item, "v"))


async def readable(table: Table, model: type[R], item: Item) -> R | None:
    """Return the record that an item holds; None, with the record set aside, when it cannot be read."""
    return await parsed(table, item, partial(_parsed, model))


async def parsed(table: Table, item: Item, parse: Callable[[Stored], T]) -> T | None:
    """Return what `parse` makes of an item's document; None, with the record set aside, when it cannot be read."""
    kind, record_id, flow_id = identity(item)
    found = await stored(table, item)
    raw = found if isinstance(found, bytes) else ""
    return table.set_aside.read(kind, record_id, partial(parse, found), flow_id=flow_id, raw=raw)


async def readable_all(table: Table, model: type[R], items: Iterable[Item]) -> list[R]:
    """Return the records that items hold, without those that cannot be read."""
    found = [await readable(table, model, item) for item in items]
    return [record for record in found if record is not None]


async def stored(table: Table, item: Item, partition: str | None = None) -> Stored:
    """Return the document of an item, or why there is none that can be unpacked."""
    try:
        return await table.document(item, partition=partition) or Incomplete("A record is without its document.")
    except Incomplete as missing:
        return missing
    except FlowcError:
        raise
    except Exception as broken:  # noqa: BLE001 whatever is in the item
        return broken


def _parsed(model: type[R], found: Stored) -> R:
    return read_document(model, _text_of(found))


def event_of(found: Stored) -> CloudEvent:
    """Return the event of a document."""
    return read_document(CloudEvent, _text_of(found))


def audit_of(found: Stored) -> AnyAudit:
    """Return the audit of a document."""
    return read_audit(_text_of(found))


def _text_of(found: Stored) -> bytes:
    """Return a document; raise what kept it from being unpacked."""
    if isinstance(found, Exception):
        raise found
    return found


def identity(item: Item) -> tuple[RecordKind, str, str | None]:
    """Return what an item holds, its id as far as its key tells it, and the flow that it is of."""
    partition, key = item["pk"]["S"], item["sk"]["S"]
    if partition == keys.WORKERS or partition.startswith("HOOK#"):
        return RecordKind.WORKER if partition == keys.WORKERS else RecordKind.WEBHOOK_DELIVERY, key, None
    if partition == keys.TELEMETRY:
        return RecordKind.TELEMETRY, str(int(key)), None
    if partition.startswith("LETTER#"):
        return RecordKind.DEAD_LETTER, partition.removeprefix("LETTER#"), None
    flow_id = partition.removeprefix("F#")
    if key.startswith("T#"):
        return RecordKind.TICKET, key.removeprefix("T#"), flow_id
    if key.startswith("A#"):
        return RecordKind.AUDIT, key.removeprefix("A#"), flow_id
    return RecordKind.FLOW, flow_id, flow_id


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
