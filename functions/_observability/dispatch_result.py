"""One event as it was handled: what metrics, log lines and traces are told."""

from dataclasses import dataclass
from datetime import datetime

from functions._core.events.envelope import CloudEvent
from functions._core.machine.outcomes import AnyOutcome
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """One event, answer or wake-up that a function has dealt with, or failed at.

    `event` is None where none was at hand: a wake-up, or the answers of workers; `type` names it all the same.
    `flow` is its row as loaded, None when it could not be. `outcome` and `step` are None after an `error`.
    `seconds` is from taking the event up to its commit.
    """

    function: str
    type: str
    flow_id: str
    begun_at: datetime
    seconds: float
    event: CloudEvent | None = None
    flow: Flow | None = None
    outcome: AnyOutcome | None = None
    step: ChangeSet | None = None
    error: Exception | None = None

    @property
    def result(self) -> str:
        """The outcome's name, or the error's."""
        return type(self.outcome if self.error is None else self.error).__name__
