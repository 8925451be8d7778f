"""Webhooks on loopback: one server whose paths are receivers, each with behaviour of its own."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from standardwebhooks import Webhook

from tests.support.loopback import Answer, Loopback, Request

Behaviour = Callable[[Request], Awaitable[Answer]]


class WebhookReceiver(Loopback):
    """`behave` has the behaviour of a path; the others take everything."""

    def __init__(self) -> None:
        super().__init__()
        self.behave: dict[str, Behaviour] = {}
        self.answer = self._take
        self._stopped = asyncio.Event()
        self.received: dict[str, list[tuple[float, Request]]] = defaultdict(list)

    def sink(self, name: str) -> str:
        """Return the URL of a receiver."""
        return f"{self.url}/{name}"

    def bodies(self, name: str) -> list[Any]:
        """Return the events that a receiver was sent, repetitions included."""
        return [request.json for _, request in self.received[name]]

    def ids(self, name: str) -> list[str]:
        """Return the `webhook-id` of each message to a receiver."""
        return [request.headers["webhook-id"] for _, request in self.received[name]]

    async def hang(self, _request: Request) -> Answer:
        """Answer nothing for as long as the server runs."""
        await self._stopped.wait()
        return Answer(503, b"")

    async def stop(self) -> None:
        """Stop, and let go of those who wait."""
        self._stopped.set()
        await super().stop()

    async def _take(self, request: Request) -> Answer:
        name = request.path.strip("/")
        if request.method == "POST":
            self.received[name].append((asyncio.get_running_loop().time(), request))
        behave = self.behave.get(name)
        return Answer(204, b"") if behave is None else await behave(request)


def answers(*statuses: int, headers: dict[str, str] | None = None) -> Behaviour:
    """Return a receiver that answers these statuses in turn, the last of them for ever."""
    left = list(statuses)

    async def answer(_request: Request) -> Answer:
        return Answer(left.pop(0) if len(left) > 1 else left[0], b"", headers or {})

    return answer


def verified(secret: str, request: Request) -> Any:
    """Return the event in a message, as the library of Standard Webhooks has verified it."""
    return Webhook(secret).verify(request.body, request.headers)
