"""Records that were read or written just now, so that the next event about them need not parse them again.

Right only because one process owns the data folder and all its commits pass by here: a record is kept once its
commit is on disk, and an older version never replaces a newer one. The database stays the truth: a record that
somebody could not read there is not taken from here.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from functions._core.records.models import Flow, Ticket

R = TypeVar("R", Flow, Ticket)

FLOWS = 2_000
TICKETS = 1_000
"""How many are kept: some ten megabytes, and more than the events under way can name."""


class Recent(Generic[R]):
    """The most recently used records of one kind, by id; `set_aside` tells of one that cannot be read."""

    def __init__(self, limit: int, set_aside: Callable[[str], bool]) -> None:
        self._limit = limit
        self._set_aside = set_aside
        self._records: OrderedDict[str, R] = OrderedDict()

    def get(self, record_id: str) -> R | None:
        """Return a record, which is kept longer for it."""
        if self._set_aside(record_id):
            self.forget(record_id)
        record = self._records.get(record_id)
        if record is not None:
            self._records.move_to_end(record_id)
        return record

    def peek(self, record_id: str) -> R | None:
        """Return a record and leave the order alone; may be called from any thread."""
        return None if self._set_aside(record_id) else self._records.get(record_id)

    def put(self, record_id: str, record: R) -> R:
        """Keep a record unless a newer version is kept already, and return the newer one."""
        kept = self._records.get(record_id)
        if kept is not None and kept.version >= record.version:
            return kept
        self._records[record_id] = record
        self._records.move_to_end(record_id)
        if len(self._records) > self._limit:
            self._records.popitem(last=False)
        return record

    def forget(self, record_id: str) -> None:
        """Keep a record no longer, because it is no more."""
        self._records.pop(record_id, None)
