"""Calls of services that a plan names: one client, its addresses, its headers, and what its answers mean.

Addresses are those that the worker's owner allows, in any notation and where names lead; nothing is redirected. What a
service says of an error goes into no message of ours: it may repeat a credential.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from functions._adapters.http.addresses import PORTS, Networks
from functions._adapters.http.outbound import OutboundAnswer, OutboundClient
from functions._adapters.http.reply import NotReached
from functions._core.errors import Rejected, Unavailable
from functions._core.executors.answers import NoSuchPlace, value_at
from functions._core.executors.execute import Auth, CallOutputs, CallParameters
from functions._core.executors.table import WORK
from functions._core.records.json_text import parse_json
from functions._core.records.values import TaskType
from functions._executors.meter import counted
from functions._executors.port import CallFailed, JobContext, JobExecutor, JobFailed, JobState, JobSucceeded, ToolCheck
from functions._executors.settings import ExecutorSettings

CP = TypeVar("CP", bound=CallParameters)

ANSWER_BYTES = 256 * 1024
"""Bytes of an answer; more belongs in a store, with its address as the output."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same call may go well."""

GONE = frozenset({404, 409, 410})
"""Statuses of a job that has ended before it was cancelled."""

UNREAD = frozenset({429, 503})
"""Those of them that say that nothing was done."""


class ServiceCall(NamedTuple):
    """One request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    seconds: float = 30.0
    repeatable: bool = True
    """Whether the same call may be made twice."""


class ServiceCaller:
    """Makes calls within networks."""

    def __init__(self, networks: Networks) -> None:
        self._client = OutboundClient(networks)

    async def answer(self, call: ServiceCall, context: JobContext[Any]) -> OutboundAnswer:
        """Return the answer, whatever its status; raise `CallFailed`."""
        seconds = max(0.1, min(call.seconds, context.seconds_left, context.call_seconds))
        try:
            asking = self._client.request(
                call.method, call.url, headers=call.headers, body=call.body, timeout=seconds, limit=ANSWER_BYTES
            )
            return await counted(asking)
        except NotReached as error:
            raise CallFailed(str(error)) from error
        except Unavailable as error:
            if call.repeatable:
                raise CallFailed(str(error)) from error
            text = f"nobody knows whether the call was carried out, and it must not be repeated: {error}"
            raise CallFailed(text, transient=False, kind="unknown_outcome") from error
        except Rejected as refusal:
            raise CallFailed(refusal_text(refusal), transient=False, kind=refusal.code) from refusal

    async def good_answer(
        self, call: ServiceCall, context: JobContext[Any], expected: tuple[int, ...] | None = None
    ) -> OutboundAnswer:
        """Return an answer whose status is expected; raise `CallFailed` for any other."""
        answer = await self.answer(call, context)
        if answer.ok if expected is None else answer.status in expected:
            return answer
        passing = answer.status in (PASSING if call.repeatable else UNREAD)
        asked = answer.retry_after(datetime.now(UTC)) if passing else None
        host = urlsplit(call.url).hostname
        raise CallFailed(
            f"{host} answered {answer.status} to {call.method}",
            transient=passing,
            after_seconds=asked.total_seconds() if asked is not None else 0.0,
            kind="unexpected_status",
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


class CallExecutor(JobExecutor[CP]):
    """Base of executors whose jobs are calls of services, within the networks that the worker's owner allows."""

    family: ClassVar[str] = "execute"
    detached: ClassVar[bool] = True
    task_types: ClassVar[frozenset[TaskType]] = WORK
    Outputs = CallOutputs

    def __init__(self, settings: ExecutorSettings) -> None:
        self._networks = settings.networks
        self._caller = ServiceCaller(settings.networks)
        self._answers: dict[str, OutboundAnswer] = {}

    def outlives(self, parameters: CP) -> bool:  # noqa: ARG002 - for those that ask more
        """No: an answer is known to the process alone that was given it."""
        return False

    async def check(self) -> Sequence[ToolCheck]:
        """Say where calls may go."""
        networks = ", ".join(sorted(self._networks))
        return (ToolCheck("networks", bool(networks), f"WORKER_NETWORKS allows {networks or 'none'}"),)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._caller.aclose()


def headers_for(given: CallParameters, context: JobContext[Any]) -> dict[str, str]:
    """Return the headers of a call: those of the plan, who calls, for what, and in which trace."""
    own = {name.lower(): value for name, value in given.headers.items()}
    known = {"idempotency-key": context.idempotency_key, "x-correlation-id": context.correlation_id}
    if context.traceparent:
        known["traceparent"] = context.traceparent
    return {**{name: value for name, value in known.items() if value}, **own, **_proof(given.auth)}


def _proof(auth: Auth | None) -> Mapping[str, str]:
    if auth is None:
        return {}
    if auth.bearer is not None:
        return {"authorization": f"Bearer {auth.bearer}"}
    if auth.header is not None:
        return {auth.header.lower(): auth.value or ""}
    said = f"{auth.username}:{auth.password}".encode()
    return {"authorization": f"Basic {b64encode(said).decode()}"}


def filled_in(url: str, **values: str) -> str:
    """Return an address with `{name}` replaced; a value is one part of a path or a query, whatever is in it."""
    for name, value in values.items():
        safe = quote(value, safe="")
        url = url.replace(f"{{{name}}}", safe if value not in {".", ".."} else safe.replace(".", "%2E"))
    return url


def beside(url: str, location: str) -> str:
    """Return where an answer of `url` sends its caller; raise `CallFailed` unless that is the same server.

    The headers of the plan go there, too, with its credentials.
    """
    try:
        there = urljoin(url, location)
    except ValueError as error:
        raise CallFailed("the answer leads to no address", transient=False, kind="foreign_location") from error
    if _origin(there) != _origin(url):
        raise CallFailed("the answer leads to another server", transient=False, kind="foreign_location")
    return there


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError as error:
        raise CallFailed("the answer leads to no address", transient=False, kind="foreign_location") from error


def json_in(answer: OutboundAnswer) -> Any:  # noqa: ANN401 any JSON
    """Return the JSON value of an answer; None where it has none."""
    try:
        return parse_json(answer.body) if answer.body.strip() else None
    except Rejected:
        return None


def outputs_in(answer: OutboundAnswer, given: CallParameters) -> JobState:
    """Return what an answer means that ends a job well."""
    if not answer.complete:
        return JobFailed("answer_too_large", f"the answer has more than {ANSWER_BYTES} bytes", retryable=False)
    value = json_in(answer)
    try:
        named = {name: value_at(value, place) for name, place in given.outputs.items()}
    except NoSuchPlace as error:
        return JobFailed("output_missing", str(error), retryable=False)
    text = answer.text if value is None and answer.body else None
    return JobSucceeded(CallOutputs(status=answer.status, value=value, text=text, outputs=named))


def refusal_text(refusal: Rejected) -> str:
    """Return why a call was not made, with the name of the setting that a worker has."""
    return str(refusal).replace("FLOWC_WORKER_NETWORKS", "WORKER_NETWORKS")
