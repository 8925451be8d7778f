"""The platform as a worker sees it, over real HTTP, and a worker that a test can talk to."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from functions._adapters.http.client import HttpClient
from functions._adapters.http.cloudevents import read_events, write_binary
from functions._adapters.http.reply import Reply
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.signatures import secret_of, signature_headers
from functions._worker import Assignment, Executor, WorkerConfig, WorkerProcess
from tests.support.loopback import Answer, Loopback, Request, until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "secret-token-of-a-ticket"
SECRET = secret_of(b"key-of-the-stand-in", "w-1", "1")


class StandIn(Loopback):
    """Takes whatever a worker says and keeps it in `requests`.

    `replies` hold what it says to the next reports instead, `answers` what it says to all else.
    """

    def reset(self) -> None:
        super().reset()
        self.answer = self._answer
        self.answers: deque[Answer] = deque()
        self.replies: deque[Answer] = deque()

    async def _answer(self, request: Request) -> Answer:
        script = self.replies if request.path.startswith("/reports") else self.answers
        answer = script.popleft() if script else Answer(200, b"{}")
        if (request.method, request.path) == ("POST", "/api/v1/workers") and answer.status == HTTPStatus.OK:
            said = {"signing_secret": SECRET, "callback_base_url": self.url}
            return replace(answer, body=json.dumps(said | json.loads(answer.body)).encode())
        return answer

    def told(self, method: str, path: str) -> list[Request]:
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    @property
    def registrations(self) -> list[Request]:
        return self.told("POST", "/api/v1/workers")

    @property
    def heartbeats(self) -> list[Request]:
        return self.told("POST", "/api/v1/workers/w-1/heartbeat")

    @property
    def reports(self) -> list[CloudEvent]:
        sent = self.told("POST", "/reports")
        return [read_events(request.headers, request.body, received_at=NOW)[0][0] for request in sent]

    @property
    def statuses(self) -> list[str]:
        return [report.data["status"] for report in self.reports]

    async def reported(self, *statuses: str) -> list[dict[str, Any]]:
        """Wait until exactly so much has been reported, and return the data."""
        await until(lambda: len(self.statuses) >= len(statuses), f"reports {statuses}, there are {self.statuses}")
        assert self.statuses == list(statuses)
        return [report.data for report in self.reports]


class Gate:
    """An executor whose tasks end when the test says so; the end may be an exception."""

    abandoned = 0

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.end: object = {"ok": True}
        self.log: list[tuple[str, str, int]] = []

    async def run(self, assignment: Assignment) -> object:
        about = assignment.ticket_id, assignment.attempt
        self.log.append(("started", *about))
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.log.append(("cancelled", *about))
            raise
        self.log.append(("ended", *about))
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


class Desk:
    """Talks to a worker the way the platform does."""

    def __init__(self, worker: WorkerProcess, platform: StandIn, client: HttpClient) -> None:
        self.worker = worker
        self.platform = platform
        self._client = client
        self._sent = 0

    def assignment(self, ticket_id: str = "t-1", attempt: int = 1, **changes: object) -> dict[str, Any]:
        return {
            "task_id": "task-1",
            "ticket_id": ticket_id,
            "flow_id": "f-1",
            "plan_id": "p-1",
            "task_type": "EXECUTE",
            "description": "do it",
            "payload": {"secret": "payload-of-a-ticket"},
            "parameters": {"n": 7},
            "sla_deadline": "2026-03-01T13:00:00.000Z",
            "attempt": attempt,
            "timeout_ms": 60_000,
            "estimated_duration_ms": 1_000,
            "correlation_id": "c-1",
            "callback_url": f"{self.platform.url}/reports",
            "token": TOKEN,
            **changes,
        }

    async def assign(self, ticket_id: str = "t-1", attempt: int = 1, **changes: object) -> int:
        return (await self.send("ticket.assigned", self.assignment(ticket_id, attempt, **changes))).status

    async def cancel(self, ticket_id: str = "t-1", **attempt: int) -> int:
        return (await self.send("ticket.cancelled", {"ticket_id": ticket_id, **attempt})).status

    async def send(self, event_type: str, data: object) -> Reply:
        extensions = {"correlationid": "c-1", "partitionkey": "f-1", "expirytime": "2026-03-01T13:00:00.000Z"}
        event = CloudEvent(
            id="e-1", source="/flowc/assign", type=type_of(event_type), time=NOW, data=data, extensions=extensions
        )
        return await self.post(*write_binary(event))

    async def post(self, headers: dict[str, str], body: bytes) -> Reply:
        """Send what the platform has signed; of two messages none is like the other, even with the same event."""
        self._sent += 1
        at = datetime.now(UTC) + timedelta(seconds=self._sent % 240 - 120)
        message_id = f"{headers.get('ce-type', '')[14:-3].replace('.', '-')}_{headers.get('ce-id', '')}"
        return await self.call("POST", "", headers | signature_headers(SECRET, message_id, at, body), body)

    async def call(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        return await self._client.request(method, f"{self.worker.endpoint}{path}", headers, body)

    async def health(self) -> dict[str, Any]:
        health: dict[str, Any] = json.loads((await self.call("GET", "health", {})).body)
        return health


@asynccontextmanager
async def working(platform: StandIn, executor: Executor, **changes: object) -> AsyncIterator[Desk]:
    """Start a worker, wait until it is registered, and stop it in the end."""
    settings: dict[str, Any] = {"slots": 2, "heartbeat_seconds": 60, "grace_seconds": 0, **changes}
    config = WorkerConfig(
        worker_id="w-1", platform_url=platform.url, capabilities=("python",), executor=executor, **settings
    )
    client = HttpClient()
    try:
        async with WorkerProcess(config) as worker:
            await worker.registered.wait()
            yield Desk(worker, platform, client)
    finally:
        await client.aclose()
