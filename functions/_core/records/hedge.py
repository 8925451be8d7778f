"""The second of two attempts at a ticket that run at the same time; see `attempts` for the ways to look at both."""

from functions._core.records.record import Record
from functions._core.records.values import Timestamp


class Hedge(Record):
    """The other attempt of a ticket, beside that which its row names.

    The first result of the two counts. It stays, with its end, until the ticket is assigned again: so it is known that
    this attempt was hedged before, and which number the next one may not have.
    """

    attempt: int
    """Its number: as good a fencing token as the other one, as long as it runs."""
    worker_id: str
    """Id of the worker that has it."""
    assigned_at: Timestamp
    """When it was given to its worker."""
    acknowledged_at: Timestamp | None = None
    """When the worker accepted it; None before."""
    started_at: Timestamp | None = None
    """When the worker first reported RUNNING; None before."""
    progress: float | None = None
    """How far it is, in percent; None when the worker has not said it."""
    until: Timestamp | None = None
    """When a rule acts on it: its worker has not accepted it, or has not reported its end."""
    ended_at: Timestamp | None = None
    """When it was over; None while it runs."""
