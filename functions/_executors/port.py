"""The port of executors: a ticket becomes a job that is started, looked at until it ends, and cancelled if need be.

What a job is, the executor says: a process, a container, a run of a CI server, a deployment. A worker drives it
(`functions/_worker/jobs.py`): `start`, then `poll` until the state is an end; `cancel` when nobody wants it any more.
A job outlives an attempt only with its worker's: when one dies, the next attempt's `start` finds the job and goes on.
When a worker stops, jobs go on that `outlives` says, and all others are cancelled.

Faults of calls (an API that is away, a rate limit) are `CallFailed`: the worker repeats the call three times. A job
that has ended badly is no fault of a call: `poll` returns `JobFailed`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from pydantic import Field

from functions._core.executors.parameters import ExecutorParameters
from functions._core.masking import Mask
from functions._core.records.values import JsonObject, Model, TaskType
from functions._executors.stored_files import StoredFile

P = TypeVar("P", bound=ExecutorParameters)
"""The parameters of one executor."""

PAUSE_SECONDS = 10.0
"""Between two looks at a job that does not say when to look again."""


class JobHandle(Model):
    """What is needed to look at a job again, from another process and by another attempt: it is JSON."""

    job_id: str = Field(min_length=1)
    """The job, as the service that does it names it."""
    url: str = ""
    """Where a person sees the job."""
    adopted: bool = False
    """Whether an earlier attempt at the ticket started it."""
    data: Mapping[str, Any] = {}
    """Whatever else the executor has to know of it; no secrets."""


@dataclass(frozen=True, slots=True)
class JobRunning:
    """The job goes on."""

    percent: float | None = None
    """How far it is, 0 to 100; None where nobody knows."""
    message: str = ""
    """What it does now, in words."""
    pause_seconds: float = PAUSE_SECONDS
    """When to look again; 0 for a `poll` that has waited itself."""


@dataclass(frozen=True, slots=True)
class JobSucceeded:
    """The job has ended well; its outputs are those of the executor's `Outputs`."""

    outputs: Model


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job has ended badly. `retryable` says whether the same job may end better another time."""

    kind: str
    message: str
    retryable: bool = True


JobState = JobRunning | JobSucceeded | JobFailed


class CallFailed(Exception):
    """A call of a service failed; `transient` says whether the same call may work a moment later.

    `after_seconds` is how long the service asks to be left alone.
    """

    def __init__(self, message: str, *, transient: bool = True, after_seconds: float = 0.0, kind: str = "") -> None:
        super().__init__(message)
        self.transient = transient
        self.after_seconds = after_seconds
        self.kind = kind or ("unavailable" if transient else "refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext(Generic[P]):
    """One attempt at one ticket, as an executor sees it."""

    parameters: P
    """Checked; references and secrets are values here. Logs and outputs are masked by the worker."""
    ticket_id: str
    attempt: int
    idempotency_key: str
    """The same for all attempts that lost their worker, another one after a failure: start a job once for each."""
    may_have_begun: bool = False
    """Whether an earlier call may have begun the job with this key, in this process or another one."""
    idempotent: bool = True
    """Whether the task may be done again where nobody knows whether it was done."""
    worker_id: str = ""
    """The worker that does it, by the name that the platform knows."""
    flow_id: str = ""
    plan_id: str = ""
    task_id: str = ""
    task_type: TaskType = TaskType.EXECUTE
    description: str = ""
    correlation_id: str = ""
    traceparent: str | None = None
    """Give it to the job, so that its spans are in the trace of the flow."""
    secrets: Sequence[str] = ()
    """The values in the parameters that are secrets: never an argument, an address or a label of a job."""
    remaining: Callable[[], float] = field(default=lambda: 180.0)
    call_seconds: float = math.inf
    """How long one call may take: where nothing is held for long, less than the attempt."""
    write: Callable[[bytes], None] = field(default=lambda _: None)
    """Adds to the log of the ticket, as it comes."""
    tell: Callable[[float | None, str], None] = field(default=lambda _percent, _message: None)
    keep: Callable[[str], StoredFile] | None = None
    """Begins a file, by its path, that outlives the job in the worker's store; it blocks, and raises `StoreFailed`.
    None where the worker's owner names no store."""
    fetch: Callable[[str], Iterator[bytes]] | None = None
    """Yields the content of a file of that store; it blocks, and raises `StoreFailed`."""
    kept: Callable[[str], bytes | None] | None = None
    """Returns what this attempt or the last one before it has kept by a path, None for nothing; it blocks. A file whose
    writer was killed may be cut."""

    @property
    def seconds_left(self) -> float:
        """Time until the attempt times out; never below 0."""
        return max(0.0, self.remaining())

    @property
    def variables(self) -> dict[str, str]:
        """The variables by which a program knows its task."""
        about = {
            "TICKET_ID": self.ticket_id,
            "FLOW_ID": self.flow_id,
            "PLAN_ID": self.plan_id,
            "TASK_ID": self.task_id,
            "TASK_TYPE": self.task_type.value,
            "ATTEMPT": str(self.attempt),
            "CORRELATION_ID": self.correlation_id,
            "IDEMPOTENCY_KEY": self.idempotency_key,
            "TRACEPARENT": self.traceparent or "",
        }
        return {f"FLOWC_{name}": value.replace("\0", "") for name, value in about.items()}

    def refuse_secrets(self, shown: object, why: str, kind: str = "secret_in_parameters") -> None:
        """Raise `CallFailed` where a secret is in what others than the job can see; `why` says who can."""
        if Mask(self.secrets).is_in(shown):
            raise CallFailed(why, transient=False, kind=kind)

    def log(self, line: str) -> None:
        """Write a line to the log of the ticket."""
        self.write(f"{line}\n".encode(errors="replace"))

    def progress(self, percent: float | None, message: str = "") -> None:
        """Say how far the job is, 0 to 100, and what it does; beyond the ends counts as the end."""
        self.tell(None if percent is None else min(100.0, max(0.0, percent)), message)


