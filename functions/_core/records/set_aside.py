"""Stored records that cannot be read: each is set aside, so that all others continue.

A record that cannot be read stays where it is stored. Reads of many records leave it out, a read of this one raises
`Unreadable`. It is reported once, and listed until it can be read again or is gone.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeVar

from msgspec import DecodeError, ValidationError
from pydantic import Field

from functions._core.errors import Unreadable
from functions._core.records.values import Model

T = TypeVar("T")

MOST = 10_000
"""Records that are remembered; more are left out all the same, but not listed."""

LISTED = 100
"""Records that are named to people at once."""

RAW = 200_000
"""Characters of a record's stored text that are kept for its dead letter."""


REPEATING = "Invalid enum value"
"""The beginning of the one fault that goes on with a piece of the record."""


class RecordKind(StrEnum):
    """What is stored. A requirement is what a waiting ticket is found by; its ticket can be read without it."""

    FLOW = "flow"
    TICKET = "ticket"
    REQUIREMENT = "requirement"
    WORKER = "worker"
    DEAD_LETTER = "dead_letter"
    QUEUED_EVENT = "queued_event"
    TELEMETRY = "telemetry"
    HISTORY = "history"
    AUDIT = "audit"
    WEBHOOK_DELIVERY = "webhook_delivery"


class UnreadableRecord(Model):
    """A record that was set aside: what it is, its id or position, the flow that it is of if that is known, and why.

    `raw` is its stored text where that is moved to a dead letter.
    """

    kind: RecordKind
    """The kind of record."""
    record_id: str
    """Its id, or its position in a queue."""
    flow_id: str | None = None
    """Id of its flow; None when that is not known."""
    why: str
    """Why it cannot be read, without repeating any of it."""
    raw: str = Field(default="", exclude=True)
    """Its stored text, up to 200,000 characters, where that is moved to a dead letter; it is in no answer."""


def _nobody(_record: UnreadableRecord) -> None:
    """Tell nobody."""


class SetAside:
    """The records of one store that this process could not read; `told` is called once with each of them.

    It may be used from any thread.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[RecordKind, str], UnreadableRecord] = {}
        self.told: Callable[[UnreadableRecord], None] = _nobody

    def read(
        self,
        kind: RecordKind,
        record_id: object,
        parse: Callable[[], T],
        *,
        flow_id: str | None = None,
        raw: object = "",
    ) -> T | None:
        """Return the record that `parse` reads; when it raises anything, set the record aside and return None."""
        try:
            parsed = parse()
        except Exception as error:  # noqa: BLE001 any fault of one record, the others can be read
            self._add(
                UnreadableRecord(kind=kind, record_id=str(record_id), flow_id=flow_id, why=_why(error), raw=_text(raw))
            )
            return None
        if self._records:
            self.gone(kind, record_id)
        return parsed

    def read_one(self, kind: RecordKind, record_id: str, parse: Callable[[], T], *, version: int | None = None) -> T:
        """Return the record that `parse` reads; when that fails, set the record aside and raise `Unreadable`."""
        parsed = self.read(kind, record_id, parse)
        if parsed is None:
            raise self.error(kind, record_id, version)
        return parsed

    def error(self, kind: RecordKind, record_id: str, version: int | None = None) -> Unreadable:
        """Return the error for a record that was set aside and is asked for by its id."""
        known = self._records.get((kind, record_id))
        why = known.why if known else "the log says why"
        return Unreadable(f"the stored {kind} {record_id} cannot be read: {why}", version)

    def _add(self, record: UnreadableRecord) -> None:
        """Set a record aside."""
        key = record.kind, record.record_id
        if key not in self._records and len(self._records) < MOST:
            self._records[key] = record
            self.told(record)

    def holds(self, kind: RecordKind, record_id: str) -> bool:
        """Whether this record is set aside."""
        return (kind, record_id) in self._records

    def gone(self, kind: RecordKind, record_id: object) -> None:
        """Forget a record that can be read again, or is no more."""
        self._records.pop((kind, str(record_id)), None)

    def flow_gone(self, flow_id: str) -> None:
        """Forget all records of a flow that is no more."""
        for record in self.records():
            if flow_id in {record.flow_id, record.record_id}:
                self.gone(record.kind, record.record_id)

    def records(self, *kinds: RecordKind, flow_id: str | None = None) -> Sequence[UnreadableRecord]:
        """Return the records that are set aside, of these kinds (none: of all), and of one flow if it is named."""
        return [
            record
            for record in list(self._records.values())
            if (not kinds or record.kind in kinds) and flow_id in {None, record.flow_id}
        ]


def _why(error: Exception) -> str:
    """Return the fault of a record, without repeating any of it."""
    if not isinstance(error, DecodeError):
        return type(error).__name__
    if not isinstance(error, ValidationError):
        return f"it is no JSON: {error}"
    fault, found, place = str(error).rpartition(" - at `$")
    if not found:
        return place
    return f"{place.strip('.`') or 'all of it'}: {REPEATING if fault.startswith(REPEATING) else fault}"


def _text(raw: object) -> str:
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    return text[:RAW]
