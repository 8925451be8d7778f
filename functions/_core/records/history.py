"""The history: one record for each transition of a flow or a ticket."""

from collections.abc import Mapping
from typing import Any

from functions._core.records.values import Record, Timestamp


class HistoryEntry(Record):
    """One transition. `seq` is given by the store and grows within it; `type` is the noun of the event.

    `event_id` is the event that was being handled, or `clock`.
    """

    flow_id: str
    at: Timestamp
    type: str
    cause: str
    ticket_id: str | None = None
    task_id: str | None = None
    from_status: str | None = None
    to_status: str | None = None
    attempt: int | None = None
    worker_id: str | None = None
    event_id: str | None = None
    detail: Mapping[str, Any] = {}
    seq: int = 0
