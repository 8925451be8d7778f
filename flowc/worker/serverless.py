"""A worker that is a function: it serves one request at a time, and nothing of it runs between two requests.

Its heartbeat has two modes. *piggyback*: each request that it serves sends one, at most each 15 s. *scheduled*: a
timer calls `beat`, of the function itself or of another one that shares its `SecretStore`. (*process*, the heartbeat in
the background, is that of `Worker`.) A function that asks for its tasks has an address only for its timer: `work` is
heartbeat and work in one.
"""

import asyncio
import json
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from time import monotonic
from typing import Any, Protocol

from flowc.worker.worker import DEFAULT_URL, Handler, TracedExecutor
from functions._adapters.http.client import HttpClient
from functions._core.errors import FlowcError
from functions._core.placement.workers import Registration
from functions._worker.asking import Asking
from functions._worker.ended import EndedTickets
from functions._worker.inbox import Inbox
from functions._worker.platform import PlatformRegistry
from functions._worker.reports import Reporter
from functions._worker.runs import Runs
from functions._worker.trust import Membership, Trust

TASK_SECONDS = 4.0
"""How long a task may take: the answer to a message comes after the task, and the platform waits 5 s for it."""

REPORT_SECONDS = 5.0
"""How long the report may take after that."""

PROBE_SECONDS = 2.0
PROBES_AT_ONCE = 20

BEAT_SECONDS = 15.0
"""Between two heartbeats that requests send: half of the interval that the platform asks for."""


class HeartbeatMode(StrEnum):
    """Who sends the heartbeats of a function."""

    PIGGYBACK = "piggyback"
    SCHEDULED = "scheduled"


class SecretStore(Protocol):
    """Keeps one text that all instances of the function share: a secret, so nobody else may read it."""

    def load(self) -> str | None:
        """Return the text that was saved last; None before."""

    def save(self, text: str) -> None:
        """Keep `text`."""


