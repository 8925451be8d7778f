"""Tickets from their rows: the state in the row, and the constant part that it shares with others of its plan."""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from threading import Lock

from functions._adapters.documents import read_document
from functions._adapters.sql import queries
from functions._adapters.ticket_parts import Constant, read_part, read_ticket, unpacked
from functions._core.records.models import Ticket
from functions._core.records.set_aside import RecordKind, SetAside

SQL = queries("sqlite")

KEPT_BYTES = 1024 * 1024
"""Bytes of the parts that are kept unpacked, as JSON: 16 of the usual kind, which take three times as much memory."""

Row = tuple[str, str, int | None, int | None, str]
"""Id, flow, part, place in the part and document of a ticket."""


class TicketReader:
    """Reads tickets from rows, in any thread; what cannot be read is set aside.

    A part that was read is kept, as it never changes and its number is never used again.
    """

    def __init__(self, aside: SetAside) -> None:
        self._aside = aside
        self._parts: dict[int, tuple[Sequence[Constant], int]] = {}
        self._bytes = 0
        self._lock = Lock()

    def tickets(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> list[Ticket]:
        """Return the tickets of rows that can be read."""
        found = [
            self._aside.read(RecordKind.TICKET, row[0], partial(self.ticket, connection, *row[2:]), flow_id=row[1])
            for row in rows
        ]
        return [ticket for ticket in found if ticket is not None]

    def ticket(self, connection: sqlite3.Connection, part: int | None, place: int | None, doc: str) -> Ticket:
        """Return one ticket; raise anything when it, or its part, cannot be read."""
        if part is None or place is None:
            return read_document(Ticket, doc)
        return read_ticket(self._part(connection, part)[place], doc)

    def _part(self, connection: sqlite3.Connection, part: int) -> Sequence[Constant]:
        known = self._parts.get(part)
        if known is not None:
            return known[0]
        ((packed,),) = connection.execute(SQL["part"], {"part": part}).fetchall()
        text = unpacked(packed)
        read = read_part(text)
        self._keep(part, read, len(text))
        return read

    def _keep(self, part: int, read: Sequence[Constant], size: int) -> None:
        with self._lock:
            if part not in self._parts:
                self._parts[part] = read, size
                self._bytes += size
            while self._bytes > KEPT_BYTES and len(self._parts) > 1:  # the tickets of one part are read together
                self._bytes -= self._parts.pop(next(iter(self._parts)))[1]
