"""Records and events as JSON documents: what every store keeps as the truth and reads back.

Documents hold every field, defaults included: what was stored stays what it was when a default changes.
"""

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from functions._core.audits import AnyAudit
from functions._core.envelope import CloudEvent
from functions._core.errors import Rejected
from functions._core.models import HistoryEntry
from functions._core.values import Record

_EVENT = TypeAdapter(CloudEvent)

AUDIT: TypeAdapter[AnyAudit] = TypeAdapter(AnyAudit)
"""Reads the document of an audit of any kind."""


def document(value: Record | CloudEvent) -> str:
    """Return a record or event as JSON text; raise `Rejected` for text that no encoding can write."""
    try:
        return _EVENT.dump_json(value).decode() if isinstance(value, CloudEvent) else value.model_dump_json()
    except PydanticSerializationError as error:
        raise Rejected(f"It cannot be stored: {error}.", code="not_storable") from error


def read_event(doc: str) -> CloudEvent:
    """Return the event of a document."""
    return _EVENT.validate_json(doc)


def read_history(seq: int, doc: str) -> HistoryEntry:
    """Return the transition of a document, with the number that its row was given."""
    return HistoryEntry.model_validate_json(doc).but(seq=seq)
