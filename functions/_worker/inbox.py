"""The HTTP face of a worker: takes CloudEvents on `POST /`, answers `GET /health`."""

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from pydantic import Field, ValidationError

from functions._adapters.http.cloudevents import read_events
from functions._core.errors import Rejected
from functions._core.events.assignment import BATCH_SIZE
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.values import Model
from functions._observability.logs import log
from functions._worker.runs import Runs, RunVerdict
from functions._worker.tasks import Assignment
from functions._worker.trust import Trust

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of an assignment: far more than brokers carry, little enough to hold one for each slot."""

RETRY_AFTER_SECONDS = 1

TASKS = "/api/v1/tasks/"
"""Where a worker is asked how a task fares, by the id of its ticket."""

REFUSALS = {RunVerdict.BUSY: HTTPStatus.TOO_MANY_REQUESTS, RunVerdict.STOPPING: HTTPStatus.SERVICE_UNAVAILABLE}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Cancellation(Model):
    """Data of `ticket.cancelled`."""

    ticket_id: str = Field(min_length=1)
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class InboxAnswer:
    """A JSON answer."""

    status: HTTPStatus
    body: dict[str, object]
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Inbox:
    """An ASGI application in front of `Runs`, which does what the platform has signed and nothing else."""

    def __init__(self, worker_id: str, slots: int, runs: Runs, trust: Trust) -> None:
        self._trust = trust
        self._worker_id = worker_id
        self._slots = slots
        self._runs = runs

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._route(scope, receive)
        except Rejected as refusal:
            answer = _problem(HTTPStatus(refusal.status), str(refusal))
        body = json.dumps(answer.body).encode()
        problem = answer.status >= HTTPStatus.BAD_REQUEST
        headers = [
            (b"content-type", b"application/problem+json" if problem else b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _route(self, scope: Message, receive: Receive) -> InboxAnswer:
        match scope["path"], scope["method"]:
            case "/", "POST":
                return self._take(*await self._proven(scope, receive))
            case "/health", "GET":
                return InboxAnswer(HTTPStatus.OK, self._health())
            case path, "GET" if path.startswith(TASKS):
                return await self._status(scope, path.removeprefix(TASKS))
            case "/" | "/health" as path, _:
                allowed = b"POST, OPTIONS" if path == "/" else b"GET, OPTIONS"
                if scope["method"] == "OPTIONS":
                    return InboxAnswer(HTTPStatus.OK, {}, ((b"allow", allowed),))
                return _problem(HTTPStatus.METHOD_NOT_ALLOWED, "see Allow", (b"allow", allowed))
        return _problem(HTTPStatus.NOT_FOUND, f"there is /, /health and {TASKS}<ticket id>")

    async def _status(self, scope: Message, ticket_id: str) -> InboxAnswer:
        """Return how a task fares, to whoever has the secret of the registration."""
        message = await self._trust.opened(_headers(scope))
        self._trust.verify(message, b"")
        if message.message_id.rpartition("_")[0] != f"task-status_{ticket_id}":
            raise Rejected("webhook-id does not name the task", code="bad_signature", status=401)
        status = self._runs.status_of(ticket_id)
        if status is None:
            return _problem(HTTPStatus.NOT_FOUND, "there is no such task")
        return InboxAnswer(HTTPStatus.OK, status)

    async def _proven(self, scope: Message, receive: Receive) -> Sequence[CloudEvent]:
        """Return the events of a message that the platform has signed; raise `Rejected` for any other."""
        headers = _headers(scope)
        try:
            message = await self._trust.opened(headers)
            body = await _read(receive)
            self._trust.verify(message, body)
            events = _events(headers, body)
            self._trust.is_about(message, events)
        except Rejected as refusal:
            client = (scope.get("client") or ("unknown",))[0]
            log.warning("message.refused", code=refusal.code, reason=str(refusal), client=client)
            raise
        return events

    def _take(self, event: CloudEvent, *others: CloudEvent) -> InboxAnswer:
        if others or event.type == type_of("ticket.assigned"):
            verdict = self._runs.take_all([self._assignment(each) for each in (event, *others)])
            if refusal := REFUSALS.get(verdict):
                retry = (b"retry-after", str(RETRY_AFTER_SECONDS).encode())
                return _problem(refusal, f"the worker is {verdict}", retry)
            return InboxAnswer(HTTPStatus.ACCEPTED, {"result": verdict})
        if event.type == type_of("ticket.cancelled"):
            try:
                cancellation = Cancellation.model_validate(event.data)
            except ValidationError as error:
                raise Rejected("ticket.cancelled needs a ticket_id", code="bad_cancellation") from error
            self._runs.cancel(cancellation.ticket_id, cancellation.attempt)
            return InboxAnswer(HTTPStatus.ACCEPTED, {"result": "cancelled"})
        raise Rejected(f"a worker takes no {event.type}", code="unknown_type")

    def _assignment(self, event: CloudEvent) -> Assignment:
        assignment = Assignment.of(event)
        self._trust.check_callback(assignment.callback_url)
        return assignment

    def _health(self) -> dict[str, object]:
        return {
            "status": "STOPPING" if self._runs.stopping else "HEALTHY",
            "worker_id": self._worker_id,
            "slots": self._slots,
            "running": len(self._runs.running),
            "reports_owed": self._runs.owed,
        }


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _problem(status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes]) -> InboxAnswer:
    body: dict[str, object] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
    return InboxAnswer(status, body, headers)


def _events(headers: dict[str, str], body: bytes) -> Sequence[CloudEvent]:
    """Return the event of a message, or those of a batch, each about another ticket."""
    events, _ = read_events(headers, body, received_at=datetime.now(UTC))
    if not events:
        raise Rejected("the batch is empty", code="empty_batch")
    if len(events) > BATCH_SIZE:
        raise Rejected(f"a batch has at most {BATCH_SIZE} assignments", code="batch_too_large", status=413)
    return events


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Rejected("the sender has left")
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise Rejected(f"more than {BODY_LIMIT} bytes", code="too_large", status=status)
        if not message.get("more_body", False):
            return bytes(body)
