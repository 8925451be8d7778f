"""What functions say to AWS, seen from between: every call passes here on its way to the emulator.

It is test equipment. It tells who calls what how often, how large events and items are, and keeps limits that the
emulator does not know. What goes wrong on the way is `faults.py`'s.
"""

import json
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

EVENT_LIMIT = 256 * 1024
"""Bytes of all entries of a PutEvents, which is what every target takes."""

ITEM_LIMIT = 400 * 1024
HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding", "expect"})
SERVICES = {
    "DynamoDB_20120810": "dynamodb",
    "AWSEvents": "events",
    "AmazonSQS": "sqs",
    "secretsmanager": "secretsmanager",
}
CREDENTIAL = re.compile(r"Credential=([^/]+)/")
TIMERS = "/flowc/timer"
"""Source of the messages that enforce_sla gets from itself: no event of the catalogue."""

SENDING = frozenset({"events.PutEvents", "sqs.SendMessage", "sqs.ChangeMessageVisibility"})
LARGE = 1024 * 1024
"""Bytes of a body that aiohttp does not want in one piece."""

Json = Any


@dataclass(frozen=True)
class Answer:
    """What a service answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body, read."""
        return json.loads(self.body) if self.body else {}


@dataclass
class Call:
    """One call: `caller` is an access key, `name` is such as `dynamodb.PutItem`."""

    caller: str
    name: str
    body: bytes
    path: str = ""

    @property
    def function(self) -> str:
        """The name of the function that calls, if it is one: see `functions.Function`."""
        return self.caller.rpartition(".")[0]

    @property
    def json(self) -> Json:
        """The arguments, read."""
        return json.loads(self.body) if self.body else {}


Forward = Callable[[bytes], Awaitable[Answer]]
Between = Callable[[Call, Forward], Awaitable[Answer | None]]
"""Lets a call through, or not; None cuts the connection without an answer."""


def answer_of(document: Json, status: int = 200) -> Answer:
    """Return an answer in the JSON protocol of AWS."""
    return Answer(status, {"content-type": "application/x-amz-json-1.0"}, json.dumps(document).encode())


async def through(call: Call, forward: Forward) -> Answer | None:
    """Do nothing to a call."""
    return await forward(call.body)


@dataclass
class Wire:
    """The way to the emulators; `sent` is called when something was put on a bus or into a queue, or put off in one."""

    url_of: Callable[[str], str]
    """Says where a service is."""
    sent: Callable[[Call], None] = lambda _call: None
    between: Between = through
    refusal: Callable[[str, Call], Answer | None] = lambda _function, _call: None
    """Says what AWS answers to who may not do what it asks for."""
    haste: float = 1
    """How many times sooner than a function says what it puts off comes again."""
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often which function has called what."""
    largest: Counter[str] = field(default_factory=Counter)
    """Bytes of the largest `event`, `entries` of one call, `item` and `message`."""
    published: dict[str, Json] = field(default_factory=dict)
    """The entries that functions have put on a bus, by their text."""
    postponed: set[str] = field(default_factory=set)
    """Receipts of messages whose visibility a function has changed."""
    url: str = ""
    _client: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen on 127.0.0.1 and give the address."""
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._pass)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._client:
            try:
                yield self.url
            finally:
                await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except ConnectionError:  # who called was killed
            return web.Response(status=400)
        call = Call(_caller(request), _name(request), body, request.raw_path)
        self.calls[call.function, call.name] += 1

        async def forward(body: bytes) -> Answer:
            return await self._forward(request, self.url_of(call.name.partition(".")[0]), body)

        refused = self.refusal(call.function, call) or self._refused(call)
        call = self._shortened(call)
        answer = refused or await self.between(call, forward)
        if call.name in SENDING:
            self.sent(call)
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        return web.Response(status=answer.status, headers=headers, body=answer.body)

    async def _forward(self, request: web.Request, emulator: str, body: bytes) -> Answer:
        assert self._client is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = URL(emulator + request.raw_path, encoded=True)
        data = BytesIO(body) if len(body) >= LARGE else body
        async with self._client.request(request.method, url, headers=headers, data=data) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    def _refused(self, call: Call) -> Answer | None:
        """Note sizes; refuse what AWS refuses and the emulator does not."""
        if call.name == "events.PutEvents":
            sizes = [size_of_entry(entry) for entry in call.json["Entries"]]
            self._note("event", max(sizes, default=0))
            self._note("entries", sum(sizes))
            self.published |= {entry["Detail"]: entry for entry in call.json["Entries"]}
            if sum(sizes) > EVENT_LIMIT:
                text = "Total size of the entries in the request is over the limit."
                return answer_of({"__type": "ValidationException", "message": text}, 400)
        if call.name in WRITTEN:
            self._note("item", max(map(size_of_item, WRITTEN[call.name](call.json)), default=0))
        if call.name == "sqs.SendMessage":
            body = call.json["MessageBody"]
            self._note("message", len(body.encode()))
            said = json.loads(body)
            if said["source"] != TIMERS:
                self.published[body] = {"Source": said["source"], "DetailType": said["type"], "Detail": body}
        return None

    def _shortened(self, call: Call) -> Call:
        """Return the call with its pause shortened, if it names one."""
        if call.name != "sqs.ChangeMessageVisibility":
            return call
        arguments = call.json
        self.postponed.add(arguments["ReceiptHandle"])
        arguments["VisibilityTimeout"] = math.ceil(arguments["VisibilityTimeout"] / self.haste)
        return Call(call.caller, call.name, json.dumps(arguments).encode(), call.path)

    def _note(self, what: str, size: int) -> None:
        self.largest[what] = max(self.largest[what], size)


