"""One gRPC call as requests to the API in this process, and the API's refusals as statuses of gRPC."""

import asyncio
import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlencode

import grpc
from grpc.aio import Metadata

from functions._observability.http_metrics import AsgiApp

CARRIED = ("authorization", "x-api-key", "idempotency-key", "traceparent", "tracestate")
"""Metadata of a call that go on as headers."""

STATUSES: Mapping[int, grpc.StatusCode] = {
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    HTTPStatus.GONE: grpc.StatusCode.OUT_OF_RANGE,
    HTTPStatus.PRECONDITION_FAILED: grpc.StatusCode.ABORTED,
    HTTPStatus.PRECONDITION_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
"""Other statuses from 400 to 499 are INVALID_ARGUMENT, those above INTERNAL."""

MAX_PROBLEM = 4096
"""Bytes of a problem document that go with an error: clients take 8 KiB of metadata."""


class RefusedCall(Exception):
    """The API has answered with a problem document."""

    def __init__(self, status: int, document: bytes, retry_after: str | None) -> None:
        super().__init__(status)
        self.status = status
        self.document = document
        self.retry_after = retry_after

    @property
    def code(self) -> grpc.StatusCode:
        """The status of gRPC."""
        client = self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return STATUSES.get(self.status) or (grpc.StatusCode.INVALID_ARGUMENT if client else grpc.StatusCode.INTERNAL)

    @property
    def detail(self) -> str:
        """The sentence that says what is wrong."""
        return str(self._problem.get("detail") or HTTPStatus(self.status).phrase)

    @property
    def metadata(self) -> Metadata:
        """The problem's `code`, the whole document where it is short, and when to try again."""
        metadata = Metadata(("code", str(self._problem.get("code", "internal"))))
        if len(self.document) <= MAX_PROBLEM:
            metadata.add("problem-bin", self.document)
        if self.retry_after is not None:
            metadata.add("retry-after", self.retry_after)
        return metadata

    @property
    def _problem(self) -> Mapping[str, Any]:
        try:
            said = json.loads(self.document)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


@dataclass(frozen=True, slots=True)
class Caller:
    """The API as one caller sees it: `headers` prove who it is, `client` is its address."""

    app: AsgiApp
    headers: tuple[tuple[bytes, bytes], ...]
    client: tuple[str, int] | None

    @property
    def proof(self) -> str:
        """The key or token of the caller; empty without one."""
        said = dict(self.headers)
        return (said.get(b"x-api-key") or said.get(b"authorization") or b"").decode("latin-1")

    async def get(self, path: str, **query: object) -> Any:
        """Return the answer to a GET; parameters that are None or empty are left out."""
        return await self.send("GET", path, query=query)

    async def send(
        self,
        method: str,
        path: str,
        body: Callable[[], object] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Any:
        """Return the JSON value that the API answers, None for no content; raise `RefusedCall`.

        `body` is called for the value to send when the API reads it: after it has found out who asks.
        """
        given = {name: value for name, value in (query or {}).items() if value not in {None, ""}}
        answer = await self._asked(method, path, urlencode(given).encode(), body, headers)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise RefusedCall(answer.status, bytes(answer.body), answer.retry_after)
        return json.loads(answer.body) if answer.body else None

    async def _asked(
        self,
        method: str,
        path: str,
        query: bytes,
        body: Callable[[], object] | None,
        headers: tuple[tuple[bytes, bytes], ...],
    ) -> "_Answer":
        own = ((b"host", b"localhost"), (b"content-type", b"application/json"))
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [*own, *self.headers, *headers],
            "client": self.client,
            "server": None,
            "state": {},
        }
        answer = _Answer(body)
        await self.app(scope, answer.receive, answer.send)
        return answer


class _Answer:
    """Hands a request's body to the API and gathers what it answers."""

    def __init__(self, content: Callable[[], object] | None) -> None:
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        self.body = bytearray()
        self.retry_after: str | None = None
        self._content = content
        self._given = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Give the body once; then nothing until the call ends, which cancels whoever waits."""
        if self._given:
            await asyncio.Event().wait()
        self._given = True
        content = b"" if self._content is None else json.dumps(self._content(), separators=(",", ":")).encode()
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            sent = {name.lower(): value.decode("latin-1") for name, value in message["headers"]}
            self.retry_after = sent.get(b"retry-after")
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")


def caller_of(app: AsgiApp, context: "grpc.aio.ServicerContext[Any, Any]") -> Caller:
    """Return the API as the caller of a gRPC call sees it."""
    said = dict(context.invocation_metadata() or ())
    headers = tuple((name.encode(), _text(said[name]).encode("latin-1")) for name in CARRIED if name in said)
    return Caller(app, headers, _client(context.peer()))


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _client(peer: str) -> tuple[str, int] | None:
    """Return the address behind `ipv4:1.2.3.4:5` or `ipv6:[::1]:5`, percent-encoded or not."""
    kind, _, address = unquote(peer).partition(":")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in {"ipv4", "ipv6"} and port.isdigit() else None
