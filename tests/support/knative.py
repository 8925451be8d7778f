"""Functions as Knative runs them, each a server of its own on loopback, and a broker that is good enough for tests."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from functions._adapters.http.cloudevents import read_events, write_binary
from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import OpenStore, Stores
from functions._core.errors import Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.routes import ROUTES
from functions._engine.settings import Settings
from functions._hosts.knative.function import KnativeFunction, Served
from functions._hosts.knative.process import RunningFunction, read_environment
from functions._hosts.serving import listen, serving, url_of
from tests.support.http_world import ClientWorld
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import PATIENCE_S

KEY = "k" * 32
NOBODY = "http://127.0.0.1:9"
"""A port where nothing listens."""


def environment(sink: str = NOBODY, **settings: object) -> dict[str, str]:
    """Return what a function's container is told; `settings` are those of Flow C."""
    told = {
        "host": "127.0.0.1",
        "port": 0,
        "database_url": "postgresql://nobody@127.0.0.1:9/none",
        "public_url": NOBODY,
        "worker_key": KEY,
        "api_key": KEY,
        "worker_networks": "loopback",
        "rate_limits": "off",
        "log_level": "error",
        **settings,
    }
    return {"K_SINK": sink, **{f"FLOWC_{name.upper()}": str(value) for name, value in told.items()}}


@dataclass
class SharedStore:
    """A store that several functions of a test use; it can be away."""

    stores: Stores = field(default_factory=lambda: MemoryStore().stores)
    away: bool = False

    async def opens(self, _settings: Settings) -> OpenStore:
        """Open it, which is nothing."""
        await self.check()
        return self

    async def check(self) -> None:
        """Raise `Unavailable` while it is away."""
        if self.away:
            raise Unavailable("the database at db.internal does not answer")

    async def close(self) -> None:
        """Stay open for the others."""

    async def queued(self) -> list[str]:
        """Return the ids of the events that are not published."""
        return [queued.event.id for queued in await self.stores.queue.pending(0, 1000)]


@dataclass
class Function(ClientWorld):
    """A function that is being served; the one named `api` has all that `HttpWorld` calls."""

    function: KnativeFunction

    async def running(self) -> RunningFunction:
        """Return what it is made of."""
        return await self.function.running()

    async def deliver(self, event: CloudEvent) -> httpx.Response:
        """POST an event in binary mode, as a broker does."""
        headers, body = write_binary(event)
        return await self.client.post("/", content=body, headers=headers)

    async def status(self, path: str) -> int:
        """Return the status of a GET."""
        return (await self.client.get(path)).status_code


@asynccontextmanager
async def served(
    name: str, store: SharedStore, sink: str = NOBODY, *, overrides: str = "", **settings: object
) -> AsyncIterator[Function]:
    """Serve a function over `store` for as long as the context is open."""
    function = KnativeFunction(name, store.opens)
    told, binding = read_environment(name, {**environment(sink, **settings), "K_CE_OVERRIDES": overrides})
    with listen(told) as listener:
        function.begin(told, binding)
        try:
            client = httpx.AsyncClient(
                base_url=url_of(told, listener), headers={"x-api-key": KEY}, trust_env=False, timeout=PATIENCE_S
            )
            async with client, serving(Served(function), told, listener):
                yield Function(client, function)
        finally:
            await function.close()


def event_of(request: Request) -> CloudEvent:
    """Return the event of a request."""
    (event,), _ = read_events(request.headers, request.body, received_at=datetime.now(UTC))
    return event


def ping() -> CloudEvent:
    """Return what a PingSource sends."""
    return CloudEvent(
        id="tick",
        source="/apis/v1/namespaces/flow-c/pingsources/clock",
        type="dev.knative.sources.ping",
        time=datetime.now(UTC),
        data={},
    )


class Broker(Loopback):
    """Takes events and brings each to the function whose it is, again and again until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: Mapping[str, str] = {}
        self.refused: list[tuple[str, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient()

    @property
    def events(self) -> Sequence[CloudEvent]:
        """All that it has taken."""
        return [event_of(request) for request in self.requests]

    def event_types(self) -> list[str]:
        """Return what it has taken, in order."""
        return [event.event_type for event in self.events]

    async def stop(self) -> None:
        """Stop, with what is being delivered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().stop()
        await self._client.aclose()

    async def _accept(self, request: Request) -> Answer:
        event_type = event_of(request).event_type
        url = self.urls.get(ROUTES[event_type].function) if event_type in ROUTES else None
        if url is not None:
            task = asyncio.create_task(self._deliver(url, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return Answer(202, b"")

    async def _deliver(self, url: str, request: Request) -> None:
        headers = {k: v for k, v in request.headers.items() if k.startswith("ce-") or k == "content-type"}
        for _ in range(20):
            answer = await self._client.post(url, content=request.body, headers=headers, timeout=30)
            if answer.status_code == 202:
                return
            self.refused.append((headers["ce-type"], answer.status_code))
            if answer.status_code < 500:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster(store: SharedStore, names: Sequence[str], **settings: Any) -> AsyncIterator[tuple[Function, Broker]]:
    """Serve all functions of `names` over one store behind one broker; give the api and the broker."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Broker())
        # The address of the api has to be known before it is there.
        with listen(read_environment("api", environment(broker.url))[0]) as free:
            port = free.getsockname()[1]
        settings = {"public_url": f"http://127.0.0.1:{port}", **settings}
        urls: dict[str, str] = {}
        api: Function | None = None
        for name in names:
            ports = {"port": port} if name == "api" else {}
            function = await stack.enter_async_context(served(name, store, broker.url, **settings, **ports))
            urls[name] = function.url
            api = function if name == "api" else api
        broker.urls = urls
        assert api is not None
        yield api, broker


def worker_event(event_type: str, data: Mapping[str, Any]) -> CloudEvent:
    """Return a worker's message."""
    return CloudEvent(
        id=f"{event_type}-1",
        source="/workers/w1",
        type=type_of(event_type),
        time=datetime.now(UTC),
        subject="w1",
        data=data,
    )
