"""Records and events as JSON documents: what every store keeps as the truth and reads back.

Documents hold every field, defaults included: what was stored stays what it was when a default changes.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.audits import AUDITS, AnyAudit, AuditKind
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Ticket
from functions._core.records.record import Record, decode, defaults_of, encode, encode_fields
from functions._core.records.set_aside import RecordKind, SetAside

R = TypeVar("R", bound=Record)
T = TypeVar("T")
Row = tuple[int, object, str | None, str]
"""Position, id, flow and document."""

Document = TypeVar("Document", bound=Record | CloudEvent)

NOTHING: Mapping[str, Any] = {}

UNKNOWN = defaults_of(HistoryEntry)
"""Fields of a transition that are left out where it has nothing to say of them."""


class _KindOfAudit(Record):
    """What tells audits apart; a validation was stored without it at first."""

    kind: AuditKind = AuditKind.VALIDATION


def document(
    value: Record | CloudEvent,
    names: Iterable[str] | None = None,
    *,
    without: Mapping[str, Any] = NOTHING,
    compact: Iterable[str] = (),
) -> str:
    """Return a record or event, or some fields of a record (see `encode_fields`), as JSON text.

    Raises `Rejected` for text that no encoding can write.
    """
    try:
        if names is not None and isinstance(value, Record):
            return encode_fields(value, names, without, compact).decode()
        return encode(value).decode()
    except UnicodeEncodeError as error:
        raise Rejected(f"It cannot be stored: {error}.", code="not_storable") from error


def history_document(entry: HistoryEntry) -> str:
    """Return a transition as JSON text without what it does not have."""
    return document(entry, HistoryEntry.__struct_fields__, without=UNKNOWN)


def read_document(model: type[Document], doc: str | bytes) -> Document:
    """Return the record or event of a document; raise `msgspec.DecodeError` for what is none."""
    return decode(model, doc)


def read_audit(doc: str | bytes) -> AnyAudit:
    """Return the audit of a document, of whatever kind."""
    return decode(AUDITS[decode(_KindOfAudit, doc).kind], doc)


def read_rows(aside: SetAside, kind: RecordKind, model: type[R], rows: Iterable[Row]) -> list[tuple[int, R]]:
    """Return positions and records of rows of position, id, flow and document; what cannot be read is set aside."""
    parsed = (
        (position, aside.read(kind, record_id, partial(read_document, model, doc), flow_id=flow_id))
        for position, record_id, flow_id, doc in rows
    )
    return [(position, record) for position, record in parsed if record is not None]


def read_tickets(aside: SetAside, rows: Iterable[tuple[str, str, str]]) -> list[Ticket]:
    """Return the tickets of rows of id, flow and document; what cannot be read is set aside."""
    return [ticket for _, ticket in read_rows(aside, RecordKind.TICKET, Ticket, ((0, *row) for row in rows))]


def read_history_rows(aside: SetAside, rows: Iterable[tuple[int, str, str]]) -> list[HistoryEntry]:
    """Return the transitions of rows of number, flow and document; what cannot be read is set aside."""
    read = read_rows(aside, RecordKind.HISTORY, HistoryEntry, ((seq, seq, flow_id, doc) for seq, flow_id, doc in rows))
    return [entry.but(seq=seq) for seq, entry in read]


def read_audits(aside: SetAside, rows: Iterable[tuple[int, str, str]]) -> list[AnyAudit]:
    """Return the audits of rows of position, flow and document; what cannot be read is set aside."""
    parsed = (
        aside.read(RecordKind.AUDIT, at, partial(read_audit, doc), flow_id=flow_id or None) for at, flow_id, doc in rows
    )
    return [audit for audit in parsed if audit is not None]


def read_queued(aside: SetAside, event_id: str, doc: str) -> CloudEvent | None:
    """Return a queued event; one that cannot be read is set aside with its text."""
    return aside.read(RecordKind.QUEUED_EVENT, event_id, partial(read_document, CloudEvent, doc), raw=doc)


def read_telemetry(aside: SetAside, rows: Iterable[tuple[int, str]]) -> list[tuple[int, datetime, CloudEvent]]:
    """Return the entries of rows of position and document; what cannot be read is set aside with its text."""
    parsed = (
        (at, aside.read(RecordKind.TELEMETRY, at, partial(read_document, CloudEvent, doc), raw=doc)) for at, doc in rows
    )
    return [(at, event.time, event) for at, event in parsed if event is not None]


def found_or_unreadable(
    aside: SetAside, found: Mapping[str, Ticket], asked: Collection[str], stored: Collection[str]
) -> Mapping[str, Ticket]:
    """Return `found`; raise `Unreadable` when nothing was found and what is `stored` cannot be read."""
    if stored and not found:
        raise aside.error(RecordKind.TICKET, next(one for one in asked if one in stored))
    return found


def fill(limit: int, read: Callable[[int], tuple[int, list[T]]]) -> list[T]:
    """Return up to `limit` records; `read(n)` returns how many of the first n rows exist, and those that can be read.

    What cannot be read takes no place: more rows are read instead, so that a page is never shorter for it.
    """
    wanted = limit
    while True:
        rows, found = read(wanted)
        if len(found) >= limit or rows < wanted:
            return found[:limit]
        wanted *= 2


async def fill_async(limit: int, read: Callable[[int], Awaitable[tuple[int, list[T]]]]) -> list[T]:
    """See `fill`."""
    wanted = limit
    while True:
        rows, found = await read(wanted)
        if len(found) >= limit or rows < wanted:
            return found[:limit]
        wanted *= 2
