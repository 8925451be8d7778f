"""The edge of a function of the cluster: one HTTP request is one event, and every outcome has its status.

    202   handled, or handled before
    400   malformed, or refused for good                           the broker makes it a dead letter
    405   not a POST, nor a question for the metrics
    413   larger than the limit                                    dead letter
    415   a batch, or data that is not JSON                        dead letter
    421   another function's event                                 dead letter
    500   broken: the log says why, the answer does not            repeated, then dead letter
    503   not now: store, broker or queue away, records moving     repeated, see Retry-After

A broker repeats 404, 408, 409, 429 and 5xx (Knative's data plane), so none of these ever says that an event is wrong.

Served by `func_python` itself, requests come with the event read already, and answers go out by `send.http`. Its
traps: it invents the id and time of an event that has none, passes data that is not JSON as text, answers an exception
with its text (and `ValueError` with that of another error), and sends nothing when the function sends nothing. So here
the event is read once more, strictly, nothing is raised, and there always is an answer. What it does before, this
cannot fix: it takes bodies of any size, invents ids in structured mode, answers batches with 500, and gives requests
3 s to end. Our own server does none of that.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from functions._adapters.http.cloudevents import STRUCTURED, read_events
from functions._core.delivery import MISDIRECTED, GiveUp, RetryAfter, RetryLimits, next_delivery
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.ports import Clock
from functions._core.records.json_text import is_light, parse_in_steps
from functions._core.records.values import format_time
from functions._hosts.plain_answers import PlainAnswer, problem
from functions._observability.http_metrics import Receive, Scope, Send
from functions._observability.logs import ids_of, log

EVENT_LIMIT = 1024 * 1024
"""Bytes of a request; brokers pass on 64 KiB for certain, and hardly more than this."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

RETRY_AFTER = {"retry-after": "1"}

BROKER_COUNTS = RetryLimits(first=0.5, longest=60.0)
"""The broker repeats and counts by itself; it takes the pause from `RETRY_AFTER` or from its own backoff."""


class CutOff(Exception):
    """The client has gone."""


class EventEdge:
    """An ASGI application that hands events to `work`."""

    def __init__(
        self, work: Callable[[CloudEvent], Awaitable[None]], clock: Clock, limit: int, metrics: Callable[[], bytes]
    ) -> None:
        """Take requests of at most `limit` bytes; `metrics` is what `GET /metrics` answers."""
        self._metrics = metrics
        self._work = work
        self._clock = clock
        self._limit = min(limit, EVENT_LIMIT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = self._no_event(scope) or await self._answer(scope, receive)
        except CutOff:
            return
        await answer(scope, receive, send_of(send))

    def _no_event(self, scope: Scope) -> PlainAnswer | None:
        """Return the answer to a request that is no event, None to one that may be."""
        if scope["method"] == "GET" and scope["path"] == "/metrics":
            return PlainAnswer(HTTPStatus.OK, self._metrics(), {"content-type": METRICS_TYPE})
        if scope["method"] != "POST":
            return problem(HTTPStatus.METHOD_NOT_ALLOWED, "not_a_post", "events are POSTed", {"allow": "POST"})
        return None

    async def _answer(self, scope: Scope, receive: Receive) -> PlainAnswer:
        try:
            event = await self._read(scope, receive)
        except Rejected as refusal:
            log.warning("event.unreadable", code=refusal.code, error=str(refusal))
            return problem(refusal.status, refusal.code, str(refusal))
        try:
            await self._work(event)
        except Exception as error:  # noqa: BLE001 the one broad except: whatever breaks, the broker gets an answer
            return _answer_to(event, error)
        return PlainAnswer(HTTPStatus.ACCEPTED)

    async def _read(self, scope: Scope, receive: Receive) -> CloudEvent:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if "event" in scope:
            headers, body = _as_sent(scope["event"], headers)
        else:
            body = await self._body(headers, receive)
        read = partial(read_events, headers, body, received_at=self._clock.now())
        events, batch = read() if is_light(body) else await asyncio.to_thread(read, parse=parse_in_steps)
        if batch:
            text = "batches are not taken; send each event by itself"
            raise Rejected(text, code="unsupported_media_type", status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        return events[0]

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        too_large = Rejected(f"an event has at most {self._limit} bytes", code="too_large", status=413)
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:18]) > self._limit:
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CutOff
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise too_large
            if not message.get("more_body"):
                return bytes(body)


def _answer_to(event: CloudEvent, error: Exception) -> PlainAnswer:
    """Return the answer by which the broker does what the delivery table says."""
    match next_delivery(error, 1, BROKER_COUNTS):
        case GiveUp(reason):
            log.warning("event.refused", **ids_of(event), code=reason.code, error=reason.message)
            # Its status is for callers of the api, who may be told 404 or 409; a broker would repeat these.
            misdirected = isinstance(error, Rejected) and error.status == MISDIRECTED
            return problem(MISDIRECTED if misdirected else HTTPStatus.BAD_REQUEST, reason.code, reason.message)
        case RetryAfter(broken=False):
            log.warning("event.not_now", **ids_of(event), error=repr(error))
            return not_now()
    log.error("event.failed", **ids_of(event), exc_info=error)
    return problem(500, "internal", "something went wrong inside; the log says what")


def not_now() -> PlainAnswer:
    """Return the answer that asks for a repetition; what is away is said in the log."""
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "not now; try again", RETRY_AFTER)


def send_of(send: Any) -> Send:  # noqa: ANN401 func-python's has no type
    """Return what takes messages of ASGI: of func-python's sender, the part that does."""
    plain: Send = getattr(send, "http", send)
    return plain


def _as_sent(event: Any, headers: dict[str, str]) -> tuple[dict[str, str], bytes]:  # noqa: ANN401 func-python's, too
    """Return the message that func-python has read `event` from, as far as it can be told."""
    data = event.get_data()
    if headers.get("content-type", "").startswith("application/cloudevents"):
        attributes = dict(event.get_attributes())
        if "time" in attributes:
            attributes["time"] = format_time(attributes["time"])
        return {"content-type": STRUCTURED}, json.dumps({**attributes, "data": data}).encode()
    if data is None or isinstance(data, bytes):
        return headers, data or b""
    return headers, (data if isinstance(data, str) else json.dumps(data)).encode()
