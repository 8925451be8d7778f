"""A small broker for tests, to the letter of Knative's data-plane spec, fed with the very Triggers of `infra/knative`.

It is test equipment: one process, one SQLite file, no security. What it keeps of the spec: an event is durable before
it is acknowledged; each matching trigger gets one delivery; `Prefer: reply` is sent and a reply is routed like any
event; `404 408 409 429` and `5xx` are retried with the trigger's backoff, anything else is not; what cannot be
delivered goes to the dead letter sink with `knativeerrordest`, `knativeerrorcode` and `knativeerrordata`.
"""

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

RETRIED = frozenset({404, 408, 409, 429})
STRUCTURED = "application/cloudevents+json"
ERROR_DATA = 1024
"""Bytes of an answer that a dead letter carries."""

Headers = dict[str, str]


@dataclass(frozen=True)
class Trigger:
    """What a Trigger resource says, as far as delivery goes; `delay` is in seconds."""

    name: str
    attributes: Mapping[str, str]
    subscriber: str
    retry: int
    delay: float
    exponential: bool
    dead_letter_sink: str | None


def read_triggers(folder: Path) -> list[Trigger]:
    """Return every Trigger of the manifests in `folder`."""
    documents = (d for path in sorted(folder.rglob("*.yaml")) for d in yaml.safe_load_all(path.read_text()) if d)
    return [_trigger(d) for d in documents if d.get("kind") == "Trigger"]


def _trigger(document: Mapping[str, Any]) -> Trigger:
    spec, delivery = document["spec"], document["spec"].get("delivery", {})
    sink = delivery.get("deadLetterSink", {}).get("ref", {}).get("name")
    return Trigger(
        name=document["metadata"]["name"],
        attributes=spec.get("filter", {}).get("attributes", {}),
        subscriber=spec["subscriber"]["ref"]["name"],
        retry=delivery.get("retry", 0),
        delay=_seconds(delivery.get("backoffDelay", "PT0S")),
        exponential=delivery.get("backoffPolicy") == "exponential",
        dead_letter_sink=sink,
    )


def _seconds(duration: str) -> float:
    """Read the ISO 8601 durations that the manifests use: `PT1S`, `PT0.5S`, `PT2M`."""
    number, unit = float(duration[2:-1]), duration[-1]
    return number * {"S": 1, "M": 60, "H": 3600}[unit]


