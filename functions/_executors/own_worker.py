"""What the platform's own worker has to do with the platform, and what it keeps of what its executors write."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from functions._core.jobs.records import LOG_BYTES, JobRecord
from functions._core.masking import Mask
from functions._core.records.models import Ticket
from functions._core.records.values import JsonObject
from functions._executors.port import CallFailed
from functions._observability.logs import log

T = TypeVar("T")


class Parameters(NamedTuple):
    """The parameters of a ticket with everything that they refer to, and the places of the secrets in them."""

    values: JsonObject
    secrets: Sequence[str]


class OwnWorkerDoors(Protocol):
    """What the platform's own worker has to do with the platform."""

    async def parameters(self, ticket: Ticket) -> Parameters | None:
        """Return the parameters, None while a secret cannot be read; raise `Undeliverable`."""

    async def accepted(self, ticket: Ticket) -> bool:
        """Accept the attempt, durably; tell whether the worker has it then."""

    async def report(self, ticket: Ticket, status: str, said: Mapping[str, Any]) -> bool:
        """Report on the attempt; tell whether it counts still. Raises `Unavailable` like any report."""

    async def leaked(self, job: JobRecord) -> None:
        """Tell people of a job that nobody could end."""


class Lines:
    """What an executor writes about a job, without the values of secrets; the end of it is kept."""

    def __init__(self, text: str, mask: Mask) -> None:
        self._data, self._mask = bytearray(text.encode()), mask

    def add(self, data: bytes) -> None:
        """Take in what was written next."""
        self._data += data

    @property
    def text(self) -> str:
        """The end of it."""
        return self._mask.data(bytes(self._data))[-LOG_BYTES:].decode(errors="replace").replace("\0", "?")


async def called(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call of an executor; whatever is wrong with it is the call's failure, not the platform's."""
    try:
        return await call()
    except (CallFailed, TimeoutError):
        raise
    except Exception as error:
        log.exception("job.call_broken")
        raise CallFailed(str(error), transient=False, kind=type(error).__name__) from error