def _caller(request: web.Request) -> str:
    found = CREDENTIAL.search(request.headers.get("authorization", ""))
    return found[1] if found else ""


def _name(request: web.Request) -> str:
    service, _, operation = request.headers.get("x-amz-target", "").partition(".")
    if operation:
        return f"{SERVICES.get(service, service)}.{operation}"
    return f"s3.{request.method.title()}Object"


def _batch_items(arguments: Json) -> list[Json]:
    requests = (one for table in arguments["RequestItems"].values() for one in table)
    return [one["PutRequest"]["Item"] for one in requests if "PutRequest" in one]


WRITTEN: Mapping[str, Callable[[Json], list[Json]]] = {
    "dynamodb.PutItem": lambda arguments: [arguments["Item"]],
    "dynamodb.BatchWriteItem": _batch_items,
    "dynamodb.TransactWriteItems": lambda arguments: [
        one["Put"]["Item"] for one in arguments["TransactItems"] if "Put" in one
    ],
}
"""The items that a call writes as a whole. What an update makes of an item only the table shows."""


def size_of_entry(entry: Json) -> int:
    """Return how many bytes an entry counts for."""
    texts = [entry.get("Source", ""), entry.get("DetailType", ""), entry.get("Detail", ""), *entry.get("Resources", [])]
    return sum(len(text.encode()) for text in texts) + (14 if "Time" in entry else 0)


def size_of_item(item: Mapping[str, Json]) -> int:
    """Return how many bytes an item counts for, as DynamoDB reckons."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Json]) -> int:
    ((kind, held),) = value.items()
    return SIZES[kind](held)


def _texts(held: list[str]) -> int:
    return sum(len(one.encode()) for one in held)


SIZES: Mapping[str, Callable[[Json], int]] = {
    "S": lambda held: len(held.encode()),
    "B": lambda held: len(held) if isinstance(held, bytes) else len(held) * 3 // 4,
    "N": lambda held: len(held) // 2 + 2,
    "M": lambda held: 3 + sum(len(name.encode()) + _size(one) + 1 for name, one in held.items()),
    "L": lambda held: 3 + sum(_size(one) + 1 for one in held),
    "SS": _texts,
    "NS": _texts,
    "BS": lambda held: sum(map(len, held)),
    "BOOL": lambda _held: 1,
    "NULL": lambda _held: 1,
}