class ToolCheck(NamedTuple):
    """One thing that `flowc doctor executor` has looked at."""

    name: str
    ok: bool
    detail: str
    required: bool = True
    """Whether the executor is of no use without it."""


class JobExecutor(Protocol[P]):
    """Does jobs of one kind. Inherit from it: `check` and `aclose` may stay as they are.

    It is made once for a worker, with its `ExecutorSettings`, and serves all slots.
    """

    name: ClassVar[str]
    """What `parameters.provider` says."""
    family: ClassVar[str]
    """The kind of work in lower case, such as execute, test or validate; a worker offers it as a capability."""
    task_types: ClassVar[frozenset[TaskType]]
    """The types of the tasks that it does."""
    detached: ClassVar[bool] = False
    """Whether its jobs go on without the process that has begun them, and a handle is all that it takes to look at one
    from another: then the platform itself can do them (`FLOWC_EXECUTORS`). A job that ends while it is begun may be
    looked at by that process alone, if beginning it again with its key does no harm."""
    Parameters: type[P]
    """The model of the parameters; C1 checks plans against that of an executor in the table."""
    Outputs: type[Model]
    """The model of the outputs of a job that has succeeded."""

    async def start(self, context: JobContext[P]) -> JobHandle:
        """Start the job of the ticket, or find the one that an earlier attempt has started for the same key.

        One that runs or has succeeded is taken over (`adopted`); one that has failed is followed by a new one.
        Raises `CallFailed`. It may be called again after a transient fault, so it looks before it starts.
        """

    async def poll(self, context: JobContext[P], handle: JobHandle) -> JobState:
        """Return how the job stands; it may wait up to about a second for news. Raises `CallFailed`."""

    async def cancel(self, context: JobContext[P], handle: JobHandle) -> None:
        """End the job, which nobody wants any more; one that has ended is no error. Raises `CallFailed`."""

    def outlives(self, parameters: P) -> bool:  # noqa: ARG002 - for those that ask more
        """Whether a job goes on when its worker stops: `start` of any other worker with the same key finds it."""
        return self.detached

    async def check(self) -> Sequence[ToolCheck]:
        """Return what was looked at: tools, credentials, reach. It changes nothing."""
        return ()

    async def aclose(self) -> None:
        """Let go of connections and processes."""
        return


def capabilities_of(executor: JobExecutor[Any]) -> tuple[str, ...]:
    """Return what a worker offers that has the executor: the kind of work, and the executor itself."""
    return executor.family, f"{executor.family}:{executor.name}"


def json_of(outputs: Model) -> JsonObject:
    """Return outputs as a report has them."""
    return outputs.model_dump(mode="json", exclude_none=True)