@dataclass
class Chaos:
    """What a broker may do to its subscribers within the spec: deliver twice, and in any order."""

    duplicates: float = 0.0
    scatter: float = 0.0
    seed: int = 0
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Seed the generator."""
        self.draw = random.Random(self.seed)


SCHEMA = """
CREATE TABLE IF NOT EXISTS delivery (
    id INTEGER PRIMARY KEY, trigger_name TEXT, sink TEXT, headers TEXT, body BLOB, attempts INTEGER DEFAULT 0
);
"""


class Broker:
    """The broker. `speed` divides the pauses of the triggers; `down` makes it answer 503 and deliver nothing."""

    def __init__(
        self,
        triggers: Sequence[Trigger],
        services: Mapping[str, str],
        file: Path,
        *,
        speed: float = 1.0,
        chaos: Chaos | None = None,
        at_once: int = 32,
    ) -> None:
        self.triggers = {trigger.name: trigger for trigger in triggers}
        self.services = services
        self.down = False
        self.taken = 0
        self.delivered = 0
        self.dead: list[Headers] = []
        self.largest = 0
        self._speed = speed
        self._chaos = chaos or Chaos()
        self._turns = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[None]] = set()
        self._file = sqlite3.connect(file, isolation_level=None)
        self._file.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")
        self._client: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen on 127.0.0.1, take up what was not delivered, and give the address."""
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_post("/", self._receive)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as self._client:
            for (number,) in self._file.execute("SELECT id FROM delivery").fetchall():
                self._spawn(number)
            try:
                yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await runner.cleanup()
                self._file.close()

    async def _receive(self, request: web.Request) -> web.Response:
        if self.down:
            return web.Response(status=503, headers={"retry-after": "0"})
        read = _read(request.headers, await request.read())
        if read is None:
            return web.Response(status=400, text="not a CloudEvent")
        self._route(*read)
        return web.Response(status=202)

    def _route(self, headers: Headers, body: bytes) -> None:
        """Store one delivery for each trigger that the event passes, all in one transaction; then begin."""
        self.taken += 1
        self.largest = max(self.largest, len(body) + sum(len(k) + len(v) for k, v in headers.items()))
        passing = [t for t in self.triggers.values() if _passes(t, headers)]
        self._file.execute("BEGIN")
        numbers = [self._store(trigger.name, trigger.subscriber, headers, body) for trigger in passing]
        self._file.execute("COMMIT")
        for number in numbers:
            self._spawn(number)
            if self._chaos.draw.random() < self._chaos.duplicates:
                self._spawn(number)

    def _store(self, trigger: str, sink: str, headers: Headers, body: bytes) -> int:
        sql = "INSERT INTO delivery (trigger_name, sink, headers, body) VALUES (?, ?, ?, ?)"
        return int(self._file.execute(sql, (trigger, sink, json.dumps(headers), body)).lastrowid or 0)

    def _spawn(self, number: int) -> None:
        task = asyncio.create_task(self._deliver(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, number: int) -> None:
        """Deliver until it succeeds or is given up."""
        await asyncio.sleep(self._chaos.draw.random() * self._chaos.scatter)
        attempts = 0
        while True:
            row = self._file.execute("SELECT trigger_name, sink, headers, body FROM delivery WHERE id = ?", (number,))
            found = row.fetchone()
            if found is None:
                return
            trigger, sink, headers, body = self.triggers[found[0]], found[1], json.loads(found[2]), found[3]
            while self.down:
                await asyncio.sleep(0.05)
            status, text, reply = await self._post(sink, headers, body)
            if 200 <= status < 300:
                self._done(number, reply)
                return
            attempts += 1
            retried = status in RETRIED or status >= 500 or status == 0
            if not retried or attempts > trigger.retry:
                self._give_up(number, trigger, sink, headers, body, status, text)
                return
            pause = trigger.delay * (2 ** (attempts - 1) if trigger.exponential else 1)
            await asyncio.sleep(pause / self._speed)

    async def _post(self, sink: str, headers: Headers, body: bytes) -> tuple[int, bytes, tuple[Headers, bytes] | None]:
        assert self._client is not None
        try:
            async with (
                self._turns,
                self._client.post(self.services[sink], data=body, headers={**headers, "prefer": "reply"}) as answer,
            ):
                text = await answer.read()
                reply = _read(answer.headers, text) if answer.status == 200 and text else None
                return answer.status, text, reply
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            return 0, str(error).encode(), None

    def _done(self, number: int, reply: tuple[Headers, bytes] | None) -> None:
        self.delivered += 1
        if reply is not None:
            self._route(*reply)
        self._file.execute("DELETE FROM delivery WHERE id = ?", (number,))

    def _give_up(
        self, number: int, trigger: Trigger, sink: str, headers: Headers, body: bytes, status: int, text: bytes
    ) -> None:
        told = {
            **headers,
            "ce-knativeerrordest": self.services[sink],
            "ce-knativeerrorcode": str(status),
            "ce-knativeerrordata": text[:ERROR_DATA].decode(errors="replace").replace("\n", " ").replace("\r", " "),
        }
        self.dead.append(told)
        if trigger.dead_letter_sink is not None and sink != trigger.dead_letter_sink:
            self._spawn(self._store(trigger.name, trigger.dead_letter_sink, told, body))
        self._file.execute("DELETE FROM delivery WHERE id = ?", (number,))


def _passes(trigger: Trigger, headers: Headers) -> bool:
    return all(headers.get(f"ce-{name}") == value for name, value in trigger.attributes.items())


def _read(given: Mapping[str, str], body: bytes) -> tuple[Headers, bytes] | None:
    """Return an event's attributes and data in binary mode, whichever mode it came in; None when it is no event."""
    headers = {name.lower(): value for name, value in given.items()}
    kind = headers.get("content-type", "")
    if kind.startswith(STRUCTURED):
        with suppress(ValueError):
            event = json.loads(body)
            data = event.pop("data", None)
            content = event.pop("datacontenttype", "application/json")
            attributes = {f"ce-{name}": str(value) for name, value in event.items()}
            return {**attributes, "content-type": content}, b"" if data is None else json.dumps(data).encode()
        return None
    attributes = {name: value for name, value in headers.items() if name.startswith("ce-")}
    if not {"ce-id", "ce-source", "ce-type", "ce-specversion"} <= attributes.keys():
        return None
    return {**attributes, **({"content-type": kind} if kind else {})}, body
