"""What a worker is asked to do, what it may answer, and the protocol of those that do it."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

from pydantic import Field, ValidationError, model_validator

from functions._core.decision.secret_references import values_at
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.masking import Mask
from functions._core.records.values import Model, Timestamp

OUTPUT_LIMIT = 256 * 1024
"""Bytes of JSON that a task may return; more belongs in a store, with its address as the output."""

CARRIED = ("correlationid", "partitionkey", "traceparent", "tracestate")
"""Extension attributes of the assignment that its reports repeat."""


class Assignment(Model):
    """Data of `ticket.assigned` as a worker reads it: what it can do without may be absent or null."""

    ticket_id: str = Field(min_length=1)
    attempt: int = Field(ge=1, le=10**9)
    callback_url: str = Field(min_length=1)
    token: str = Field(default="", repr=False, pattern=r"^[!-~]*$")
    flow_id: str = ""
    plan_id: str = ""
    task_id: str = ""
    task_type: str = ""
    description: str = ""
    payload: Any = None
    parameters: Mapping[str, Any] = Field(default={}, repr=False)
    secrets: tuple[str, ...] = ()
    """JSON Pointers to the values in the parameters that are secrets."""
    sla_deadline: Timestamp | None = None
    timeout_ms: int = Field(default=180_000, gt=0, le=10**12)
    heartbeat_timeout_ms: int | None = Field(default=None, gt=0, le=10**12)
    estimated_duration_ms: int = Field(default=60_000, ge=0, le=10**12)
    correlation_id: str = ""
    retry_count: int = Field(default=0, ge=0, le=10**9)
    """How often the ticket was tried again after a failure: a worker that was lost does not count."""
    idempotency_key: str = Field(default="", max_length=300, pattern=r"^[!-~]*$")
    """The key by which outside work is begun once; platforms before it have sent none."""
    idempotent: bool = False
    """Whether another attempt follows where a worker was lost; platforms before it have not said so."""
    extensions: Mapping[str, str] = {}

    @property
    def work_key(self) -> str:
        """The key by which outside work is begun once."""
        return self.idempotency_key or f"{self.ticket_id}-{self.retry_count}"

    @property
    def ids(self) -> dict[str, Any]:
        """The fields of a log line about it."""
        return {
            "ticket_id": self.ticket_id,
            "attempt": self.attempt,
            "flow_id": self.flow_id,
            "correlation_id": self.correlation_id,
        }

    @property
    def mask(self) -> Mask | None:
        """What takes the values of its secrets out of what the task writes and returns; None where it has none."""
        return Mask(values_at(self.parameters, self.secrets)) if self.secrets else None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value is not None}
        return data

    @classmethod
    def of(cls, event: CloudEvent) -> Self:
        """Read the assignment that `event` carries; raise `Rejected` naming every field that is wrong."""
        if event.type != type_of("ticket.assigned"):
            raise Rejected(f"an assignment is asked for, not {event.type[:100]}", code="unknown_type")
        carried = {name: event.extensions[name] for name in CARRIED if name in event.extensions}
        if not isinstance(event.data, dict):
            raise Rejected("an assignment is a JSON object", code="bad_assignment")
        try:
            return cls.model_validate({**event.data, "extensions": {**carried, "causationid": event.id}})
        except ValidationError as error:
            # Neither values nor pydantic's own text: both would repeat the token.
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
            raise Rejected("; ".join(faults), code="bad_assignment") from None

    def for_task(self) -> dict[str, Any]:
        """Return what the task may know, as JSON values: everything but the means to report."""
        unneeded = {"token", "callback_url", "extensions", "secrets", "retry_count", "idempotency_key", "idempotent"}
        return self.model_dump(mode="json", exclude=unneeded)


class TaskFailed(Exception):
    """A task ended without success; `retryable` says whether another attempt may help."""

    def __init__(self, kind: str, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retryable = retryable

    @classmethod
    def of(cls, error: BaseException) -> "TaskFailed":
        """Return any exception as a failed task: retryable, unless its `retryable` says otherwise."""
        if isinstance(error, TaskFailed):
            return error
        return cls(type(error).__name__, str(error), retryable=bool(getattr(error, "retryable", True)))


class Executor(Protocol):
    """Does tasks."""

    @property
    def abandoned(self) -> int:
        """How many tasks were given up and still run, because they cannot be stopped: each keeps its slot."""

    async def run(self, assignment: Assignment) -> object:
        """Do one task and return its output, a JSON value; raise `TaskFailed`. It can be cancelled."""
