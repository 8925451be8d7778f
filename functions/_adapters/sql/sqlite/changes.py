"""What a step writes, as a list of statements: made by the caller, run by the committer."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from functions._adapters.documents import document
from functions._adapters.sql.sqlite.database import SQL
from functions._adapters.sql.sqlite.rows import Row, audit_row, flow_row, ticket_row, worker_row
from functions._core.errors import Conflict
from functions._core.events.envelope import CloudEvent
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.models import Ticket
from functions._core.records.worker import Worker


@dataclass(frozen=True, slots=True)
class BulkStatement:
    """One statement for many rows; where it is `guarded`, each row must be touched or it is a conflict."""

    sql: str
    rows: Collection[Row]
    guarded: bool = False


class TicketRows:
    """The rows of new tickets, made one by one as they are written: those of a large plan are never all in memory."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self._tickets = tickets

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._tickets)

    def __iter__(self) -> Iterator[Row]:
        """Make them."""
        return map(ticket_row, self._tickets)

    def __contains__(self, row: object) -> bool:
        """Tell whether a row is among them."""
        return any(row == made for made in self)


def apply(connection: sqlite3.Connection, changes: Iterable[BulkStatement]) -> None:
    """Run the changes; raise `Conflict` when a record was not at the version before."""
    for change in changes:
        cursor = connection.executemany(change.sql, change.rows)
        if change.guarded and cursor.rowcount != len(change.rows):
            raise Conflict


def changes_of(step: ChangeSet) -> Iterator[BulkStatement]:
    """Yield what `step` writes.

    What it handled leaves the queue before its events enter: a step may send an event of the same id again.
    """
    if step.flow:
        base = step.base_of(step.flow_id, step.flow.version)
        yield _guarded("flow", base, [{**flow_row(step.flow), "base": base}])
    yield from _ticket_changes(step)
    if step.decision is not None:
        yield BulkStatement(SQL["decision_insert"], [{"flow_id": step.flow_id, "doc": step.decision}])
    if step.history:
        rows = [{"flow_id": entry.flow_id, "doc": document(entry)} for entry in step.history]
        yield BulkStatement(SQL["history_insert"], rows)
    if step.audit:
        yield BulkStatement(SQL["audit_insert"], [audit_row(audit) for audit in step.audit])
    if step.handled is not None:
        yield BulkStatement(SQL["queue_delete"], [{"event_id": step.handled}])
    if step.events:
        yield queue_change(step.events)
    if step.telemetry:
        yield BulkStatement(SQL["telemetry_insert"], [{"doc": document(event)} for event in step.telemetry])


def _ticket_changes(step: ChangeSet) -> Iterator[BulkStatement]:
    based = [(ticket, step.base_of(ticket.ticket_id, ticket.version)) for ticket in step.tickets]
    new: Collection[Row] = TicketRows([ticket for ticket, base in based if not base])
    changed = [{**ticket_row(ticket), "base": base} for ticket, base in based if base]
    if new:
        yield _guarded("ticket", 0, new)
    if changed:
        yield _guarded("ticket", 1, changed)


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
