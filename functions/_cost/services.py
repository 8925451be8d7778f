"""EventBridge and SQS in memory: they pass on what they are given, and count it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from functions._adapters.aws.client import Client, Clients, Meaning
from functions._adapters.aws.messages import read_message
from functions._core.events.envelope import CloudEvent
from functions._core.events.routes import ROUTES
from functions._core.ports import Clock
from functions._cost.ledger import CLOCK, MESSAGES, PUBLISHED, CostLedger
from functions._cost.table import MemoryTable
from functions._hosts.aws.timers import SOURCE

CHUNK = 64 * 1024
"""Bytes that count as one event or request."""

HOP = 0.1
"""Seconds from the bus through a queue into a function."""

PER_MESSAGE = 3
"""Requests of a message: it is sent, received and deleted, in a batch of its own where little is going on."""

QUEUES = "https://sqs.example/"
"""The address of a queue begins so; the name of its function follows."""

Consumer = Callable[[str, CloudEvent, str], Awaitable[None]]
"""Takes a function, an event for it, and the account of what follows."""


class Services(Clients):
    """Clients of all services; `consumer` is handed what comes out of the queue of a function."""

    def __init__(self, ledger: CostLedger, clock: Clock, consumer: Consumer) -> None:
        super().__init__()
        self._ledger = ledger
        self._clock = clock
        self._consumer = consumer
        self._tasks: set[asyncio.Task[None]] = set()
        self.table = MemoryTable(ledger)
        self._clients: Mapping[str, Client] = {
            "dynamodb": self.table,
            "events": _Calls({"put_events": self._put_events}),
            "sqs": _Calls({"send_message": self._send_message}),
        }

    def of(self, service: str, meaning: Meaning | None = None) -> Client:  # noqa: ARG002 nothing goes wrong here
        """Return the client of a service."""
        return self._clients[service]

    def send(self, function: str, event: CloudEvent, bytes_: int, account: str, delay: float = HOP) -> None:
        """Put a message into the queue of a function."""
        before, self._ledger.account = self._ledger.account, account
        chunks = -(-bytes_ // CHUNK)
        self._ledger.add(MESSAGES, PER_MESSAGE * chunks, "timer" if event.source == SOURCE else event.event_type)
        self._ledger.account = before
        self.spawn(self._deliver(function, event, account, delay))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin what continues automatically."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, function: str, event: CloudEvent, account: str, delay: float) -> None:
        await asyncio.sleep(delay)
        await self._consumer(function, event, account)

    async def _put_events(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        entries: Sequence[Mapping[str, Any]] = arguments["Entries"]
        for entry in entries:
            event = read_message(entry["Detail"], self._clock.now())
            bytes_ = len(entry["Detail"].encode())
            self._ledger.add(PUBLISHED, -(-bytes_ // CHUNK), event.event_type)
            if event.event_type in ROUTES:
                envelope = {"detail-type": event.type, "source": event.source, "detail": json.loads(entry["Detail"])}
                function = ROUTES[event.event_type].function
                self.send(function, event, len(json.dumps(envelope)), self._ledger.account)
        return {"Entries": [{} for _ in entries]}

    async def _send_message(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        event = read_message(arguments["MessageBody"], self._clock.now())
        account, hop = (CLOCK, 0.0) if event.source == SOURCE else (self._ledger.account, HOP)
        function = arguments["QueueUrl"].removeprefix(QUEUES)
        self.send(function, event, len(arguments["MessageBody"]), account, arguments["DelaySeconds"] + hop)
        return {}


class _Calls:
    """A client whose operations are functions."""

    def __init__(self, operations: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]]) -> None:
        self._operations = operations

    async def call(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call."""
        return await self._operations[operation](arguments)
