"""What a client says of a ticket: that it has another status now, or that it is to be tried again."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints

from functions._core.decision.vocabulary import Id
from functions._core.events.reports import ReportError
from functions._core.records.values import Model, WholeNumber, Word, a_number
from functions.api.forms import OrderForm
from functions.api.views import TicketView


class AskedStatus(Word):
    """A status that a client may name; the last two are words of older clients for FAILED, and nobody may ask for them.

    Beyond RUNNING, COMPLETED, FAILED and CANCELLED every status is the platform's to set.
    """

    PENDING = "PENDING"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    TIMED_OUT = "TIMED_OUT"
    DEAD_LETTER = "DEAD_LETTER"


WorkerId = Annotated[Id, StringConstraints(max_length=255)]
PERMANENT = "permanent"
"""The `failure_class` after which another attempt is pointless."""


class StatusChange(Model):
    """A change of a ticket's status. A field that is not known is refused.

    RUNNING without an `attempt` claims the ticket for `worker_id`. COMPLETED and FAILED end the attempt that `attempt`,
    If-Match or the token of the assignment names. CANCELLED stops the ticket.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: AskedStatus
    """The status asked for, in any letter case."""
    worker_id: WorkerId | None = None
    """Id of the worker; `metadata.worker_id` without it."""
    attempt: Annotated[int, Field(ge=1), BeforeValidator(a_number)] | None = None
    """The attempt that this is about, as the answer to the claim or the assignment names it."""
    progress: Annotated[float, Field(ge=0, le=100), BeforeValidator(a_number)] | None = None
    """How far the work is, in percent."""
    output: Any = None
    """What came of it, any JSON value; tasks that come later can refer to it."""
    result: Any = None
    """The same as `output`, in the words of older clients."""
    error: ReportError | None = None
    """Why it failed."""
    error_message: str | None = None
    """Why it failed, as a sentence alone."""
    actual_duration_ms: WholeNumber | None = None
    """Taken and not used: the platform measures it."""
    metadata: Mapping[str, Any] = {}
    """`worker_id` and `failure_class` (permanent: another attempt is pointless) are read; nothing here is kept."""
    requested_by: str = Field(default="a user", max_length=255)
    """The person who cancels, for the history; it is not checked."""
    reason: str = Field(default="no reason given", max_length=1000)
    """The reason of a cancellation."""

    @property
    def worker(self) -> object:
        """The id of the worker as it is said, wherever."""
        return self.worker_id or self.metadata.get("worker_id")

    def report_on(self, ticket_id: str, attempt: int) -> dict[str, Any]:
        """Return the report that this stands for, as the data of `ticket.reported`."""
        error: dict[str, Any] = self.error.model_dump() if self.error else {}
        if self.error_message is not None:
            error.setdefault("message", self.error_message)
        if self.metadata.get("failure_class") == PERMANENT:
            error["retryable"] = False
        said = {
            "ticket_id": ticket_id,
            "attempt": attempt,
            "status": self.status.value,
            "progress": self.progress,
            "output": self.result if self.output is None else self.output,
            "error": error or None,
        }
        return {name: value for name, value in said.items() if value is not None}


class RetryForm(OrderForm):
    """Who wants a ticket to be tried again, and why."""

    force: StrictBool = False
    """Try a ticket that FAILED although no retry is left, or although its task is not idempotent."""


class TicketAccepted(Model):
    """A ticket that is not stored yet: it will be there soon, as its flow is."""

    ticket_id: str
    """Id of the ticket."""
    flow_id: str
    """Id of the flow that it belongs to."""
    links: Mapping[str, str]
    """Addresses of both, relative to the platform's."""


CreatedTicket = TicketView | TicketAccepted