class InstanceMemory:
    """The store of a function of which one instance runs at a time; a new instance registers again."""

    def __init__(self) -> None:
        self._text: str | None = None

    def load(self) -> str | None:
        """See `SecretStore`."""
        return self._text

    def save(self, text: str) -> None:
        """See `SecretStore`."""
        self._text = text


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as the function gets it; the names of headers may be in any letter case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer that the function gives."""

    status: int
    headers: dict[str, str]
    body: bytes


class ServerlessWorker:
    """Turns a function of tasks into a function of HTTP requests.

    Each `handle` does all of its work before it returns, and leaves no connection open. A message is one task, or a
    batch of as many as there are slots.
    """

    def __init__(  # noqa: PLR0913 - the settings of a worker
        self,
        url: str | None = None,
        *,
        worker_id: str,
        endpoint: str | None = None,
        capabilities: Sequence[str],
        handler: Handler,
        slots: int = 1,
        api_key: str | None = None,
        heartbeat: HeartbeatMode = HeartbeatMode.PIGGYBACK,
        secrets: SecretStore | None = None,
        task_seconds: float | None = None,
    ) -> None:
        """Take the settings of `Worker`; `endpoint` is the function's address. Raises `ValueError`.

        Without an endpoint the function asks for its tasks. A task that takes longer than `task_seconds` fails: 4 s for
        one that is sent, and for one that is asked for the time of its ticket, where nothing is said.
        """
        self._url = url or os.environ.get("FLOWC_URL") or DEFAULT_URL
        self._key = api_key or os.environ.get("FLOWC_API_KEY") or None
        way = {"endpoint": endpoint} if endpoint is not None else {"delivery": "pull"}
        about = {"worker_id": worker_id, "capabilities": list(capabilities), "slots": slots, **way}
        self._registration = Registration.model_validate(about).model_dump(mode="json", include=set(about))
        self._worker_id, self._slots = worker_id, slots
        self._executor = TracedExecutor(handler)
        self._heartbeat = HeartbeatMode(heartbeat)
        self._store = secrets or InstanceMemory()
        limit = TASK_SECONDS if task_seconds is None and endpoint is not None else task_seconds
        self._longest_ms = None if limit is None else max(1, round(limit * 1000))
        self._ended = EndedTickets()
        self._trust = Trust(self._url)
        self._loaded: str | None = None
        self._beaten = -BEAT_SECONDS

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer one request: a message of the platform is verified, done and reported first."""
        client = HttpClient()
        try:
            registry, reporter, runs = self._parts(client)
            fresh = await self._known(registry) if request.method == "POST" else False
            answer = await self._answer(runs, request)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                if self._load():  # another instance has registered since
                    answer = await self._answer(runs, request)
                elif fresh:
                    answer = _later()
            await runs.finished()
            await reporter.flush(REPORT_SECONDS)
            # A stranger's question may make it say that it is there, but never register.
            due = self._loaded is not None and monotonic() - self._beaten >= BEAT_SECONDS
            if due and self._heartbeat is HeartbeatMode.PIGGYBACK:
                await self._beat(registry)
            return answer
        finally:
            await client.aclose()

    async def work(self, wait_seconds: float = 0.0) -> int:
        """Ask for as many tasks as there are slots, do and report them, and return how many were done.

        `wait_seconds`, up to 30, is how long the platform may keep the question while there is nothing to do. It counts
        as a heartbeat. For a function without an endpoint, called by a timer.
        """
        client = HttpClient()
        try:
            registry, reporter, runs = self._parts(client)
            known = True

            def forgotten() -> None:
                nonlocal known
                known = False

            await self._known(registry)
            asking = Asking(registry, runs, self._trust, forgotten)
            await asking.ask(self._slots, wait_seconds)
            if not known and await self._register(registry):
                await asking.ask(self._slots, wait_seconds)
            await runs.finished()
            await reporter.flush(REPORT_SECONDS)
            return runs.totals.completed + runs.totals.failed
        finally:
            await client.aclose()

    def _parts(self, client: HttpClient) -> tuple[PlatformRegistry, Reporter, Runs]:
        """Return the parts of a worker for one request; what has ended is remembered from one to the next."""
        reporter = Reporter(client, self._worker_id)
        runs = Runs(
            self._executor,
            reporter,
            slots=self._slots,
            announce_from_ms=None,
            ended=self._ended,
            longest_ms=self._longest_ms,
        )
        return PlatformRegistry(client, self._url, self._worker_id, self._key), reporter, runs

    async def beat(self) -> None:
        """Send one heartbeat, and register where the platform does not know the worker (any more)."""
        client = HttpClient()
        try:
            await self._beat(PlatformRegistry(client, self._url, self._worker_id, self._key))
        finally:
            await client.aclose()

    async def _beat(self, registry: PlatformRegistry) -> None:
        if await self._known(registry):
            return
        self._beaten = monotonic()
        orders = await registry.heartbeat({"status": "HEALTHY"})
        if not orders.known:
            await self._register(registry)

    async def _known(self, registry: PlatformRegistry) -> bool:
        """Make sure that there is a registration; return whether it had to be made."""
        return self._loaded is None and not self._load() and await self._register(registry)

    async def _register(self, registry: PlatformRegistry) -> bool:
        """Register once and save what that brings; return whether the platform took it."""
        membership = await registry.register_once(self._registration)
        if membership is None:
            return False
        self._loaded = json.dumps([membership.secret, membership.callback_base_url])
        self._store.save(self._loaded)
        self._trust.renew(membership)
        self._beaten = monotonic()
        return True

    def _load(self) -> bool:
        """Take the registration that the store has; return whether it is another one than was known."""
        text = self._store.load()
        if text is None or text == self._loaded:
            return False
        try:
            secret, base = json.loads(text)
        except (TypeError, ValueError):
            return False
        self._trust.renew(Membership(str(secret), str(base)))
        self._loaded = text
        return True

    async def _answer(self, runs: Runs, request: HttpRequest) -> HttpResponse:
        """Ask the inbox of a worker, as its server would."""
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        headers = [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in request.headers.items()
        ]
        scope = {"type": "http", "method": request.method.upper(), "path": request.path, "headers": headers}
        await Inbox(self._worker_id, self._slots, runs, self._trust)(scope, receive, send)
        head, body = sent
        said = {name.decode(): value.decode() for name, value in head["headers"]}
        return HttpResponse(head["status"], said, body["body"])


async def beat_for(endpoints: Mapping[str, str], url: str | None = None, api_key: str | None = None) -> list[str]:
    """Beat for functions of other workers, whose endpoints are given by worker id; for the timer of a set of functions.

    Each is asked at `/health` below its endpoint, for 2 s. Return the ids of those that answered: only for them a
    heartbeat was sent, so that the platform hears nothing of the others.
    """
    client = HttpClient(timeout_seconds=PROBE_SECONDS)
    gate = asyncio.Semaphore(PROBES_AT_ONCE)
    base, key = url or os.environ.get("FLOWC_URL") or DEFAULT_URL, api_key or os.environ.get("FLOWC_API_KEY")

    async def alive(worker_id: str, endpoint: str) -> str | None:
        async with gate:
            try:
                reply = await client.request("GET", f"{endpoint.rstrip('/')}/health", {})
            except FlowcError:
                return None
            if not reply.ok:
                return None
            await PlatformRegistry(client, base, worker_id, key or None).heartbeat({"status": "HEALTHY"})
            return worker_id

    try:
        asked = await asyncio.gather(*(alive(*each) for each in endpoints.items()))
    finally:
        await client.aclose()
    return [worker_id for worker_id in asked if worker_id is not None]


def _later() -> HttpResponse:
    """Let the platform send the message again, which is signed by the newest secret then."""
    return HttpResponse(HTTPStatus.SERVICE_UNAVAILABLE, {"retry-after": "1", "content-type": "application/json"}, b"{}")
