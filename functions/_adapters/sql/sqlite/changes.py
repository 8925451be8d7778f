"""What a step writes, as a list of statements: made by the caller, run by the committer."""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from zlib import compress

from functions._adapters.documents import document, history_document
from functions._adapters.pages import label_words
from functions._adapters.sql.sqlite.database import SQL
from functions._adapters.sql.sqlite.rows import Row, audit_row, flow_row, hedge_row, ticket_row, worker_row
from functions._adapters.ticket_parts import TICKETS, part_of
from functions._core.errors import Conflict
from functions._core.events.envelope import CloudEvent
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.models import Flow, Ticket
from functions._core.records.worker import Worker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BulkStatement:
    """One statement for many rows; where it is `guarded`, each row must be touched or it is a conflict."""

    sql: str
    rows: Collection[Row]
    guarded: bool = False

    def apply(self, connection: sqlite3.Connection) -> None:
        """Run it."""
        touched = connection.executemany(self.sql, self.rows).rowcount
        if self.guarded and touched != len(self.rows):
            raise Conflict


@dataclass(frozen=True, slots=True)
class RowUpdate:
    """The update of one flow or ticket, which must be at the version `base`; only columns that change are set."""

    record: Flow | Ticket
    base: int
    row: Row
    whole: bool = False
    """Whether a ticket is written whole, without a part, because what is on its part does not hold any more."""

    def apply(self, connection: sqlite3.Connection) -> None:
        """Run it."""
        table = "ticket" if isinstance(self.record, Ticket) else "flow"
        row = {**self.row, "base": self.base}
        cursor = connection.execute(SQL[f"{table}_columns"], row)
        before = cursor.fetchone()
        if before is None:
            raise Conflict
        found = dict(zip((column[0] for column in cursor.description), before, strict=True))
        if found.pop("whole", False) or self.whole:  # it was stored before there were parts, or leaves its part
            row["doc"] = document(self.record)
        changes = "".join(f", {name} = :{name}" for name, value in found.items() if row[name] != value)
        changes += ", place = NULL" if self.whole else ""
        connection.execute(SQL[f"{table}_update"].replace("/* changes */", changes), row)


class LaterRows(Collection[Row]):
    """Rows of tickets that are made one by one as they are written: those of a large plan are never all in memory."""

    def __init__(self, tickets: Sequence[T], row: Callable[[T], Row]) -> None:
        self._tickets = tickets
        self._row = row

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._tickets)

    def __iter__(self) -> Iterator[Row]:
        """Make them."""
        return map(self._row, self._tickets)

    def __contains__(self, row: object) -> bool:
        """Tell whether a row is among them."""
        return any(row == made for made in self)


Change = BulkStatement | RowUpdate


def apply(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Run the changes; raise `Conflict` when a record was not at the version before."""
    for change in changes:
        change.apply(connection)


def changes_of(step: ChangeSet) -> Iterator[Change]:
    """Yield what `step` writes.

    What it handled leaves the queue before its events enter: a step may send an event of the same id again.
    """
    if step.flow:
        base = step.base_of(step.flow_id, step.flow.version)
        row = flow_row(step.flow)
        yield RowUpdate(step.flow, base, row) if base else _guarded("flow", 0, [row])
    yield from _ticket_changes(step)
    yield from _label_changes(step)
    if step.decision is not None:
        yield BulkStatement(SQL["decision_insert"], [{"flow_id": step.flow_id, "doc": compress(step.decision)}])
    if step.history:
        rows = [{"flow_id": entry.flow_id, "doc": history_document(entry)} for entry in step.history]
        yield BulkStatement(SQL["history_insert"], rows)
    if step.audit:
        yield BulkStatement(SQL["audit_insert"], [audit_row(audit) for audit in step.audit])
    if step.handled is not None:
        yield BulkStatement(SQL["queue_delete"], [{"event_id": step.handled}])
    if step.events:
        yield queue_change(step.events)
    if step.telemetry:
        yield BulkStatement(SQL["telemetry_insert"], [{"doc": document(event)} for event in step.telemetry])


def _ticket_changes(step: ChangeSet) -> Iterator[Change]:
    based = [(ticket, step.base_of(ticket.ticket_id, ticket.version)) for ticket in step.tickets]
    new = [ticket for ticket, base in based if not base]
    for start in range(0, len(new), TICKETS):
        together = new[start : start + TICKETS]
        yield BulkStatement(SQL["part_insert"], LaterRows([together], _part_row))
        yield _guarded("ticket", 0, LaterRows([*enumerate(together)], _new_row))
    for ticket, base in based:
        if base:
            yield RowUpdate(ticket, base, ticket_row(ticket), whole=ticket.ticket_id in step.rewritten)
    if hedged := [ticket for ticket in step.tickets if ticket.hedge is not None]:
        rows = {ticket.ticket_id: hedge_row(ticket) for ticket in hedged}
        yield BulkStatement(SQL["hedge_put"], [row for row in rows.values() if row is not None])
        yield BulkStatement(SQL["hedge_delete"], [{"ticket_id": one} for one, row in rows.items() if row is None])


def _label_changes(step: ChangeSet) -> Iterator[Change]:
    if step.rewritten:
        yield BulkStatement(SQL["ticket_labels_delete"], [{"id": ticket_id} for ticket_id in sorted(step.rewritten)])
    if (flow := step.labelled_flow) is not None:
        rows = [{"label": label, "id": flow.flow_id} for label in label_words(flow.labels)]
        yield BulkStatement(SQL["flow_label_insert"], rows)
    if tickets := step.labelled_tickets:
        yield BulkStatement(
            SQL["ticket_label_insert"],
            [{"label": label, "id": one.ticket_id} for one in tickets for label in label_words(one.labels)],
        )


def _part_row(tickets: Sequence[Ticket]) -> Row:
    return {"doc": part_of(tickets)}


def _new_row(placed: tuple[int, Ticket]) -> Row:
    return {**ticket_row(placed[1]), "place": placed[0]}


def worker_change(worker: Worker) -> BulkStatement:
    """Return what storing `worker` writes."""
    return _guarded("worker", worker.version - 1, [worker_row(worker)])


def queue_change(events: Iterable[CloudEvent]) -> BulkStatement:
    """Return what queueing `events` writes."""
    return BulkStatement(SQL["queue_insert"], [{"event_id": event.id, "doc": document(event)} for event in events])


def letter_change(letter: DeadLetter) -> BulkStatement:
    """Return what keeping `letter` writes."""
    return BulkStatement(
        SQL["letter_put"], [{"letter_id": letter.letter_id, "flow_id": letter.flow_id, "doc": document(letter)}]
    )


def _guarded(table: str, base: int, rows: Collection[Row]) -> BulkStatement:
    verb = "update" if base else "insert"
    return BulkStatement(SQL[f"{table}_{verb}"], rows, guarded=True)
