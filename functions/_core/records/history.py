"""The history: one record for each transition of a flow or a ticket."""

from collections.abc import Mapping
from typing import Any

from functions._core.records.record import Record
from functions._core.records.values import Timestamp


class HistoryEntry(Record):
    """One transition. `seq` is given by the store and grows within it; `type` is the event type.

    `event_id` is the event that was being handled, or `clock`.
    """

    flow_id: str
    """Id of the flow."""
    at: Timestamp
    """When it happened."""
    type: str
    """Type of the event, without prefix and version: `ticket.completed`."""
    cause: str
    """The trigger of the state machine or the code of a reason that moved it."""
    ticket_id: str | None = None
    """Id of the ticket; None for a transition of the flow."""
    task_id: str | None = None
    """Id of the task of that ticket."""
    from_status: str | None = None
    """The status before; None at the creation, and when no status changed."""
    to_status: str | None = None
    """The status after."""
    attempt: int | None = None
    """The attempt that the transition is about."""
    worker_id: str | None = None
    """Id of the worker that has, or had, the ticket."""
    event_id: str | None = None
    """Id of the event that was being handled, or `clock`."""
    detail: Mapping[str, Any] = {}
    """More facts, by name; they depend on the type and may grow."""
    seq: int = 0
    """Place in the history; the store gives it, and it grows within that store."""
