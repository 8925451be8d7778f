"""A real HTTP server on loopback whose answers a test writes, and which keeps what it was asked."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from functions._worker.http_server import HttpServer
from tests.support.world import PATIENCE_S
from tests.support.world import until as eventually

Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    client: tuple[str, int]
    query: dict[str, str] = field(default_factory=dict)
    raw_path: str = ""
    """The path as it was sent, quoted."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int = 202
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


class Loopback:
    """Answers every request by `answer`, which a test may replace; can be stopped and started on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self.reset()
        self._server: HttpServer | None = None

    def reset(self) -> None:
        """Forget what was asked and answer 202 to everything."""
        self.answer: Callable[[Request], Awaitable[Answer]] = self._accept
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = HttpServer(self._app, "127.0.0.1", self.port)
        self.port = self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _accept(self, _: Request) -> Answer:
        return Answer()

    async def _app(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode()))
        raw = scope["raw_path"].decode("ascii")
        request = Request(scope["method"], scope["path"], headers, body, scope["client"], query, raw)
        self.requests.append(request)
        answer = await self.answer(request)
        lines = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": lines})
        await send({"type": "http.response.body", "body": answer.body})


async def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait for something that can be seen at once, such as a request that has come."""

    async def probe() -> bool | None:
        return bool(condition()) or None

    await eventually(probe, what, seconds)
