"""Requests to the API in this process: through the very door that the outer request came by, with its credential."""

import asyncio
import json
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from fastapi import Request

from functions._core.errors import Rejected
from functions.api.mcp_tools import InnerRequest

CARRIED = frozenset({b"authorization", b"x-api-key", b"host", b"traceparent", b"tracestate"})
"""Headers that go on to the inner request: who asks, by which name of the platform, and the trace."""

MAX_ANSWER = 1024 * 1024
"""Bytes of an answer: more is of no use to whoever reads it word by word."""


class InnerAnswer:
    """Gives a request's body to the API and gathers what it answers."""

    def __init__(self, body: bytes) -> None:
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        self.body = bytearray()
        self.too_large = False
        self._request: bytes | None = body

    async def receive(self) -> MutableMapping[str, Any]:
        """Give the body once; then nothing until the call ends, which cancels whoever waits."""
        if self._request is None:
            await asyncio.Event().wait()
        body, self._request = self._request, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a part of the answer; what is beyond `MAX_ANSWER` is dropped."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            self.too_large = self.too_large or len(self.body) + len(part) > MAX_ANSWER
            if not self.too_large:
                self.body += part


async def inner_call(outer: Request, inner: InnerRequest) -> InnerAnswer:
    """Return the answer to a request in the name of whoever sent the outer one.

    Raises `Rejected`, status 413, for an answer that is too large; what was asked for has been done.
    """
    body = b"" if inner.body is None else json.dumps(inner.body, separators=(",", ":")).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    own += [(name.encode(), value.encode("latin-1")) for name, value in inner.headers.items()]
    carried = [(name, value) for name, value in outer.scope["headers"] if name in CARRIED]
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "asgi": outer.scope.get("asgi", {"version": "3.0"}),
        "http_version": "1.1",
        "method": inner.method,
        "scheme": outer.scope.get("scheme", "http"),
        "path": unquote(inner.path),
        "raw_path": inner.path.encode(),
        "query_string": inner.query.encode(),
        "root_path": "",
        "headers": [*own, *carried],
        "client": outer.scope.get("client"),
        "server": outer.scope.get("server"),
        "state": {},
    }
    answer = InnerAnswer(body)
    await outer.app(scope, answer.receive, answer.send)
    if answer.too_large:
        text = f"the answer is larger than {MAX_ANSWER} bytes: ask for less, by filters or `limit`"
        raise Rejected(text, code="too_large", status=413)
    return answer
