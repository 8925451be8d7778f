"""Answers over HTTP without a web framework, which is slow to import: what step functions and servers say."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from functions._observability.http_metrics import Receive, Scope, Send

PROBLEM = "application/problem+json"


class PlainAnswer:
    """One answer, which is an ASGI application that gives it."""

    def __init__(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.body = body
        lines = {**(headers or {}), "content-length": str(len(body))}
        self.raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in lines.items()]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> PlainAnswer:
    """Return a problem document (RFC 9457), in the form in which the api writes it."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return PlainAnswer(status, json.dumps(document).encode(), {**(headers or {}), "content-type": PROBLEM})
