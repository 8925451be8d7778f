"""The executor `http`: a call of a service, and perhaps the job that the call begins.

Each call carries the Idempotency-Key of the ticket, so that a service which knows such keys begins a job once, whoever
asks again. One that does not is asked by `poll.lookup` for the job of this key before a new one is begun.
"""

import json
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from functions._adapters.http.outbound import OutboundAnswer
from functions._core.executors.answers import value_or_none
from functions._core.executors.execute import Compared, HttpParameters, Polling
from functions._executors.calls import (
    GONE,
    CallExecutor,
    ServiceCall,
    beside,
    filled_in,
    headers_for,
    json_in,
    outputs_in,
)
from functions._executors.port import (
    CallFailed,
    JobContext,
    JobFailed,
    JobHandle,
    JobRunning,
    JobState,
)

SAFE = frozenset({"GET", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be repeated by their meaning (RFC 9110)."""

HTTP_NOT_FOUND = 404

ENDED = "ended"
"""Of a handle: what the call answered at once, as there is no job to follow."""

Context = JobContext[HttpParameters]


class HttpExecutor(CallExecutor[HttpParameters]):
    """Calls HTTP services within the networks that the worker's owner allows."""

    name: ClassVar[str] = "http"
    Parameters = HttpParameters

    async def start(self, context: Context) -> JobHandle:
        """Make the call, unless the service knows a job of this key that has not failed."""
        poll = context.parameters.poll
        if poll is not None and (known := await self._known(context, poll)) is not None:
            return known
        answer = await self._caller.good_answer(_first(context), context, context.parameters.expected_status)
        if poll is None:
            self._answers[context.idempotency_key] = answer
            return JobHandle(job_id=context.idempotency_key, data={ENDED: True})
        job_id = str(value_or_none(json_in(answer), poll.id) or context.idempotency_key)
        if poll.id is not None and value_or_none(json_in(answer), poll.id) is None:
            raise CallFailed(f"the answer has no id at {poll.id}", transient=False, kind="no_job_id")
        return JobHandle(job_id=job_id, url=_shown(_place(context, poll, job_id, answer)), data=_data(context, answer))

    async def poll(self, context: Context, handle: JobHandle) -> JobState:
        """Look at the job, or return what the call has answered."""
        poll = context.parameters.poll
        if poll is None:
            return outputs_in(self._answers.pop(handle.job_id), context.parameters)
        call = ServiceCall(
            "GET", _url_of(poll, handle, context), _reading(context), seconds=context.parameters.timeout_seconds
        )
        answer = await self._caller.good_answer(call, context)
        return _state(json_in(answer), answer, context, poll)

    async def cancel(self, context: Context, handle: JobHandle) -> None:
        """End the job where the plan says how; otherwise it ends by itself."""
        self._answers.pop(handle.job_id, None)
        poll = context.parameters.poll
        if poll is None:
            return
        if poll.cancel is None:
            context.log(f"the job {handle.job_id} goes on: the plan does not say how it is cancelled")
            return
        url = filled_in(poll.cancel.url, id=handle.job_id, key=context.idempotency_key)
        answer = await self._caller.answer(ServiceCall(poll.cancel.method, url, _reading(context)), context)
        if not answer.ok and answer.status not in GONE:
            transient = answer.passing
            raise CallFailed(f"the job could not be cancelled: {answer.status}", transient=transient)

    def outlives(self, parameters: HttpParameters) -> bool:
        """Whether the plan says how a job is found again."""
        return parameters.poll is not None and parameters.poll.lookup is not None

    async def _known(self, context: Context, poll: Polling) -> JobHandle | None:
        """Return the job that an earlier attempt has started and that has not failed; None where there is none."""
        if poll.lookup is None:
            return None
        url = filled_in(poll.lookup, key=context.idempotency_key, ticket_id=context.ticket_id)
        call = ServiceCall("GET", url, _reading(context), seconds=context.parameters.timeout_seconds)
        answer = await self._caller.good_answer(call, context, (*range(200, 300), HTTP_NOT_FOUND))
        found = value_or_none(json_in(answer), poll.found or poll.id) if answer.ok else None
        if found is None or isinstance(found, list | dict):
            return None
        handle = JobHandle(job_id=str(found), url=_shown(_place(context, poll, str(found), answer)), adopted=True)
        if isinstance(await self.poll(context, handle), JobFailed):
            return None
        return handle


def _first(context: Context) -> ServiceCall:
    """Return the call that the plan describes."""
    given = context.parameters
    headers = headers_for(given, context)
    body = (given.body or "").encode()
    if given.json_ is not None:
        body = json.dumps(given.json_).encode()
        headers.setdefault("content-type", "application/json")
    url = given.url
    if given.query:
        said = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.query.items()}
        url += ("&" if "?" in url else "?") + urlencode(said, quote_via=quote)
    repeatable = given.idempotent or given.method in SAFE
    return ServiceCall(given.method, url, headers, body, given.timeout_seconds, repeatable)


def _reading(context: Context) -> dict[str, str]:
    """Return the headers of the calls about a job."""
    return {name: value for name, value in headers_for(context.parameters, context).items() if name != "content-type"}


def _place(context: Context, poll: Polling, job_id: str, answer: OutboundAnswer) -> str:
    """Return where a job is looked at."""
    if poll.url is not None:
        return filled_in(poll.url, id=job_id, key=context.idempotency_key)
    location = answer.headers.get("location")
    if not location:
        raise CallFailed("the answer has no Location, and the plan no poll.url", transient=False, kind="no_location")
    return beside(context.parameters.url, location)


def _data(context: Context, answer: OutboundAnswer) -> dict[str, str]:
    poll = context.parameters.poll
    follows = poll is not None and poll.url is None
    return {"location": beside(context.parameters.url, answer.headers["location"])} if follows else {}


def _url_of(poll: Polling, handle: JobHandle, context: Context) -> str:
    if poll.url is None:
        return str(handle.data["location"])
    return filled_in(poll.url, id=handle.job_id, key=context.idempotency_key)


def _shown(url: str) -> str:
    """Return an address without its query, which may hold a credential."""
    return url.partition("?")[0]


def _state(document: Any, answer: OutboundAnswer, context: Context, poll: Polling) -> JobState:  # noqa: ANN401 any JSON
    message = value_or_none(document, poll.message)
    words = "" if message is None else str(message)[:500]
    if _fits(document, poll.succeeded):
        return outputs_in(answer, context.parameters)
    if poll.failed is not None and _fits(document, poll.failed):
        return JobFailed("job_failed", words or f"the job is {value_or_none(document, poll.failed.at)}"[:500])
    percent = value_or_none(document, poll.percent)
    known = float(percent) if isinstance(percent, int | float) and not isinstance(percent, bool) else None
    return JobRunning(known, words, poll.every_seconds)


def _fits(document: object, compared: Compared) -> bool:
    value = value_or_none(document, compared.at)
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in compared.equals)
